use std::{fs, path::Path};

use bluenova_mqtt::{Session, SessionOptions};
use bluenova_test_support::Mosquitto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::{WILL, options, refusal, retained};

/// An authority that signs certificates.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A broker whose certificate has this name.
    fn broker(&self, name: &str) -> Mosquitto {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let settings = "allow_anonymous true\ncertfile {directory}/broker.crt\n\
                        keyfile {directory}/broker.key";
        let files = [("broker.crt", certificate), ("broker.key", key.serialize_pem())];
        let files = files.each_ref().map(|(name, content)| (*name, content.as_str()));
        Mosquitto::start_with(settings, &files)
    }
}

fn encrypted(broker: &Mosquitto, host: &str, trusted: &Path) -> SessionOptions {
    let url = format!("mqtts://{host}:{}", broker.port());
    SessionOptions { trusted: Some(trusted.to_owned()), ..options(&url) }
}

#[test]
fn a_certificate_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let authority = Authority::new("ours");
    let trusted = file("ours", &authority.certificate);
    let broker = authority.broker("localhost");

    let mut session = Session::open(&encrypted(&broker, "localhost", &trusted)).unwrap();
    session.publish(retained(WILL, &"x".repeat(100_000))).unwrap();
    session.close(retained(WILL, "offline")).unwrap();
    assert_eq!(broker.kept()[WILL], "offline");

    let other = file("other", &Authority::new("other").certificate);
    let advice = "the broker's certificate can't be trusted; name the certificate of the authority \
                  that signed it by --mqtt-ca: invalid peer certificate: ";
    let message = refusal(&encrypted(&broker, "localhost", &other));
    assert_eq!(message, format!("{advice}UnknownIssuer"));
    // An authority that was made anew.
    let namesake = file("namesake", &Authority::new("ours").certificate);
    let message = refusal(&encrypted(&broker, "localhost", &namesake));
    assert_eq!(message, format!("{advice}BadSignature"));
    let of_the_system = SessionOptions { trusted: None, ..encrypted(&broker, "localhost", &other) };
    let message = refusal(&of_the_system);
    assert!(message.contains("--mqtt-ca"), "{message}");
    let message = refusal(&encrypted(&broker, "127.0.0.1", &trusted));
    let expected = "the broker's certificate can't be trusted; use a name in the URL that the \
                    certificate has: invalid peer certificate: certificate not valid for name";
    assert!(message.starts_with(expected), "{message}");

    let empty = file("empty", "");
    assert_eq!(
        refusal(&encrypted(&broker, "localhost", &empty)),
        format!("there are no certificates to trust in {}", empty.display())
    );
    let missing = directory.path().join("missing");
    let message = refusal(&encrypted(&broker, "localhost", &missing));
    let expected = format!("the certificates in {} can't be read: ", missing.display());
    assert!(message.starts_with(&expected), "{message}");
    let broken = file("broken", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    let message = refusal(&encrypted(&broker, "localhost", &broken));
    let expected = format!("the certificates in {} can't be read: ", broken.display());
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn the_wrong_scheme_is_said() {
    let authority = Authority::new("ours");
    let broker = authority.broker("localhost");
    assert_eq!(
        refusal(&options(&broker.url())),
        "the broker closes the connection at once; a port with TLS has a URL with mqtts://"
    );
    let directory = tempfile::tempdir().unwrap();
    let trusted = directory.path().join("ours");
    fs::write(&trusted, authority.certificate).unwrap();
    let message = refusal(&encrypted(&Mosquitto::start(), "localhost", &trusted));
    let expected = "the broker doesn't answer in TLS; a port without TLS has a URL with mqtt://";
    assert!(message.starts_with(expected), "{message}");
}
