//! Passwords, and where they come from, against a server that asks for them.

use std::{
    error::Error as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use bluenova_postgres::{Error, Retry, Settings};
use bluenova_test_support::{Cluster, wait_until};

use crate::{
    MINUTE, connect,
    errors::{check, refused},
};

/// A server that asks every user but the superuser for the password `open sesame`, and a home
/// directory.
struct PasswordServer {
    cluster: Cluster,
    home: tempfile::TempDir,
}

impl PasswordServer {
    fn new() -> Self {
        let cluster = Cluster::start_with(&[("password_encryption", "scram-sha-256")]);
        let mut admin = cluster.client("postgres");
        admin.batch_execute("CREATE ROLE homeauto LOGIN PASSWORD 'open sesame'").unwrap();
        admin.batch_execute("GRANT CREATE ON SCHEMA public TO homeauto").unwrap();
        let rules = "local all postgres trust\nlocal all all scram-sha-256\n";
        fs::write(cluster.data_dir().join("pg_hba.conf"), rules).unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").unwrap();
        wait_until("the server asks for passwords", MINUTE, || {
            let conninfo = cluster.conninfo("postgres").replace("user=postgres", "user=homeauto");
            postgres::Client::connect(&conninfo, postgres::NoTls).is_err()
        });
        Self { cluster, home: tempfile::tempdir().unwrap() }
    }

    /// `environment` is `NAME=value` with `;` between.
    fn settings(&self, conninfo: &str, environment: &str) -> Settings {
        let here = self.cluster.socket_dir().display();
        let conninfo = format!("host={here} dbname=postgres user=homeauto {conninfo}");
        Settings::resolve(&conninfo, None, |name| {
            let mut pairs = environment.split(';').filter_map(|pair| pair.split_once('='));
            let found = pairs.find_map(|(n, value)| (n == name).then(|| value.to_owned()));
            found.or_else(|| (name == "HOME").then(|| self.home.path().display().to_string()))
        })
        .unwrap()
    }

    /// A password file that nobody else may read, with this line for our server.
    fn write(&self, name: &str, password: &str) -> PathBuf {
        let path = self.home.path().join(name);
        let host = self.cluster.socket_dir().display();
        fs::write(&path, format!("# ours\n{host}:*:postgres:homeauto:{password}\n")).unwrap();
        restrict(&path, 0o600);
        path
    }

    #[track_caller]
    fn check_missing(&self, words: &[&str]) -> Error {
        let error = refused(self.settings("", ""));
        let text = error.to_string();
        assert_eq!((error.retry(), error.sqlstate()), (Retry::Hold, None), "{text}");
        let here = self.cluster.socket_dir().display();
        let line = format!("`{here}:5432:postgres:homeauto:PASSWORD` into ");
        for word in words.iter().chain(&["set PGPASSWORD", &line]) {
            assert!(text.contains(word), "{word:?} in {text:?}");
        }
        error
    }
}

/// What to run where the password is wrong.
const PASSWORD: &str = r"`sudo -u postgres psql -c '\password homeauto'`";

fn restrict(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_password_comes_from_where_libpq_takes_it() {
    let server = PasswordServer::new();
    let file = server.write("elsewhere", "open sesame");
    let file = file.display();
    for (conninfo, environment) in [
        ("", "PGPASSWORD=open sesame"),
        ("password='open sesame'", ""),
        ("password='open sesame'", "PGPASSWORD=close sesame"),
        ("", &*format!("PGPASSFILE={file}")),
        (&*format!("passfile={file}"), "PGPASSFILE=/nowhere"),
    ] {
        let sink = connect(server.settings(conninfo, environment));
        assert!(
            sink.is_ok_and(|mut sink| sink.take_warnings().is_empty()),
            "{conninfo} {environment}"
        );
    }

    server.check_missing(&[".pgpass (with mode 600)"]);
    server.write(".pgpass", "close sesame");
    let wrong = refused(server.settings("", ""));
    let here = server.home.path().join(".pgpass").display().to_string();
    check(
        &wrong,
        Retry::Hold,
        "28P01",
        &["password authentication failed", &format!("is the one in {here}, line 2; "), PASSWORD],
    );
    server.write(".pgpass", "open sesame");
    assert!(connect(server.settings("", "")).is_ok());

    let wrong = refused(server.settings("", "PGPASSWORD=close sesame"));
    check(&wrong, Retry::Hold, "28P01", &["the password is that of PGPASSWORD; ", PASSWORD]);
    assert!(!format!("{wrong} {wrong:?}").contains("sesame"), "{wrong:?}");
    let wrong = refused(server.settings("password='close sesame'", "PGPASSWORD=open sesame"));
    check(&wrong, Retry::Hold, "28P01", &["that of the database's address (-d); ", PASSWORD]);
}

#[test]
fn a_password_file_that_others_may_read_is_ignored_with_a_warning() {
    let server = PasswordServer::new();
    let file = server.write(".pgpass", "open sesame");
    let advice = format!("is ignored, for others may use it; run `chmod 600 {}`", file.display());
    for mode in [0o640, 0o604, 0o620, 0o601] {
        restrict(&file, mode);
        let error = server.check_missing(&[&advice]);
        assert_eq!(error.source().unwrap().source().unwrap().to_string(), "password missing");
    }
    // Where no password is needed it is a warning.
    let warnings = connect(server.settings("user=postgres", "")).unwrap().take_warnings();
    assert!(warnings[0].contains(&advice), "{warnings:?}");
    let grant = "GRANT ALL ON battery_pack TO homeauto";
    server.cluster.client("postgres").batch_execute(grant).unwrap();
    restrict(&file, 0o400);
    assert!(connect(server.settings("", "")).is_ok());

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    server.check_missing(&["is not a plain file"]);
}

#[test]
fn each_host_has_its_own_password() {
    let server = PasswordServer::new();
    let file = server.write(".pgpass", "open sesame");
    let lines = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("/nowhere:*:*:*:close sesame\n{lines}")).unwrap();
    let here = server.cluster.socket_dir().display();
    assert!(connect(server.settings(&format!("host=/nowhere,{here}"), "")).is_ok());
}
