//! Connection strings in libpq's forms, read as pairs of a keyword and its value:
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>.

use std::{iter::Peekable, str::Chars};

use percent_encoding::percent_decode_str;

use crate::SettingsError;

pub(crate) type Pairs = Vec<(String, String)>;

/// Reads a URL, a conninfo string or, where it is neither, the name of a database.
pub(crate) fn pairs(text: &str) -> Result<Pairs, SettingsError> {
    let after_scheme =
        ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    if let Some(rest) = after_scheme {
        url(rest)
    } else if text.contains('=') {
        conninfo(text)
    } else if text.is_empty() {
        Err(SettingsError::Empty)
    } else if text.contains('@') || text.contains("//") {
        // A name is shown in messages; a mistyped URL may contain a password.
        Err(SettingsError::address("a URL begins with postgresql://"))
    } else if looks_like_file(text) {
        Err(SettingsError::File(text.to_owned()))
    } else {
        Ok(vec![("dbname".to_owned(), text.to_owned())])
    }
}

/// Whether the name is rather that of an SQLite file.
fn looks_like_file(name: &str) -> bool {
    let endings = [".sqlite", ".sqlite3", ".db", ".db3"];
    name.contains('/') || endings.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending))
}

/// Writes pairs so that the parser of the `postgres` crate reads them.
pub(crate) fn print(pairs: &[(String, String)]) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    let printed = pairs.iter().map(|(key, value)| format!("{key}='{}'", quoted(value)));
    printed.collect::<Vec<_>>().join(" ")
}

/// Keywords whose values are shown, and so must not contain a password by mistake.
const SHOWN: [&str; 8] =
    ["dbname", "host", "hostaddr", "passfile", "port", "sslmode", "sslrootcert", "user"];

/// `host=db.example dbname='my house'`
fn conninfo(text: &str) -> Result<Pairs, SettingsError> {
    let mut rest = text.chars().peekable();
    let mut pairs = vec![];
    loop {
        skip_spaces(&mut rest);
        if rest.peek().is_none() {
            return Ok(pairs);
        }
        let mut key = String::new();
        while let Some(c) = rest.next_if(|&c| c != '=' && !c.is_ascii_whitespace()) {
            key.push(c);
        }
        skip_spaces(&mut rest);
        if rest.next_if_eq(&'=').is_none() {
            return Err(SettingsError::address("there is a keyword without a ="));
        }
        skip_spaces(&mut rest);
        let is_quoted = rest.peek() == Some(&'\'');
        let value = value(&mut rest)?;
        let may_hide_more = SHOWN.contains(&key.as_str()) && !is_quoted;
        if may_hide_more && value.contains(',') && value.contains('=') {
            return Err(SettingsError::address("its pairs are separated by spaces, not commas"));
        }
        pairs.push((key, value));
    }
}

fn skip_spaces(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(char::is_ascii_whitespace).is_some() {}
}

fn value(rest: &mut Peekable<Chars<'_>>) -> Result<String, SettingsError> {
    let is_quoted = rest.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match rest.next() {
            Some('\\') => value.extend(rest.next()),
            Some('\'') if is_quoted => return Ok(value),
            Some(c) if !is_quoted && c.is_ascii_whitespace() => return Ok(value),
            Some(c) => value.push(c),
            None if is_quoted => return Err(SettingsError::address("a quote isn't closed")),
            None => return Ok(value),
        }
    }
}

/// `user:password@host:port,host:port/dbname?key=value&key=value`, each part of which may be
/// missing. A port that is missing is an empty one in the list.
fn url(rest: &str) -> Result<Pairs, SettingsError> {
    let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
    if name.contains('@') {
        // The slash belongs to the password.
        return Err(SettingsError::StrayAt);
    }
    let (credentials, hosts) = authority.split_once('@').unwrap_or(("", authority));
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let hosts = hosts.split(',').map(host_and_port).collect::<Result<Vec<_>, _>>()?;
    let names = list(hosts.iter().map(|(name, _)| *name));
    let ports = list(hosts.iter().map(|(_, port)| *port));

    let mut pairs = vec![];
    let parts = [
        ("user", user),
        ("password", password),
        ("dbname", name),
        ("host", &*names),
        ("port", &*ports),
    ];
    for (key, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
        pairs.push((key.to_owned(), decode(key, value)?));
    }
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        pairs.push(url_parameter(parameter)?);
    }
    Ok(pairs)
}

/// `key=value`
fn url_parameter(parameter: &str) -> Result<(String, String), SettingsError> {
    let Some((key, value)) = parameter.split_once('=') else {
        return Err(SettingsError::address("there is a keyword without a ="));
    };
    let key = decode("keyword", key)?;
    if value.contains('=') {
        let name = SettingsError::shown_keyword(&key);
        return Err(SettingsError::address(format!(
            "there is a second = after {name}; in a value, write %3D for it"
        )));
    }
    let value = decode(&key, value)?;
    // JDBC's spelling, which libpq accepts too.
    if key == "ssl" && value == "true" {
        return Ok(("sslmode".to_owned(), "require".to_owned()));
    }
    Ok((key, value))
}

fn host_and_port(text: &str) -> Result<(&str, &str), SettingsError> {
    let Some(bracketed) = text.strip_prefix('[') else {
        return Ok(text.split_once(':').unwrap_or((text, "")));
    };
    match bracketed.split_once(']') {
        Some(("", _)) => Err(SettingsError::address("there is nothing between [ and ]")),
        Some((host, "")) => Ok((host, "")),
        Some((host, rest)) if rest.starts_with(':') => Ok((host, &rest[1..])),
        _ => {
            Err(SettingsError::address("a [ isn't closed, or something other than a port follows"))
        }
    }
}

/// A comma-separated list; empty where all items are.
fn list<'a>(items: impl Iterator<Item = &'a str> + Clone) -> String {
    if items.clone().all(str::is_empty) {
        return String::new();
    }
    items.collect::<Vec<_>>().join(",")
}

/// Decodes the part of a URL that has that keyword.
fn decode(key: &str, text: &str) -> Result<String, SettingsError> {
    let wrong = |what| {
        let name = SettingsError::shown_keyword(key);
        SettingsError::address(format!("{what} in the {name} of the URL"))
    };
    let digit = |digit: Option<&u8>| digit.is_some_and(u8::is_ascii_hexdigit);
    let mut percents = text.bytes().enumerate().filter(|(_, byte)| *byte == b'%');
    let bytes = text.as_bytes();
    if percents.any(|(at, _)| !digit(bytes.get(at + 1)) || !digit(bytes.get(at + 2))) {
        let what = "a % isn't followed by two hexadecimal digits (write %25 for a % itself)";
        return Err(wrong(what));
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) if decoded.contains('\0') => Err(wrong("there is a %00")),
        Ok(decoded) => Ok(decoded.into()),
        Err(_) => Err(wrong("a % stands for no UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` is `key=value` with `|` between.
    fn check(text: &str, expected: &str) {
        let read = pairs(text).expect(text);
        let shown: Vec<_> = read.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown.join("|"), expected, "{text}");
        if !read.is_empty() {
            assert_eq!(pairs(&print(&read)).expect(text), read, "{text}");
        }
    }

    #[test]
    fn names_and_conninfo_strings_are_read_as_libpq_reads_them() {
        check("homeauto", "dbname=homeauto");
        check("my house", "dbname=my house");
        check("host=h", "host=h");
        check("  host = h\tport\n=\n 5 ", "host=h|port=5");
        check("host='' user=''", "host=|user=");
        check(r"password='it\'s \\ = x' dbname=a\ b\'", r"password=it's \ = x|dbname=a b'");
        check("host= port=5", "host=port=5");
        check("password=", "password=");
        check(r"password=\", "password=");
        check("user=Zoë", "user=Zoë");
    }

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        check("postgresql://", "");
        check("postgres://h", "host=h");
        check("postgresql:///house", "dbname=house");
        check("postgresql://h:5/", "host=h|port=5");
        check("postgresql://u@h/d", "user=u|dbname=d|host=h");
        check("postgresql://u:p@/d", "user=u|password=p|dbname=d");
        check("postgresql://:p%40%2F%3a@h", "password=p@/:|host=h");
        check("postgresql://u:a:b@h", "user=u|password=a:b|host=h");
        check("postgresql://a,b:2,[::1]:3,[::1]", "host=a,b,::1,::1|port=,2,3,");
        check("postgresql://%2Ftmp,h/d", "dbname=d|host=/tmp,h");
        check("postgresql://h?user=u&port=5&", "host=h|user=u|port=5");
        check("postgresql:///d?host=/tmp&options=-c%20a%3db", "dbname=d|host=/tmp|options=-c a=b");
        check(
            "postgresql://h/d?application_name=me@home/x",
            "dbname=d|host=h|application_name=me@home/x",
        );
        check("postgresql://h?ssl=true", "host=h|sslmode=require");
    }

    /// From libpq's own tests, src/interfaces/libpq/t/001_uri.pl.
    #[test]
    fn urls_that_libpq_refuses_are_refused_with_the_place() {
        for (url, words) in [
            ("postgre://", "a URL begins with"),
            ("postgres://[::1", "a [ isn't closed"),
            ("postgres://[]", "nothing between [ and ]"),
            ("postgres://[::1]z", "something other than a port follows"),
            ("postgresql://host?zzz", "keyword without a ="),
            ("postgresql://host?value1&value2", "keyword without a ="),
            ("postgresql://host?key=key=value", "a second = after `key`"),
            ("postgres://host?dbname=%XXfoo", "two hexadecimal digits"),
            ("postgres://host?dbname=%XXfoo", "in the `dbname` of the URL"),
            ("postgresql://a%00b", "there is a %00 in the `host`"),
            ("postgresql://%zz", "in the `host` of the URL"),
            ("postgresql://%1", "two hexadecimal digits"),
            ("postgresql://%", "two hexadecimal digits"),
            ("postgresql://u:%@h", "in the `password` of the URL"),
            ("postgresql://h?%=1", "in the `keyword` of the URL"),
        ] {
            let error = pairs(url).expect_err(url).to_string();
            assert!(error.contains(words), "{url}: {error}");
        }
    }

    #[test]
    fn a_file_is_no_name_of_a_database() {
        for name in ["/var/lib/rows", "rows.sqlite", "Rows.DB", "./rows", "rows.sqlite3"] {
            let error = pairs(name).expect_err(name).to_string();
            assert!(error.contains(&format!("sqlite:{name}")), "{error}");
        }
        check("dbname=rows.db", "dbname=rows.db");
        check("postgresql:///rows.db", "dbname=rows.db");
        check("db", "dbname=db");
    }

    #[test]
    fn malformed_text_is_an_error_that_does_not_repeat_it() {
        for text in [
            "password=open sesame",
            "host=h sesame",
            "password='sesame",
            "postgresql://[sesame",
            "postgresql://[::1]sesame",
            "postgresql://h?sesame",
            "postgresql://u:sesame%ff@h",
            "",
        ] {
            let error = pairs(text).expect_err(text).to_string();
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}
