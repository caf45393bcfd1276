use bluenova_mqtt::Session;
use bluenova_test_support::Mosquitto;

use crate::{WILL, login, options, refusal, retained, shown};

/// The user `solar` with the password `secret`, as `mosquitto_passwd` writes it.
const PASSWORDS: &str = "solar:$7$101$Ymx1ZW5vdmF0ZXN0$\
    HsG4UItTnZGc4gy9Zk+25dTYL4VDuULk7vASvc7aUmJuh7m1gK2U+IUEL+Ga\
    ZFKEr8nUks7JbhElQ4VAN5q9CA==\n";

fn with_password() -> Mosquitto {
    let settings = "allow_anonymous false\npassword_file {directory}/passwords";
    Mosquitto::start_with(settings, &[("passwords", PASSWORDS)])
}

#[test]
fn passwords() {
    let broker = with_password();
    let mut options = options(&broker.url());
    let not_allowed = "the broker refuses the connection: it isn't allowed; user or password may \
                       be missing or wrong";
    for wrong in [
        None,
        login("solar", None),
        login("solar", Some("")),
        login("solar", Some("Secret")),
        login("other", Some("secret")),
    ] {
        options.login = wrong;
        assert_eq!(refusal(&options), not_allowed);
    }
    options.login = login("solar", Some("secret"));
    assert!(!format!("{options:?}").contains("secret"));
    let mut session = Session::open(&options).unwrap();
    session.publish(retained(WILL, "online")).unwrap();
    session.flush().unwrap();
    assert_eq!(broker.kept()[WILL], "online");
}

/// MQTT 3.1.1, 3.3.5: a broker acknowledges what isn't allowed, or closes the connection.
#[test]
fn a_user_who_may_not_write_everything() {
    let settings = "allow_anonymous true\nacl_file {directory}/rights";
    let broker = Mosquitto::start_with(settings, &[("rights", "topic write bluenova/#\n")]);
    let mut session = Session::open(&options(&broker.url())).unwrap();
    session.publish(retained(WILL, "online")).unwrap();
    session.flush().unwrap();
    session.publish(retained("homeassistant/device/a/config", "{}")).unwrap();
    if let Err(error) = session.flush() {
        assert_eq!(shown(&error), "the broker has closed the connection");
    }
    assert_eq!(broker.kept().into_keys().collect::<Vec<_>>(), [WILL]);
}
