//! The connection service file: <https://www.postgresql.org/docs/current/libpq-pgservice.html>.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{SettingsError, conninfo::Pairs};

/// The parameters of a service, from the first file that has it; `env` looks up variables.
pub(crate) fn look_up(
    service: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Pairs, SettingsError> {
    let files = files(env);
    for file in &files {
        match fs::read_to_string(file) {
            Ok(text) => {
                if let Some(pairs) = parse(&text, service)
                    .map_err(|line| SettingsError::ServiceLine { path: file.clone(), line })?
                {
                    return Ok(pairs);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(SettingsError::ServiceFile { path: file.clone(), source });
            }
        }
    }
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    Err(SettingsError::Service { service: service.to_owned(), files: files.join(", ") })
}

fn files(env: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let variable = |name| env(name).filter(|value| !value.is_empty());
    let users = variable("PGSERVICEFILE")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&variable("HOME")?).join(".pg_service.conf")));
    let directory = variable("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_owned());
    users.into_iter().chain([Path::new(&directory).join("pg_service.conf")]).collect()
}

/// The pairs below `[service]`; `None` where there is no such line. The error is the number of a
/// line that is no pair.
fn parse(text: &str, service: &str) -> Result<Option<Pairs>, usize> {
    let mut pairs: Option<Pairs> = None;
    let mut is_inside = false;
    for (number, line) in (1_usize..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            is_inside = name.strip_suffix(']') == Some(service) && pairs.is_none();
            if is_inside {
                pairs = Some(vec![]);
            }
        } else if is_inside {
            let (key, value) = line.split_once('=').ok_or(number)?;
            pairs.get_or_insert_default().push((key.to_owned(), value.to_owned()));
        }
    }
    // As in libpq, the first one of several counts; elsewhere it is the last one.
    Ok(pairs.map(|pairs| pairs.into_iter().rev().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_the_lines_below_its_name() {
        let text = "# ours\n[other]\nhost=a\n\n[mine]\n host=b\nport=7\nport=8\n[mine]\nhost=c\n";
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = vec![pair("port", "8"), pair("port", "7"), pair("host", "b")];
        assert_eq!(parse(text, "mine"), Ok(Some(expected)));
        assert_eq!(parse(text, "nobody's"), Ok(None));
        assert_eq!(parse("[mine]\nhost=b\nldap://x", "mine"), Err(3));
    }
}
