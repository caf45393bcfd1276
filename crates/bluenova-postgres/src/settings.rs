use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use postgres::{Config, config::Host as HostName};

use crate::{
    host::Host,
    parameters::{self, Parameters},
    tls::Encryption,
};

/// The database's hosts, its name, the user and all other connection parameters, as libpq has them.
///
/// `Display` is for people, as in `homeauto on db.example:5433`. Neither it nor `Debug` shows the
/// password.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything but the host, a password from a file, and encryption.
    config: Config,
    hosts: Vec<Host>,
    encryption: Encryption,
    /// Where the password was given, unless it is in a file.
    password_source: Option<String>,
    password_file: Option<PathBuf>,
}

impl Settings {
    /// Resolves the settings from the database's address, the user and the environment.
    ///
    /// `database` is a name, a URL (`postgresql://` or `postgres://`), or a conninfo string
    /// (`host=db.example dbname=homeauto`). Parameters that it lacks come from `env`, which looks
    /// up a variable of the environment: `PGHOST`, `PGHOSTADDR`, `PGPORT`, `PGDATABASE`, `PGUSER`,
    /// `PGPASSWORD`, `PGPASSFILE`, `PGSERVICE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`,
    /// `PGSSLKEY`, `PGCONNECT_TIMEOUT`, `PGAPPNAME`, `PGOPTIONS` and some more, and `HOME`, where
    /// `.pgpass`, `.pg_service.conf` and the certificates in `.postgresql` lie. What libpq has and
    /// would make a difference is an error where it isn't supported.
    /// `user` takes precedence over all other ways to name the user, who is `homeauto` by default.
    ///
    /// Several hosts are tried in order at each connect, none at random. Without a host, each
    /// connect looks for the Unix socket in /var/run/postgresql and /tmp, and else uses localhost.
    ///
    /// # Errors
    /// `database` can't be parsed, or a parameter is unknown or has a value that it can't have.
    pub fn resolve(
        database: &str,
        user: Option<&str>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let mut parameters = Parameters::read(database, &env)?;
        let hosts = Host::all(&mut parameters)?;
        let encryption = Encryption::resolve(&mut parameters)?;
        let named = parameters.take_value("user");
        let user = user.map(str::to_owned).or(named).unwrap_or_else(|| "homeauto".to_owned());
        // As in libpq, the default is the user's name.
        let database = parameters.take_value("dbname").unwrap_or_else(|| user.clone());
        let home = parameters.variable("HOME");
        let password_file = parameters
            .take_value("passfile")
            .map(PathBuf::from)
            .or_else(|| home.map(|home| Path::new(&home).join(".pgpass")));
        let (password_source, password) = parameters.take("password").unzip();
        let options = SessionOptions::resolve(&mut parameters, hosts.len())?;

        let mut config = parameters.rest()?;
        config.user(&user).dbname(&database);
        if let Some(password) = password {
            config.password(password);
        }
        options.write(&mut config);
        Ok(Self { config, hosts, encryption, password_source, password_file })
    }

    /// Identifies database, hosts, ports and user, without a password: a file can be named after
    /// it.
    pub fn identity(&self) -> String {
        format!("{}@{}/{}", self.user(), self.all_hosts(), self.database())
    }

    pub(crate) fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    pub(crate) fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }

    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub(crate) fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// Where the password was given, for people; `None` where it may be in the password file.
    pub(crate) fn password_source(&self) -> Option<&str> {
        self.password_source.as_deref().map(|name| match name {
            "password" => "the database's address (-d)",
            variable => variable,
        })
    }

    /// The password file; `None` where the password is given, or there is no home directory.
    pub(crate) fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref().filter(|_| self.config.get_password().is_none())
    }

    /// The `postgres` crate's configuration for `host`, without a password from a file and without
    /// encryption.
    pub(crate) fn config_for(&self, host: &Host) -> Config {
        let mut config = self.config.clone();
        config.port(host.port);
        if let Some(address) = host.address {
            config.hostaddr(address);
        }
        match (&host.name, host.address) {
            (Some(HostName::Tcp(name)), _) => config.host(name),
            // Without a name the crate encrypts nothing; a certificate may be for an address.
            (_, Some(address)) => config.host(&address.to_string()),
            (Some(HostName::Unix(directory)), None) => config.host_path(directory),
            (None, None) => &mut config,
        };
        config
    }

    fn all_hosts(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        hosts.join(",")
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.database(), self.all_hosts())
    }
}

/// Why settings can't be used.
// The address is never repeated: there may be a password in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The database has no name.
    #[error("the name of the database is empty")]
    Empty,
    /// The address is neither a name nor a valid URL or conninfo string.
    #[error("can't read the address of the database (a name, a URL or key=value pairs): {0}")]
    Address(Cow<'static, str>),
    /// The name is rather that of a file.
    #[error(
        "{0:?} looks like a file: write sqlite:{0} to store the rows in it, or dbname={0} if a \
         database has that name"
    )]
    File(String),
    /// A URL has two `@`: the first one, or a slash, ends the password.
    #[error(
        "there is an @ too many in the database's URL; in a password, write %40 for it, and %2F \
         for a /"
    )]
    StrayAt,
    /// A keyword is unknown, or is not supported here.
    #[error("can't read the address of the database: {0} isn't among its settings")]
    Unknown(String),
    /// libpq has it, and it would make a difference.
    #[error("{name} isn't supported; {advice}")]
    Unsupported {
        /// The keyword or variable.
        name: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// There is no such service.
    #[error("there is no service {service:?} in {files}")]
    Service {
        /// Its name.
        service: String,
        /// The files in which it may be.
        files: String,
    },
    /// The service file can't be read.
    #[error("can't read the service file {}", .path.display())]
    ServiceFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The service file has something else than key=value pairs.
    #[error("line {line} of {} is not key=value", .path.display())]
    ServiceLine {
        /// The file.
        path: PathBuf,
        /// Number of the line.
        line: usize,
    },
    /// A connection parameter has a value that it can't have.
    #[error("can't read the settings of the connection")]
    Parameters(#[source] postgres::Error),
    /// There are neither one port for all hosts nor one for each.
    #[error("{ports} ports for {hosts} hosts; name one for all, or one for each")]
    Ports {
        /// Number of hosts.
        hosts: usize,
        /// Number of ports.
        ports: usize,
    },
    /// There is not one address for each host name.
    #[error("{addresses} addresses (hostaddr) for {hosts} hosts; name one for each")]
    Addresses {
        /// Number of host names.
        hosts: usize,
        /// Number of addresses.
        addresses: usize,
    },
    /// A keyword or a variable of the environment has a value that it can't have.
    #[error("{}; it must be {allowed}", unfit(name, value.as_deref()))]
    Value {
        /// The keyword or variable.
        name: String,
        /// Its value; only of a variable, for a value from the database's address may contain a
        /// password.
        value: Option<String>,
        /// The values that it can have.
        allowed: &'static str,
    },
    /// `sslrootcert=system` without a check of the name: anybody can get a certificate that the
    /// system trusts.
    #[error("sslrootcert=system needs sslmode=verify-full")]
    SystemRoots,
}

impl SettingsError {
    pub(crate) fn value(name: &str, value: &str, allowed: &'static str) -> Self {
        let value = parameters::may_be_shown(name).then(|| value.to_owned());
        Self::Value { name: name.to_owned(), value, allowed }
    }

    pub(crate) fn address(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Address(why.into())
    }

    pub(crate) fn unknown(key: &str) -> Self {
        Self::Unknown(Self::shown_keyword(key))
    }

    /// The keyword as it may be shown: anything that doesn't look like one may be part of a
    /// password.
    pub(crate) fn shown_keyword(key: &str) -> String {
        let is_keyword = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_keyword { format!("`{key}`") } else { "a key".to_owned() }
    }
}

fn unfit(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{name} is {value:?}"),
        None => format!("{name} can't be used as it is in the database's address"),
    }
}

/// Options of a session, with our defaults.
struct SessionOptions {
    application_name: String,
    options: Option<String>,
    connect_timeout: Duration,
    tcp_user_timeout: Duration,
}

/// Time for all hosts together, so that the last one has its turn too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Least time for a host, which may be busy; libpq has the same minimum.
const MIN_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

impl SessionOptions {
    fn resolve(parameters: &mut Parameters<'_>, hosts: usize) -> Result<Self, SettingsError> {
        let mut number = |key| match parameters.take(key) {
            None => Ok(None),
            Some((name, value)) => match value.trim().parse::<i64>() {
                // libpq takes it as "no time-out"; we always need one.
                Ok(..=0) => Ok(None),
                Ok(number) => Ok(Some(number.unsigned_abs())),
                Err(_) => Err(SettingsError::value(&name, &value, "a whole number")),
            },
        };
        let share = CONNECT_TIMEOUT / u32::try_from(hosts).unwrap_or(u32::MAX);
        let connect_timeout =
            number("connect_timeout")?.map_or(share.max(MIN_CONNECT_TIMEOUT), Duration::from_secs);
        // libpq has it in milliseconds.
        let tcp_user_timeout =
            number("tcp_user_timeout")?.map_or(Duration::from_secs(60), Duration::from_millis);
        let application_name = parameters.take_value("application_name");
        Ok(Self {
            application_name: application_name.unwrap_or_else(|| "bluenovalistener".to_owned()),
            options: parameters.take_value("options"),
            connect_timeout,
            tcp_user_timeout,
        })
    }

    fn write(self, config: &mut Config) {
        config.application_name(&self.application_name);
        if let Some(options) = &self.options {
            config.options(options);
        }
        config.connect_timeout(self.connect_timeout);
        config.tcp_user_timeout(self.tcp_user_timeout);
        // The crate's default is two hours, as the system's: two hours without a row.
        if config.get_keepalives_idle() >= Duration::from_secs(2 * 60 * 60) {
            config.keepalives_idle(Duration::from_secs(30));
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(Duration::from_secs(10));
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `environment` is `NAME=value` with spaces between.
    fn resolve(
        database: &str,
        user: Option<&str>,
        environment: &str,
    ) -> Result<Settings, SettingsError> {
        Settings::resolve(database, user, |name| {
            let mut pairs = environment.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(n, value)| (n == name).then(|| value.to_owned()))
        })
    }

    #[test]
    fn the_address_takes_precedence_over_the_environment() {
        let open = "homeauto@this machine:5432/homeauto";
        for (database, user, environment, expected) in [
            ("homeauto", None, "", open),
            ("homeauto", None, "PGHOST= PGPORT= PGUSER= PGDATABASE=", open),
            ("homeauto", None, "PGDATABASE=other", open),
            ("house", None, "PGUSER=eve PGPORT=5433", "eve@this machine:5433/house"),
            ("house", Some("ada"), "PGUSER=eve", "ada@this machine:5432/house"),
            ("house", None, "PGHOST=db.example", "homeauto@db.example:5432/house"),
            ("house", None, "PGHOST=/tmp", "homeauto@/tmp:5432/house"),
            ("house", None, "PGHOST=::1", "homeauto@[::1]:5432/house"),
            ("house", None, "PGHOST=a,/b PGPORT=1", "homeauto@a:1,/b:1/house"),
            ("house", None, "PGHOST=a,/b PGPORT=1,2", "homeauto@a:1,/b:2/house"),
            ("postgresql://", None, "", open),
            ("postgres:///house", None, "PGPORT=1 PGHOST=h", "homeauto@h:1/house"),
            ("postgres:///house?port=2", None, "PGPORT=1 PGHOST=h", "homeauto@h:2/house"),
            ("postgresql://h", None, "PGDATABASE=house", "homeauto@h:5432/house"),
            ("postgresql://bob@h", None, "PGUSER=eve", "bob@h:5432/bob"),
            ("postgresql://bob@h/house", Some("ada"), "", "ada@h:5432/house"),
            ("postgresql://:pw@h/house", None, "PGUSER=eve", "eve@h:5432/house"),
            ("postgresql://bob:p@h:7/house", None, "PGHOST=g PGPORT=8", "bob@h:7/house"),
            ("postgresql://h,[::1]:7/house", None, "PGPORT=8", "homeauto@h:8,[::1]:7/house"),
            ("postgresql://[::1]?dbname=x", None, "PGPORT=8", "homeauto@[::1]:8/x"),
            ("postgresql://%2Ftmp/house", None, "", "homeauto@/tmp:5432/house"),
            ("postgresql:///house?host=/tmp&port=3", None, "", "homeauto@/tmp:3/house"),
            ("dbname=house", None, "PGHOST=h PGUSER=eve", "eve@h:5432/house"),
            ("host=h port=3", None, "PGDATABASE=house PGPORT=9", "homeauto@h:3/house"),
            ("host='/tmp/a b' user=bob", None, "", "bob@/tmp/a b:5432/bob"),
            ("hostaddr=127.0.0.1 dbname=x", None, "", "homeauto@127.0.0.1:5432/x"),
            ("hostaddr=127.0.0.1 dbname=x", None, "PGHOST=h", "homeauto@h:5432/x"),
            ("host=h dbname=x", None, "PGHOSTADDR=127.0.0.1", "homeauto@h:5432/x"),
            ("x", None, "PGHOSTADDR=::1,10.0.0.1 PGPORT=7", "homeauto@[::1]:7,10.0.0.1:7/x"),
            ("host=a,,b port=1,,3 dbname=x", None, "", "homeauto@a:1,this machine:5432,b:3/x"),
            ("host=a host=b dbname=x", None, "", "homeauto@b:5432/x"),
            ("host=h dbname='a,b=c'", None, "", "homeauto@h:5432/a,b=c"),
            ("host=h dbname=x load_balance_hosts=disable", None, "", "homeauto@h:5432/x"),
            ("postgresql://bob:12%2F34@db/x%40y", None, "", "bob@db:5432/x@y"),
        ] {
            let settings = resolve(database, user, environment).expect(database);
            assert_eq!(settings.identity(), expected, "{database:?} {user:?} {environment:?}");
        }
    }

    /// From libpq's own tests, src/interfaces/libpq/t/001_uri.pl.
    #[test]
    fn urls_that_libpq_takes_are_taken() {
        for (url, expected) in [
            ("postgresql://uri-user:secret@host:12345/db", "uri-user@host:12345/db"),
            ("postgresql://uri-user@host/db", "uri-user@host:5432/db"),
            ("postgresql://uri-user@host:12345/", "uri-user@host:12345/uri-user"),
            ("postgresql://uri-user@", "uri-user@this machine:5432/uri-user"),
            ("postgresql://host:12345/", "homeauto@host:12345/homeauto"),
            ("postgresql://?hostaddr=127.0.0.1", "homeauto@127.0.0.1:5432/homeauto"),
            ("postgresql://example.com?hostaddr=63.1.2.4", "homeauto@example.com:5432/homeauto"),
            ("postgresql://%68ost/", "homeauto@host:5432/homeauto"),
            ("postgresql://host/db?u%73er=someotheruser&port=12345", "someotheruser@host:12345/db"),
            ("postgresql://host:12345?user=uri-user", "uri-user@host:12345/uri-user"),
            ("postgresql://host?", "homeauto@host:5432/homeauto"),
            ("postgresql://[::1]:12345/db", "homeauto@[::1]:12345/db"),
            ("postgresql://[200z:db8::1234]/", "homeauto@[200z:db8::1234]:5432/homeauto"),
            ("postgres:///", "homeauto@this machine:5432/homeauto"),
            ("postgres://uri-user@/db", "uri-user@this machine:5432/db"),
            ("postgres://?host=/path/to/socket", "homeauto@/path/to/socket:5432/homeauto"),
            ("postgres://@host", "homeauto@host:5432/homeauto"),
            ("postgres://host:/", "homeauto@host:5432/homeauto"),
            ("postgres://:12345/", "homeauto@this machine:12345/homeauto"),
            ("postgres://otheruser@/?host=/no/such", "otheruser@/no/such:5432/otheruser"),
            ("postgres://otheruser@:12345/db?host=/no", "otheruser@/no:12345/db"),
            ("postgres://:12345?host=/no", "homeauto@/no:12345/homeauto"),
            (
                "postgres://%2Fvar%2Flib%2Fpostgresql/dbname",
                "homeauto@/var/lib/postgresql:5432/dbname",
            ),
            ("postgresql://host?sslmode=prefer", "homeauto@host:5432/homeauto"),
        ] {
            assert_eq!(resolve(url, None, "").expect(url).identity(), expected, "{url}");
        }
        for url in ["postgresql://host?uzer=", "postgresql://host/db?u%7aer=x&port=1"] {
            let error = resolve(url, None, "").expect_err(url).to_string();
            assert!(error.contains("`uzer` isn't among its settings"), "{error}");
        }
    }

    #[test]
    fn invalid_settings_are_errors_that_show_no_password() {
        const COMMAS: &str = "can't read the address of the database (a name, a URL or key=value \
                              pairs): its pairs are separated by spaces, not commas";
        for (database, environment, expected) in [
            ("", "", "the name of the database is empty"),
            ("u:sesame@h/x", "", "can't read the address of the database (a name, a URL or"),
            (
                "postgresql:/u:sesame@h/x",
                "",
                "can't read the address of the database (a name, a URL or",
            ),
            (
                "host=h,password=sesame",
                "",
                "can't read the address of the database (a name, a URL or",
            ),
            (
                "port=x",
                "",
                "port can't be used as it is in the database's address; it must be a port",
            ),
            ("host=h port=5432,password=sesame", "", COMMAS),
            ("hostaddr=::1,password=sesame", "", COMMAS),
            ("host=h sslmode=disable,password=sesame", "", COMMAS),
            ("dbname=house,password=sesame host=h", "", COMMAS),
            ("user=bob,password=sesame host=h", "", COMMAS),
            ("passfile=/p,password=sesame host=h", "", COMMAS),
            ("sslrootcert=/r,password=sesame host=h", "", COMMAS),
            ("host=h port='5432,password=sesame'", "", "port can't be used"),
            ("hostaddr='::1,password=sesame'", "", "hostaddr can't be used"),
            ("sslmode='disable,password=sesame'", "", "sslmode can't be used"),
            ("gssencmode=sesame", "", "gssencmode can't be used"),
            ("connect_timeout=5,password=sesame", "", "connect_timeout can't be used"),
            ("postgresql://bob:12/34sesame@db/x", "", "there is an @ too many"),
            ("postgresql://bob:se/sesame@db/x", "", "there is an @ too many"),
            ("postgresql://bob:sesame/x", "", "port can't be used"),
            ("load_balance_hosts=random", "", "load_balance_hosts can't be used"),
            ("x", "PGLOADBALANCEHOSTS=random", "PGLOADBALANCEHOSTS is \"random\"; it must be disa"),
            ("hots=h", "", "can't read the address of the database: `hots` isn't among"),
            ("password=a SESAME!sesame=b", "", "can't read the address of the database: a key"),
            ("host=h sesame", "", "can't read the address of the database (a name, a URL or"),
            ("postgresql://h:99999/x", "", "port can't be used"),
            ("postgresql://u:sesame@s@h/x", "", "there is an @ too many"),
            ("x", "PGPORT=0", "PGPORT is \"0\"; it must be a port"),
            ("x", "PGPORT=abc", "PGPORT is \"abc\"; it must be a port"),
            ("x", "PGHOST=a PGPORT=1,2", "2 ports for 1 hosts"),
            ("host=a,b,c port=1,2", "", "2 ports for 3 hosts"),
            ("host=a,b", "PGHOSTADDR=::1", "1 addresses (hostaddr) for 2 hosts"),
            ("hostaddr=h", "", "hostaddr can't be used"),
            ("x", "PGCONNECT_TIMEOUT=soon", "PGCONNECT_TIMEOUT is \"soon\""),
            ("keepalives=x", "", "can't read the settings of the connection"),
            ("target_session_attrs=x", "", "can't read the settings of the connection"),
            ("sslmode=always", "", "sslmode can't be used"),
            ("sslpassword=sesame", "", "sslpassword isn't supported; decrypt the key by `openssl"),
            ("sslcrl=/sesame", "", "sslcrl isn't supported; leave it out"),
            ("x", "PGSSLCRL=/c", "PGSSLCRL isn't supported; leave it out"),
            ("x", "PGREQUIREAUTH=none", "PGREQUIREAUTH isn't supported"),
            ("requirepeer=postgres", "PGSSLCERTMODE=disable", "requirepeer isn't supported"),
            ("x", "PGSSLMINPROTOCOLVERSION=TLSv1.3", "PGSSLMINPROTOCOLVERSION isn't supported"),
            (
                "service=mine",
                "PGSYSCONFDIR=/nowhere",
                "there is no service \"mine\" in /nowhere/pg_",
            ),
            ("x", "PGSSLMODE=1", "PGSSLMODE is \"1\"; it must be disable, allow, prefer"),
            ("sslrootcert=system sslmode=require", "", "sslrootcert=system needs sslmode=verif"),
            ("x", "PGGSSENCMODE=require", "PGGSSENCMODE is \"require\"; it must be disable"),
        ] {
            let error = resolve(database, None, environment).expect_err(database).to_string();
            assert!(error.starts_with(expected), "{database:?} {environment:?}: {error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn a_service_comes_before_the_environment_and_after_the_address() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("services");
        std::fs::write(&file, "[mine]\nhost=db.example\nport=7\nuser=ada\ndbname=solar\n").unwrap();
        let environment = format!("PGSERVICEFILE={} PGPORT=9 PGUSER=eve", file.display());
        for (database, service, expected) in [
            ("service=mine", "", "ada@db.example:7/solar"),
            ("service=mine port=8", "", "ada@db.example:8/solar"),
            ("postgresql://h/x?service=mine", "", "ada@h:7/x"),
            ("house", " PGSERVICE=mine", "ada@db.example:7/house"),
            ("house", "", "eve@this machine:9/house"),
        ] {
            let settings = resolve(database, None, &format!("{environment}{service}"));
            assert_eq!(settings.expect(database).identity(), expected, "{database}{service}");
        }
    }

    #[test]
    fn a_connect_always_has_a_time_out() {
        for (database, environment, seconds) in [
            ("x", "", 10),
            ("x", "PGCONNECT_TIMEOUT=0", 10),
            ("x", "PGCONNECT_TIMEOUT=-1", 10),
            ("x", "PGCONNECT_TIMEOUT=3", 3),
            ("dbname=x connect_timeout=4", "PGCONNECT_TIMEOUT=3", 4),
            ("dbname=x connect_timeout=0", "", 10),
            ("host=a,b,c,d,e", "", 2),
            ("host=a,b,c,d,e,f", "", 2),
            ("host=a,b", "", 5),
            ("host=a,b connect_timeout=20", "", 20),
        ] {
            let settings = resolve(database, None, environment).expect(database);
            let expected = Duration::from_secs(seconds);
            assert_eq!(settings.config.get_connect_timeout(), Some(&expected), "{environment}");
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let settings = resolve("x", None, "PGPASSWORD=sesame PGAPPNAME=panel").unwrap();
        assert_eq!(settings.config.get_password(), Some(&b"sesame"[..]));
        assert_eq!(settings.config.get_application_name(), Some("panel"));
        let settings = resolve("postgresql://:own@/x", None, "PGPASSWORD=sesame").unwrap();
        assert_eq!(settings.config.get_password(), Some(&b"own"[..]));
        assert_eq!(settings.config.get_application_name(), Some("bluenovalistener"));
        assert!(settings.config.get_keepalives());
        assert_eq!(settings.config.get_keepalives_idle(), Duration::from_secs(30));
    }

    #[test]
    fn the_password_is_never_shown() {
        for database in ["postgresql://u:sesame@h/x", "host=h dbname=x user=u password=sesame"] {
            let settings = resolve(database, None, "").unwrap();
            assert_eq!(settings.to_string(), "x on h:5432");
            for text in [format!("{settings:?}"), settings.identity()] {
                assert!(!text.contains("sesame"), "{text}");
            }
        }
    }
}
