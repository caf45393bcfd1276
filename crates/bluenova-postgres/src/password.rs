//! The password file: <https://www.postgresql.org/docs/current/libpq-pgpass.html>.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use crate::{Settings, place::Place};

/// What the password file had for one connection.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) password: Option<Vec<u8>>,
    /// Why nobody may look into it.
    pub(crate) note: Option<String>,
}

/// Looks into the file anew, so that what somebody has mended counts at the next attempt.
pub(crate) fn look_up(file: &Path, place: &Place, settings: &Settings) -> Found {
    match read(file) {
        Ok(text) => {
            let names = place.names();
            let wanted = Wanted { hosts: &names, port: place.port, settings };
            let password = text.split(|&byte| byte == b'\n').find_map(|line| wanted.password(line));
            Found { password, note: None }
        }
        Err(note) => Found { password: None, note },
    }
}

/// What to do where the server wants a password and there is none.
pub(crate) fn advice(file: Option<&Path>, place: &Place, settings: &Settings) -> String {
    let host = place.names().pop().unwrap_or_default().replace(':', "\\:");
    let (port, database, user) = (place.port, settings.database(), settings.user());
    let file = file.map_or("the file that PGPASSFILE names".into(), |file| file.to_string_lossy());
    format!(
        "it wants a password: set PGPASSWORD, or write a line \
         `{host}:{port}:{database}:{user}:PASSWORD` into {file} (with mode 600)"
    )
}

/// Without a reason where there is no such file: most people have none.
fn read(file: &Path) -> Result<Vec<u8>, Option<String>> {
    let name = file.display();
    let unreadable = |error: io::Error| {
        let is_away = error.kind() == io::ErrorKind::NotFound;
        (!is_away).then(|| format!("the password file {name} can't be read: {error}"))
    };
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Some(format!("the password file {name} is ignored, for it is no plain file")));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Some(format!(
            "the password file {name} is ignored, for others may use it; run `chmod 600 {name}`"
        )));
    }
    fs::read(file).map_err(unreadable)
}

struct Wanted<'a> {
    hosts: &'a [String],
    port: u16,
    settings: &'a Settings,
}

impl Wanted<'_> {
    /// The password of `host:port:database:user:password`, if all that comes before it fits.
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
        let fits = self.hosts.iter().any(|name| host.fits(name))
            && line_port.fits(&port)
            && database.fits(self.settings.database())
            && user.fits(self.settings.user());
        // It ends at a colon too; whatever follows is not for us.
        fits.then(|| field(rest).map_or_else(|| unescape(rest), |(password, _)| password.text))
    }
}

struct Field {
    text: Vec<u8>,
    is_anything: bool,
}

impl Field {
    fn fits(&self, name: &str) -> bool {
        self.is_anything || self.text == name.as_bytes()
    }
}

/// What comes before the first colon that isn't escaped, and what comes after it.
fn field(line: &[u8]) -> Option<(Field, &[u8])> {
    let mut escaped = false;
    let end = line.iter().position(|&byte| {
        let is_end = byte == b':' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    })?;
    let text = &line[..end];
    Some((Field { text: unescape(text), is_anything: text == b"*" }, &line[end + 1..]))
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        // At the very end it stands for itself.
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
        let place = settings.places()[0].for_now();
        let names = place.names();
        let wanted = Wanted { hosts: &names, port: place.port, settings: &settings };
        let found = lines.as_bytes().split(|&byte| byte == b'\n').find_map(|l| wanted.password(l));
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
