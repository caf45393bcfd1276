//! The connection parameters, from the database's address and from the environment.

use postgres::Config;

use crate::{
    SettingsError,
    conninfo::{self, Pairs},
    service,
};

/// Connection parameters that are not taken yet; those that remain go to the `postgres` crate.
pub(crate) struct Parameters<'a> {
    pairs: Pairs,
    env: &'a dyn Fn(&str) -> Option<String>,
}

/// Keywords, each with the variable that replaces it where the address doesn't have it.
const VARIABLES: [(&str, &str); 27] = [
    ("application_name", "PGAPPNAME"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("dbname", "PGDATABASE"),
    ("gssencmode", "PGGSSENCMODE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("options", "PGOPTIONS"),
    ("passfile", "PGPASSFILE"),
    ("password", "PGPASSWORD"),
    ("port", "PGPORT"),
    ("require_auth", "PGREQUIREAUTH"),
    ("requirepeer", "PGREQUIREPEER"),
    ("requiressl", "PGREQUIRESSL"),
    ("sslcert", "PGSSLCERT"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslkey", "PGSSLKEY"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("user", "PGUSER"),
];

/// Keywords of libpq, each with its name in the `postgres` crate, to which they are passed on.
const PASSED_ON: [(&str, &str); 8] = [
    ("channel_binding", "channel_binding"),
    ("keepalives", "keepalives"),
    ("keepalives_count", "keepalives_retries"),
    ("keepalives_idle", "keepalives_idle"),
    ("keepalives_interval", "keepalives_interval"),
    ("keepalives_retries", "keepalives_retries"),
    ("sslnegotiation", "sslnegotiation"),
    ("target_session_attrs", "target_session_attrs"),
];

/// Keywords of libpq that would make a difference, and aren't supported, each with what to do.
const UNSUPPORTED: [(&str, &str); 9] = [
    ("require_auth", "leave it out"),
    ("requirepeer", "leave it out"),
    ("requiressl", "write sslmode=require"),
    ("sslcertmode", "leave it out"),
    ("sslcrl", "leave it out"),
    ("sslcrldir", "leave it out"),
    ("sslpassword", "decrypt the key by `openssl pkey -in postgresql.key -out plain.key`"),
    ("ssl_max_protocol_version", "leave it out"),
    ("ssl_min_protocol_version", "leave it out: it is TLSv1.2 always"),
];

/// Keywords of libpq that make no difference here, where all text is UTF-8 and nothing is Kerberos.
const IGNORED: [&str; 6] = [
    "client_encoding",
    "fallback_application_name",
    "gsslib",
    "krbsrvname",
    "sslcompression",
    "sslsni",
];

/// Whether the value of that variable may be shown.
pub(crate) fn may_be_shown(name: &str) -> bool {
    name != "PGPASSWORD" && VARIABLES.iter().any(|(_, variable)| *variable == name)
}

impl<'a> Parameters<'a> {
    /// Reads a URL, a conninfo string or the name of a database; `env` looks up variables.
    pub(crate) fn read(
        database: &str,
        env: &'a dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let mut parameters = Self { pairs: conninfo::pairs(database)?, env };
        let service = parameters.take_value("service");
        if let Some(service) = service.or_else(|| parameters.variable("PGSERVICE")) {
            let mut pairs = service::look_up(&service, env)?;
            if pairs.iter().any(|(key, _)| key == "service") {
                return Err(SettingsError::unknown("service"));
            }
            pairs.append(&mut parameters.pairs);
            parameters.pairs = pairs;
        }
        Ok(parameters)
    }

    /// The value of `key` and the name under which it was given. An empty value counts as none.
    pub(crate) fn take(&mut self, key: &str) -> Option<(String, String)> {
        // As in libpq, the last one of several counts.
        let found = self.pairs.iter().rfind(|(name, _)| name == key).cloned();
        self.pairs.retain(|(name, _)| name != key);
        found.filter(|(_, value)| !value.is_empty()).or_else(|| {
            let (_, variable) = VARIABLES.iter().find(|(name, _)| *name == key)?;
            Some(((*variable).to_owned(), self.variable(variable)?))
        })
    }

    /// The value of `key` alone.
    pub(crate) fn take_value(&mut self, key: &str) -> Option<String> {
        self.take(key).map(|(_, value)| value)
    }

    /// A variable of the environment; libpq too takes an empty one for one that isn't set.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// The parameters that were not taken, as a configuration of the `postgres` crate.
    pub(crate) fn rest(mut self) -> Result<Config, SettingsError> {
        // The crate would choose among the addresses of one host, which is something else.
        if let Some((name, value)) = self.take("load_balance_hosts")
            && value != "disable"
        {
            return Err(SettingsError::value(&name, &value, "disable"));
        }
        for (keyword, advice) in UNSUPPORTED {
            if let Some((name, _)) = self.take(keyword) {
                return Err(SettingsError::Unsupported { name, advice });
            }
        }
        let mut rest = vec![];
        for (keyword, name) in PASSED_ON {
            if let Some((_, value)) = self.take(keyword) {
                rest.push((name.to_owned(), value));
            }
        }
        let unknown = self.pairs.iter().find(|(key, _)| !IGNORED.contains(&key.as_str()));
        if let Some((key, _)) = unknown {
            return Err(SettingsError::unknown(key));
        }
        conninfo::print(&rest).parse().map_err(SettingsError::Parameters)
    }
}
