//! The password file: <https://www.postgresql.org/docs/current/libpq-pgpass.html>.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use crate::{Settings, host::Host};

/// Result of a look-up in the password file.
#[derive(Default)]
pub(crate) struct FileLookup {
    pub(crate) password: Option<Vec<u8>>,
    /// Number of the line that has the password, from 1 on.
    pub(crate) line: usize,
    /// Why the file can't be used.
    pub(crate) warning: Option<String>,
}

/// Looks the password up. It reads the file anew each time, so that a corrected file counts at the
/// next attempt.
pub(crate) fn look_up(file: &Path, host: &Host, settings: &Settings) -> FileLookup {
    match read(file) {
        Ok(text) => {
            let names = host.names();
            let key = LineKey { hosts: &names, port: host.port, settings };
            let mut lines = (1..).zip(text.split(|&byte| byte == b'\n'));
            let found = lines.find_map(|(number, line)| Some((number, key.password(line)?)));
            let (line, password) = found.unzip();
            FileLookup { password, line: line.unwrap_or_default(), warning: None }
        }
        Err(warning) => FileLookup { warning, ..FileLookup::default() },
    }
}

/// Advice for a server that asks for a password where there is none.
pub(crate) fn advice(file: Option<&Path>, host: &Host, settings: &Settings) -> String {
    let name = host.names().pop().unwrap_or_default().replace(':', "\\:");
    let (port, database, user) = (host.port, settings.database(), settings.user());
    let file = file.map_or("the file that PGPASSFILE names".into(), |file| file.to_string_lossy());
    format!(
        "the server asks for a password: set PGPASSWORD, or write a line \
         `{name}:{port}:{database}:{user}:PASSWORD` into {file} (with mode 600)"
    )
}

/// Reads the file. The error is why it can't be used, or `None` where there is no such file, as for
/// most people.
fn read(file: &Path) -> Result<Vec<u8>, Option<String>> {
    let name = file.display();
    let unreadable = |error: io::Error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        (!is_missing).then(|| format!("the password file {name} can't be read: {error}"))
    };
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Some(format!(
            "the password file {name} is ignored, for it is not a plain file"
        )));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Some(format!(
            "the password file {name} is ignored, for others may use it; run `chmod 600 {name}`"
        )));
    }
    fs::read(file).map_err(unreadable)
}

/// What a line of the file must match.
struct LineKey<'a> {
    hosts: &'a [String],
    port: u16,
    settings: &'a Settings,
}

impl LineKey<'_> {
    /// The password of `host:port:database:user:password`, if everything before it matches.
    fn password(&self, line: &[u8]) -> Option<Vec<u8>> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"#") {
            return None;
        }
        let port = self.port.to_string();
        let (host, rest) = field(line)?;
        let (line_port, rest) = field(rest)?;
        let (database, rest) = field(rest)?;
        let (user, rest) = field(rest)?;
        let matches = self.hosts.iter().any(|name| host.matches(name))
            && line_port.matches(&port)
            && database.matches(self.settings.database())
            && user.matches(self.settings.user());
        // It ends at a colon too, as in libpq; whatever follows is ignored.
        matches.then(|| field(rest).map_or_else(|| unescape(rest), |(password, _)| password.text))
    }
}

struct Field {
    text: Vec<u8>,
    is_wildcard: bool,
}

impl Field {
    fn matches(&self, name: &str) -> bool {
        self.is_wildcard || self.text == name.as_bytes()
    }
}

/// Splits a line at the first colon that isn't escaped.
fn field(line: &[u8]) -> Option<(Field, &[u8])> {
    let mut escaped = false;
    let end = line.iter().position(|&byte| {
        let is_end = byte == b':' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    })?;
    let text = &line[..end];
    Some((Field { text: unescape(text), is_wildcard: text == b"*" }, &line[end + 1..]))
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        // A backslash at the very end stands for itself.
        plain.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The password for `homeauto` on db.example:5432, as `ada`.
    #[track_caller]
    fn check(lines: &str, expected: Option<&str>) {
        check_for("postgresql://ada@db.example/homeauto", lines, expected);
    }

    #[track_caller]
    fn check_for(url: &str, lines: &str, expected: Option<&str>) {
        let settings = Settings::resolve(url, None, |_| None).unwrap();
        let host = settings.hosts()[0].with_default_name();
        let names = host.names();
        let key = LineKey { hosts: &names, port: host.port, settings: &settings };
        let found = lines.as_bytes().split(|&byte| byte == b'\n').find_map(|l| key.password(l));
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{lines:?}");
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        check("db.example:5432:homeauto:ada:sesame", Some("sesame"));
        check("db.example:5432:homeauto:ada:sesame\r", Some("sesame"));
        check("*:*:*:*:sesame", Some("sesame"));
        check("other:*:*:*:no\n\n# *:*:*:*:no\n*:*:*:ada:sesame\n*:*:*:*:no", Some("sesame"));
        check("db.example:5433:homeauto:ada:no", None);
        check("db.example:5432:other:ada:no", None);
        check("db.example:5432:homeauto:eve:no", None);
        check("localhost:5432:homeauto:ada:no", None);
        check("db.example:5432:homeauto:ada", None);
        check("", None);
        check("db.example:5432:homeauto:ada:", Some(""));
        check("db.ex*:*:*:*:no\n\\*:*:*:*:no", None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        check(r"*:*:*:*:a\:b\\c\d", Some(r"a:b\cd"));
        check(r"*:*:*:*:a:b", Some("a"));
        check(r"*:*:*:*:a\", Some(r"a\"));
        check(r"db\.example:5432:home\auto:ada:x", Some("x"));
        check_for("postgresql://ada@[::1]:7/d", r"\:\:1:7:d:ada:x", Some("x"));
        check_for("hostaddr=10.0.0.1 user=ada", "10.0.0.1:*:ada:*:x", Some("x"));
        check_for("host=db hostaddr=10.0.0.1 user=ada", "10.0.0.1:*:*:*:no\ndb:*:*:*:x", Some("x"));
    }

    #[test]
    fn the_usual_socket_is_localhost() {
        check_for("host=/tmp user=ada", "localhost:*:*:*:x", Some("x"));
        check_for("host=/var/run/postgresql user=ada", "localhost:*:*:*:x", Some("x"));
        check_for("host=/tmp/mine user=ada", "localhost:*:*:*:no\n/tmp/mine:*:*:*:x", Some("x"));
    }
}
