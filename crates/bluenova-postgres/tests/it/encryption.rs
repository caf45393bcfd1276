//! Every sslmode, against servers with and without encryption.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use bluenova_postgres::{Retry, Settings};
use bluenova_record::ErrorChain;
use bluenova_test_support::{Cluster, Mode, Proxy};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::{Database, cluster, connect, deliver, delivered, errors::refused, record};

/// An authority that signs certificates.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a server of these names, and its key.
    fn sign(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// What `openssl req -x509` makes: signed by itself, and an authority, which it isn't.
fn self_signed(name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A server that can encrypt, and a home directory for its clients.
struct Server {
    cluster: Cluster,
    home: tempfile::TempDir,
}

impl Server {
    fn new(certificate: &str, key: &str) -> Self {
        let mut cluster = Cluster::start_with(&[("listen_addresses", "127.0.0.1")]);
        let data = cluster.data_dir();
        let owner = fs::metadata(&data).unwrap();
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = data.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let path = data.join("postgresql.conf");
        writeln!(OpenOptions::new().append(true).open(path).unwrap(), "ssl = on").unwrap();
        let rules = "local all all trust
            hostssl all only_encrypted all trust
            host all only_encrypted all reject
            hostnossl all only_plain all trust
            host all only_plain all reject
            hostssl all with_password all scram-sha-256
            host all all all trust\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        cluster.stop(Mode::Fast);
        cluster.start_again();
        cluster
            .client("postgres")
            .batch_execute(
                "SET password_encryption = 'scram-sha-256';
             CREATE ROLE only_encrypted SUPERUSER LOGIN; CREATE ROLE only_plain SUPERUSER LOGIN;
             CREATE ROLE with_password SUPERUSER LOGIN PASSWORD 'open sesame'",
            )
            .unwrap();
        Self { cluster, home: tempfile::tempdir().unwrap() }
    }

    /// Writes a file into the home directory, and returns its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn settings(&self, conninfo: &str) -> Settings {
        let port = self.cluster.port();
        let conninfo = format!(
            "host=db.example hostaddr=127.0.0.1 port={port} dbname=postgres user=postgres \
             {conninfo}"
        );
        let home = self.home.path().display().to_string();
        Settings::resolve(&conninfo, None, |name| (name == "HOME").then(|| home.clone())).unwrap()
    }

    /// Whether the connection is encrypted, and its warnings.
    #[track_caller]
    fn connect(&self, conninfo: &str) -> (bool, Vec<String>) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let sink = connect(self.settings(&format!("application_name='{name}' {conninfo}")));
        let mut sink = sink.unwrap_or_else(|e| panic!("{conninfo}: {e} {e:?}"));
        let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE application_name = $1";
        let row = self.cluster.client("postgres").query_one(sql, &[&name]).unwrap();
        deliver(&mut sink, &[record(0, 1)]).unwrap();
        (row.get(0), sink.take_warnings())
    }

    #[track_caller]
    fn check(&self, conninfo: &str, is_encrypted: bool) {
        assert_eq!(self.connect(conninfo), (is_encrypted, vec![]), "{conninfo}");
    }

    #[track_caller]
    fn check_refused(&self, conninfo: &str, words: &[&str]) {
        let error = refused(self.settings(conninfo));
        let text = ErrorChain(&error).to_string();
        assert_eq!(error.retry(), Retry::Hold, "{conninfo}: {text}");
        for word in words {
            assert!(text.contains(word), "{conninfo}: {word:?} in {text:?}");
        }
    }
}

#[test]
fn a_self_signed_certificate_is_enough_unless_the_mode_asks_for_more() {
    let (certificate, key) = self_signed("db.example");
    let server = Server::new(&certificate, &key);
    let own = server.file("own.crt", &certificate);
    let other = server.file("other.crt", &Authority::new("other").certificate);

    server.check("", true);
    server.check("sslmode=prefer", true);
    server.check("sslmode=require", true);
    server.check("sslmode=disable", false);
    server.check("sslmode=allow", false);
    server.check("host=/nowhere sslmode=prefer", true);
    server.check(&format!("sslmode=verify-ca sslrootcert={own}"), true);
    server.check(&format!("sslmode=verify-full sslrootcert={own}"), true);
    server.check(&format!("sslmode=require sslrootcert={own}"), true);

    let words = &["invalid peer certificate", "name the server's own certificate"];
    server.check_refused(&format!("sslmode=verify-ca sslrootcert={other}"), words);
    server.check_refused(&format!("sslmode=require sslrootcert={other}"), words);
    let words = &["not valid for name", "as a subjectAltName"];
    let conninfo = format!("host=other.example sslmode=verify-full sslrootcert={own}");
    server.check_refused(&conninfo, words);
    server.check_refused("sslrootcert=system", &[]);

    // The server's rules may ask for encryption, or have none for it.
    server.check("user=only_encrypted", true);
    server.check("user=only_encrypted sslmode=allow", true);
    server.check("user=only_plain", false);
    server.check_refused("user=only_plain sslmode=require", &["pg_hba.conf", "28000"]);
    server.check_refused("user=only_encrypted sslmode=disable", &["pg_hba.conf", "28000"]);

    // The password is bound to the certificate, unless the server is too old for that.
    let with_password = "user=with_password password='open sesame'";
    server.check(with_password, true);
    if server.cluster.version() >= 11 {
        server.check(&format!("{with_password} channel_binding=require"), true);
    }
}

#[test]
fn a_certificate_is_checked_against_its_authority_and_name() {
    let authority = Authority::new("ours");
    let (certificate, key) = authority.sign(&["db.example", "127.0.0.1"]);
    let server = Server::new(&certificate, &key);
    let ours = server.file("ours.crt", &authority.certificate);
    let other = Authority::new("other").certificate;
    let both = server.file("both.crt", &format!("{other}{}", authority.certificate));
    let other = server.file("other.crt", &other);

    server.check("", true);
    server.check(&format!("sslmode=verify-full sslrootcert={ours}"), true);
    server.check(&format!("sslmode=verify-full sslrootcert={both}"), true);
    server.check(&format!("sslmode=verify-full sslrootcert={ours} host=DB.Example"), true);
    server.check(&format!("sslmode=verify-full sslrootcert={ours} host="), true);
    server.check(&format!("sslmode=verify-ca sslrootcert={ours} host=other.example"), true);
    server.check(&format!("sslmode=require sslrootcert={ours} host=other.example"), true);
    let words = &["not valid for name", "as a subjectAltName"];
    let conninfo = format!("sslmode=verify-full sslrootcert={ours} host=other.example");
    server.check_refused(&conninfo, words);
    let words = &["UnknownIssuer", "name the certificate of the authority"];
    server.check_refused(&format!("sslmode=verify-full sslrootcert={other}"), words);
    server.check_refused(&format!("sslmode=verify-ca sslrootcert={other}"), words);
    server.check_refused(&format!("sslmode=require sslrootcert={other}"), words);
}

#[test]
fn the_authority_is_looked_for_where_libpq_looks() {
    let authority = Authority::new("ours");
    let (certificate, key) = authority.sign(&["db.example"]);
    let server = Server::new(&certificate, &key);
    let usual = server.home.path().join(".postgresql/root.crt").display().to_string();
    let away = &["root certificate", &usual, "can't be read", "sslrootcert=system"];
    server.check_refused("sslmode=verify-full", away);
    server.check_refused("sslmode=verify-ca", away);
    server.check("sslmode=require", true);
    let (is_encrypted, warnings) = server.connect("sslmode=require sslrootcert=/nowhere");
    assert!(is_encrypted);
    assert!(warnings[0].contains("there is no /nowhere to check"), "{warnings:?}");

    server.file(".postgresql/root.crt", &authority.certificate);
    server.check("sslmode=verify-full", true);
    server
        .check_refused("sslmode=verify-full sslrootcert=/nowhere", &["/nowhere", "can't be read"]);
    server.file(".postgresql/root.crt", &Authority::new("other").certificate);
    server.check_refused("sslmode=verify-full", &["UnknownIssuer"]);
    server.check_refused("sslmode=require", &["UnknownIssuer"]);
    server.check("sslmode=prefer", true);

    let empty = server.file("empty", "");
    server.check_refused(&format!("sslmode=verify-ca sslrootcert={empty}"), &["no certificate in"]);
    let cut = server.file("cut", &authority.certificate[..200]);
    server.check_refused(&format!("sslmode=verify-ca sslrootcert={cut}"), &["PEM form"]);
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let nonsense = server.file("nonsense", text);
    let conninfo = format!("sslmode=verify-ca sslrootcert={nonsense}");
    server.check_refused(&conninfo, &["can't be used"]);
    assert!(Path::new(&usual).exists());
}

#[test]
fn the_client_has_a_certificate_of_its_own() {
    let authority = Authority::new("authority");
    let (certificate, key) = authority.sign(&["db.example"]);
    let server = Server::new(&certificate, &key);
    let data = server.cluster.data_dir();
    fs::write(data.join("clients.crt"), &authority.certificate).unwrap();
    let verify = if server.cluster.version() >= 12 { "verify-ca" } else { "1" };
    let rules = format!("local all all trust\nhostssl all all all trust clientcert={verify}\n");
    fs::write(data.join("pg_hba.conf"), rules).unwrap();
    let mut admin = server.cluster.client("postgres");
    admin.batch_execute("ALTER SYSTEM SET ssl_ca_file = 'clients.crt'").unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").unwrap();
    bluenova_test_support::wait_until("the rules count", crate::MINUTE, || {
        connect(server.settings("sslmode=require")).is_err()
    });
    server.check_refused("sslmode=require", &["name your certificate and its key by sslcert"]);

    let (certificate, key) = authority.sign(&["client"]);
    let named = server.file("client.crt", &certificate);
    let named_key = server.file("client.key", &key);
    fs::set_permissions(&named_key, fs::Permissions::from_mode(0o644)).unwrap();
    let conninfo = format!("sslmode=require sslcert={named} sslkey={named_key}");
    server.check_refused(&conninfo, &[&format!("run `chmod 600 {named_key}`")]);
    fs::set_permissions(&named_key, fs::Permissions::from_mode(0o600)).unwrap();
    server.check(&conninfo, true);
    server.check_refused(&format!("sslmode=require sslcert={named}"), &["postgresql.key"]);
    server.check_refused("sslmode=require sslcert=/nowhere", &["can't read /nowhere"]);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    fs::write(&named_key, encrypted).unwrap();
    server.check_refused(&conninfo, &["an encrypted one isn't supported"]);

    // Where libpq looks.
    server.file(".postgresql/postgresql.crt", &certificate);
    let usual = server.file(".postgresql/postgresql.key", &key);
    fs::set_permissions(usual, fs::Permissions::from_mode(0o600)).unwrap();
    server.check("sslmode=require", true);
}

#[test]
fn an_expired_certificate_is_refused_even_if_it_is_trusted_itself() {
    let mut params = CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let server = Server::new(&certificate, &key.serialize_pem());
    let file = server.file("pinned.crt", &certificate);
    for mode in ["verify-ca", "verify-full"] {
        let conninfo = format!("sslmode={mode} sslrootcert={file}");
        server.check_refused(
            &conninfo,
            &["certificate expired", "give the server a new certificate"],
        );
    }
    server.check("sslmode=require", true);
}

#[test]
fn an_algorithm_that_is_not_supported_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let openssl = std::process::Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -nodes -days 9".split(' '))
        .args(["-subj", "/CN=db.example", "-addext", "subjectAltName=DNS:db.example"])
        .arg("-keyout")
        .arg(path("key"))
        .arg("-out")
        .arg(path("crt"))
        .output()
        .unwrap();
    assert!(openssl.status.success(), "{openssl:?}");
    let read = |name| fs::read_to_string(path(name)).unwrap();
    let server = Server::new(&read("crt"), &read("key"));
    let file = server.file("pinned.crt", &read("crt"));
    for conninfo in
        ["sslmode=require".to_owned(), format!("sslmode=verify-full sslrootcert={file}")]
    {
        server.check_refused(&conninfo, &["a key for ECDSA P-521", "RSA, ECDSA P-256 or P-384"]);
    }
}

#[test]
fn a_server_without_encryption_is_told_from_one_with() {
    let database = Database::new("plain");
    let proxy = Proxy::start(cluster());
    let settings = |mode: &str| {
        let url = format!("{}?sslmode={mode}", proxy.url("plain"));
        Settings::resolve(&url, Some("homeauto"), |_| None).unwrap()
    };
    for (n, mode) in (0..).zip(["disable", "allow", "prefer"]) {
        let mut sink = connect(settings(mode)).unwrap();
        assert_eq!(deliver(&mut sink, &[record(n, 1)]).unwrap(), delivered(1, 0), "{mode}");
    }
    assert_eq!(database.count(), 3);
    let error = refused(settings("require"));
    assert_eq!(error.retry(), Retry::Hold);
    let text = ErrorChain(&error).to_string();
    assert!(text.contains("server does not support TLS"), "{text}");
    assert!(text.contains("switch it on there (ssl = on), or use sslmode=prefer"), "{text}");
}

#[test]
fn a_unix_socket_needs_no_encryption() {
    let database = Database::new("socket");
    let url = format!("{}&sslmode=verify-full", cluster().url("socket"));
    let settings = Settings::resolve(&url, Some("homeauto"), |_| None).unwrap();
    assert_eq!(deliver(&mut connect(settings).unwrap(), &[record(0, 1)]).unwrap(), delivered(1, 0));
    assert_eq!(database.count(), 1);
}
