//! PostgreSQL's programs, and the user to run them as; programs of other servers.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{Uid, User};

/// Environment variable with the directory of the programs, where it isn't the system's PostgreSQL
/// that tests are to run against.
const DIRECTORY: &str = "BLUENOVA_POSTGRES_BIN";

/// PostgreSQL's programs refuse to run as root; then they run as this user.
pub(crate) struct Programs {
    directory: PathBuf,
    user: Option<User>,
}

impl Programs {
    pub(crate) fn find() -> Self {
        let has_initdb = |directory: &PathBuf| directory.join("initdb").is_file();
        let directory = match env::var_os(DIRECTORY) {
            // Never another version than the one that was asked for.
            Some(chosen) => {
                let chosen = PathBuf::from(chosen);
                assert!(has_initdb(&chosen), "{DIRECTORY}: no initdb in {}", chosen.display());
                chosen
            }
            None => candidates().into_iter().find(has_initdb).expect(
                "this test needs PostgreSQL's server programs (initdb, postgres), and found none; \
                 `./test` installs them, or `apt-get install postgresql` does",
            ),
        };
        Self { directory, user: Uid::effective().is_root().then(unprivileged_user) }
    }

    /// One of the programs, in a process group of its own, so that a Ctrl-C at the terminal is
    /// for the tests only.
    pub(crate) fn command(&self, name: &str) -> Command {
        self.as_user(Command::new(self.directory.join(name)))
    }

    /// Makes `command` run as the user that PostgreSQL runs as.
    pub(crate) fn as_user(&self, mut command: Command) -> Command {
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGOPTIONS", "PGTZ"] {
            command.env_remove(name);
        }
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
        command
    }

    pub(crate) fn give(&self, path: &Path) {
        if let Some(user) = &self.user {
            std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .unwrap_or_else(|e| panic!("can't give {} to {}: {e}", path.display(), user.name));
        }
    }
}

/// Runs `command` to its end.
pub(crate) fn run(mut command: Command) {
    let output = command.output().unwrap_or_else(|e| panic!("can't run {command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// Path of a server's program, which Debian has outside of the PATH of most users.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<_> = env::split_paths(&path).collect();
    candidates.push(PathBuf::from("/usr/sbin"));
    let mut found = candidates.into_iter().map(|directory| directory.join(name));
    found.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!(
            "this test needs {name}, and found none; `./test` installs it, or \
             `apt-get install {name}` does"
        )
    })
}

/// Where distributions put the programs, the likeliest first.
fn candidates() -> Vec<PathBuf> {
    let mut directories = vec![];
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        directories.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    // Debian keeps one directory per major version, and only clients in PATH.
    let mut debian: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    debian.sort_by_key(|path| path.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok()));
    directories.extend(debian.iter().rev().map(|path| path.join("bin")));
    directories.push(PathBuf::from("/usr/local/bin"));
    directories.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    directories
}

fn unprivileged_user() -> User {
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .expect("PostgreSQL doesn't run as root, and there is no user `postgres` or `nobody`")
}
