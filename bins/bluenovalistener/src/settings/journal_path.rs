use std::path::{Path, PathBuf};

/// Directory for data that outlives the program, such as the journal.
pub(crate) fn state_directory(env: impl Fn(&str) -> Option<String>) -> PathBuf {
    let absolute = |name: &str| {
        env(name).map(PathBuf::from).filter(|path| path.is_absolute() && path != Path::new("/"))
    };
    // systemd lists several directories with colons between them.
    let of_systemd = env("STATE_DIRECTORY")
        .and_then(|list| list.split(':').next().map(PathBuf::from))
        .filter(|path| path.is_absolute());
    of_systemd
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("bluenova")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/bluenova")))
        .unwrap_or_else(|| {
            let linux = cfg!(target_os = "linux");
            PathBuf::from(if linux { "/var/lib/bluenova" } else { "/var/db/bluenova" })
        })
}

/// File name of the journal, different for each set of batteries (or files of them) and database,
/// so that several listeners run side by side.
pub(super) fn journal_name(batteries: Vec<String>, database: &str) -> String {
    let mut parts = batteries;
    parts.sort();
    parts.push(database.to_owned());
    format!("journal-{:016x}.sqlite", fnv1a(&parts.join("\n")))
}

/// Path of the journal of an import into a database, beside the listener's: a name that a listener
/// could have given it. So the listener delivers what an import that was killed has left there.
pub(crate) fn import_journal(journal: &Path, database: &str) -> PathBuf {
    let parts = format!("import\n{database}");
    journal.with_file_name(format!("journal-{:016x}.sqlite", fnv1a(&parts)))
}

/// FNV-1a: the standard library's hash may change from release to release, and then the journal
/// would be another one.
pub(super) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_is_the_first_that_is_set() {
        let directory = |set: &[(&str, &str)]| {
            let env = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            state_directory(env).to_str().unwrap().to_owned()
        };
        let home = ("HOME", "/home/me");
        let xdg = ("XDG_STATE_HOME", "/xdg");
        assert_eq!(directory(&[("STATE_DIRECTORY", "/var/lib/b:/x"), xdg, home]), "/var/lib/b");
        assert_eq!(directory(&[xdg, home]), "/xdg/bluenova");
        assert_eq!(directory(&[home]), "/home/me/.local/state/bluenova");
        assert_eq!(directory(&[("HOME", "/"), ("XDG_STATE_HOME", "relative")]), directory(&[]));
        assert!(directory(&[]).starts_with("/var/"));
    }
}
