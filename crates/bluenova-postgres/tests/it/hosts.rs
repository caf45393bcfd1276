//! Several hosts, and session options from the environment.

use bluenova_postgres::{Retry, Settings};
use bluenova_test_support::ReservedPort;

use crate::{
    Database, cluster, connect, deliver, delivered,
    errors::{check, refused},
    record,
};

fn resolve(conninfo: &str) -> Settings {
    Settings::resolve(conninfo, Some("homeauto"), |_| None).unwrap()
}

#[test]
fn several_hosts_are_tried_in_order() {
    let database = Database::new("hosts");
    let here = cluster().socket_dir().display();
    let (port, nobody) = (cluster().port(), ReservedPort::new());
    let dead = nobody.number();
    let settings =
        resolve(&format!("host=127.0.0.1,/nowhere,{here} port={dead},1,{port} dbname=hosts"));
    let mut sink = connect(settings).unwrap();
    assert_eq!(deliver(&mut sink, &[record(0, 1)]).unwrap(), delivered(1, 0));
    database.admin("ALTER TABLE battery_pack DROP COLUMN soc");
    let error = deliver(&mut sink, &[record(1, 1)]).unwrap_err();
    let words = format!("battery_pack of hosts on {here}:{port}: ");
    check(&error, Retry::Hold, "42703", &[&words]);
}

#[test]
fn the_error_is_the_one_that_a_person_can_do_something_about() {
    let here = cluster().socket_dir().display();
    let (port, nobody) = (cluster().port(), ReservedPort::new());
    let dead = nobody.number();
    for (hosts, ports) in [
        (format!("{here},127.0.0.1"), format!("{port},{dead}")),
        (format!("127.0.0.1,{here}"), format!("{dead},{port}")),
    ] {
        let error = refused(resolve(&format!("host={hosts} port={ports} dbname=nowhere")));
        check(&error, Retry::Hold, "3D000", &["createdb", &format!("nowhere on {here}:{port}")]);
    }
    let error = refused(resolve(&format!("host=/nowhere,127.0.0.1 port=1,{dead} dbname=x")));
    assert_eq!(error.retry(), Retry::Soon);
    let reason = "(/nowhere:1: No such file or directory (os error 2))";
    assert!(error.to_string().ends_with(&format!("x on 127.0.0.1:{dead} {reason}")), "{error}");
}

#[test]
fn each_host_that_fails_is_named_once_with_its_reason() {
    let here = cluster().socket_dir().display();
    let (port, nobody) = (cluster().port(), ReservedPort::new());
    let dead = nobody.number();
    let conninfo = format!(
        "host=127.0.0.1,{here},127.0.0.1,/nowhere port={dead},{port},{dead},1 dbname=nobodys"
    );
    let text = refused(resolve(&conninfo)).to_string();
    let reason = format!("127.0.0.1:{dead}: Connection refused (os error 111)");
    let others = format!("({reason}; /nowhere:1: No such file or directory (os error 2)): ");
    assert!(text.contains(&format!("nobodys on {here}:{port} {others}")), "{text}");
    let text = refused(resolve(&format!("host={here},{here} port={port} dbname=nobodys")));
    let reason = r#"database "nobodys" does not exist (3D000)"#;
    assert_eq!(text.to_string().matches(reason).count(), 2, "{text}");
}

#[test]
fn a_server_that_only_reads_is_passed_over() {
    let writable = Database::new("writable");
    let read_only = Database::new("only_reads");
    read_only.set("default_transaction_read_only = on");
    let conninfo = |name| format!("{} target_session_attrs=read-write", cluster().conninfo(name));
    assert!(connect(resolve(&conninfo("writable"))).is_ok());
    assert_eq!(refused(resolve(&conninfo("only_reads"))).retry(), Retry::Soon);
    assert_eq!(writable.count(), 0);
}

#[test]
fn options_come_from_the_environment_too() {
    let database = Database::new("options");
    database.sink();
    let settings = Settings::resolve(&cluster().url("options"), Some("homeauto"), |name| {
        (name == "PGOPTIONS").then(|| "-c default_transaction_read_only=on".to_owned())
    });
    let mut sink = connect(settings.unwrap()).unwrap();
    let error = deliver(&mut sink, &[record(0, 1)]).unwrap_err();
    check(&error, Retry::Hold, "25006", &[]);
}
