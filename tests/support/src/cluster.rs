use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use postgres::{Client, Config, NoTls};

use crate::{
    Cleanup, ReservedPort, TIME_LIMIT,
    programs::{Programs, run},
    wait_until,
};

/// The superuser of every [`Cluster`].
pub const SUPERUSER: &str = "postgres";

/// How to stop a server.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// Ends the sessions, writes everything out, and stops.
    Fast,
    /// Stops at once; the next start recovers from the log, as after a crash.
    Immediate,
}

/// A PostgreSQL cluster of a test's own, gone when the value is dropped or the process dies.
///
/// It listens on a Unix socket in a directory of its own and trusts everybody. Its encoding is
/// UTF-8, its time zone UTC unless set otherwise. Roles and databases are the test's to create.
pub struct Cluster {
    directory: Directory,
    programs: Programs,
    /// The one of TCP, if it listens there.
    reserved: Option<ReservedPort>,
    postmaster: Option<Child>,
}

impl Cluster {
    /// Starts a cluster with PostgreSQL's usual settings.
    ///
    /// # Panics
    /// Where PostgreSQL isn't installed or doesn't start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a cluster with `settings` on top, as they would stand in `postgresql.conf`.
    ///
    /// With `("listen_addresses", "127.0.0.1")` it listens on a free TCP port besides.
    ///
    /// # Panics
    /// Where PostgreSQL isn't installed or doesn't start.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let programs = Programs::find();
        let template = TEMPLATE.get_or_init(|| make_template(&programs));
        let directory = Directory::new(&programs);
        let mut copy = programs.as_user(Command::new("cp"));
        copy.arg("-Rp").arg(template.data()).arg(directory.data());
        run(copy);

        let over_tcp = settings.iter().any(|&(name, _)| name == "listen_addresses");
        let reserved = over_tcp.then(ReservedPort::new);
        let mut cluster = Self { directory, programs, reserved, postmaster: None };
        cluster.configure(settings);
        cluster.launch().unwrap_or_else(|log| panic!("PostgreSQL does not start:\n{log}"));
        cluster
    }

    /// Directory of the Unix socket: `PGHOST`, or `host=` in a conninfo string.
    pub fn socket_dir(&self) -> &Path {
        &self.directory.path
    }

    /// The data directory, where `postgresql.conf` and `pg_hba.conf` lie.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.data()
    }

    /// The port, which is part of the Unix socket's name too.
    pub fn port(&self) -> u16 {
        self.reserved.as_ref().map_or(5432, ReservedPort::number)
    }

    /// The superuser's name.
    pub fn user(&self) -> &'static str {
        SUPERUSER
    }

    /// URL of a database, over the Unix socket, as the superuser.
    pub fn url(&self, database: &str) -> String {
        let directory = self.socket_dir().display();
        format!("postgresql:///{database}?host={directory}&port={}&user={SUPERUSER}", self.port())
    }

    /// Conninfo string of a database, over the Unix socket, as the superuser.
    pub fn conninfo(&self, database: &str) -> String {
        let directory = self.socket_dir().display();
        format!("host={directory} port={} user={SUPERUSER} dbname={database}", self.port())
    }

    /// A connection as the superuser.
    ///
    /// # Panics
    /// Where there is no such database, or the server is away.
    pub fn client(&self, database: &str) -> Client {
        self.client_as(SUPERUSER, database)
    }

    /// A connection as `user`.
    ///
    /// # Panics
    /// Where there is no such user or database, or the server is away.
    pub fn client_as(&self, user: &str, database: &str) -> Client {
        self.connect(user, database)
            .unwrap_or_else(|e| panic!("can't connect to {database} as {user}: {e:?}"))
    }

    /// Whether the server lets `user` in without a password.
    pub(crate) fn lets_in(&self, user: &str, database: &str) -> bool {
        self.connect(user, database).is_ok()
    }

    /// What `psql` prints to standard output for a command, `\copy` say, as the superuser.
    ///
    /// # Panics
    /// Where it fails.
    pub fn psql(&self, database: &str, command: &str) -> String {
        let mut psql = self.programs.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--command", command, &self.url(database)]);
        let output = psql.output().unwrap_or_else(|e| panic!("can't run {psql:?}: {e}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{psql:?}: {}\n{errors}", output.status);
        String::from_utf8(output.stdout).expect("the database's encoding is UTF-8")
    }

    /// The major version of the server: 15, for instance.
    ///
    /// # Panics
    /// Where the server is away.
    pub fn version(&self) -> u32 {
        let answer = self.client("postgres").query_one("SHOW server_version_num", &[]);
        let number: String = answer.expect("every version has this setting").get(0);
        number.parse::<u32>().expect("it is a number") / 10_000
    }

    /// Creates a database that belongs to the superuser.
    ///
    /// # Panics
    /// Where there is one of that name.
    pub fn create_database(&self, name: &str) {
        self.execute(&format!("CREATE DATABASE {name}"));
    }

    /// Creates a role that may log in and nothing else.
    ///
    /// # Panics
    /// Where there is one of that name.
    pub fn create_role(&self, name: &str) {
        self.execute(&format!("CREATE ROLE {name} LOGIN"));
    }

    /// The process that all others of the cluster are children of; `None` while it is stopped.
    pub fn postmaster_pid(&self) -> Option<u32> {
        self.postmaster.as_ref().map(Child::id)
    }

    /// Stops the server and waits until it is gone; does nothing where it isn't running.
    ///
    /// # Panics
    /// When it doesn't stop.
    pub fn stop(&mut self, mode: Mode) {
        let Some(mut postmaster) = self.postmaster.take() else { return };
        let signal = match mode {
            Mode::Fast => Signal::SIGINT,
            Mode::Immediate => Signal::SIGQUIT,
        };
        signal_to(&postmaster, signal);
        wait_until("PostgreSQL has stopped", TIME_LIMIT, || {
            postmaster.try_wait().expect("the postmaster is our child").is_some()
        });
    }

    /// Starts the server again: same data, same socket, same port.
    ///
    /// # Panics
    /// When it doesn't start.
    pub fn start_again(&mut self) {
        self.stop(Mode::Immediate);
        let deadline = Instant::now() + TIME_LIMIT;
        // After a kill -9 orphans hold the shared memory and the port for a moment.
        while let Err(log) = self.launch() {
            assert!(Instant::now() < deadline, "PostgreSQL does not start again:\n{log}");
        }
    }

    /// One of PostgreSQL's programs, `pg_dump` say, of the server's version and run as its user.
    pub fn program(&self, name: &str) -> Command {
        self.programs.command(name)
    }

    /// What the server has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.log()).unwrap_or_default()
    }

    fn configure(&self, settings: &[(&str, &str)]) {
        let socket_dir = self.socket_dir().display().to_string();
        let port = self.port().to_string();
        let ours = [
            ("port", port.as_str()),
            ("unix_socket_directories", &socket_dir),
            ("listen_addresses", ""),
            ("timezone", "UTC"),
            // What a test must survive is the death of processes, not that of the machine.
            ("fsync", "off"),
            // All scenarios of the fault suite in their long form run at once.
            ("max_connections", "300"),
            ("shared_buffers", "32MB"),
        ];
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.data_dir().join("postgresql.conf"))
            .expect("initdb has written a postgresql.conf");
        for (name, value) in ours.iter().chain(settings) {
            let value = value.replace('\'', "''");
            writeln!(file, "{name} = '{value}'").expect("the temporary directory is writable");
        }
    }

    /// Starts the server and waits until it serves; otherwise returns its log.
    fn launch(&mut self) -> Result<(), String> {
        let log = File::create(self.directory.log()).expect("the temporary directory is writable");
        let mut command = self.programs.command("postgres");
        command.arg("-D").arg(self.data_dir()).stdout(Stdio::null()).stderr(log);
        let mut postmaster =
            command.spawn().unwrap_or_else(|e| panic!("can't run {command:?}: {e}"));
        let mut died = false;
        wait_until("PostgreSQL answers", TIME_LIMIT, || {
            died = postmaster.try_wait().expect("the postmaster is our child").is_some();
            died || self.connect(SUPERUSER, "postgres").is_ok()
        });
        if died {
            return Err(self.log());
        }
        self.postmaster = Some(postmaster);
        Ok(())
    }

    fn connect(&self, user: &str, database: &str) -> Result<Client, postgres::Error> {
        Config::new()
            .host_path(self.socket_dir())
            .port(self.port())
            .user(user)
            .dbname(database)
            .connect(NoTls)
    }

    fn execute(&self, sql: &str) {
        self.client("postgres").batch_execute(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else { return };
        // A test may have stopped it by SIGSTOP.
        signal_to(&postmaster, Signal::SIGCONT);
        signal_to(&postmaster, Signal::SIGQUIT);
        // Not `wait_until`: a panic in drop would abort the tests and hide the reason.
        let deadline = Instant::now() + TIME_LIMIT;
        while Instant::now() < deadline && matches!(postmaster.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = postmaster.kill();
        let _ = postmaster.wait();
    }
}

/// What `initdb` made, which takes it a second or more; copying takes far less.
static TEMPLATE: OnceLock<Directory> = OnceLock::new();

fn make_template(programs: &Programs) -> Directory {
    let directory = Directory::new(programs);
    let mut initdb = programs.command("initdb");
    initdb.arg("--pgdata").arg(directory.data());
    initdb.args(["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
    initdb.arg("--no-sync");
    run(initdb);
    directory
}

/// A temporary directory that goes with its server, whether the value is dropped or the process
/// killed.
struct Directory {
    path: PathBuf,
    _cleanup: Cleanup,
}

impl Directory {
    fn new(programs: &Programs) -> Self {
        // Not `TMPDIR`: the path of a Unix socket is limited to some hundred bytes, and the user
        // that PostgreSQL runs as may not be allowed in there.
        let directory = tempfile::Builder::new().prefix("bluenova-pg").tempdir_in("/tmp");
        let path = directory.expect("/tmp is writable").keep();
        programs.give(&path);
        let cleanup = Cleanup::new(STOP_AND_REMOVE, &[&path]);
        Self { path, _cleanup: cleanup }
    }

    fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    fn log(&self) -> PathBuf {
        self.path.join("log")
    }
}

/// Stops a server that still runs in the directory `$1`, by force after a minute, and removes the
/// directory. A test may have a mount point in there, which it cleans up itself; hence the tries.
const STOP_AND_REMOVE: &str = r#"
    if pid=$(head -n 1 "$1/data/postmaster.pid"); then
        kill -CONT "$pid"
        kill -QUIT "$pid"
        tries=0
        while kill -0 "$pid" && [ "$tries" -lt 600 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        kill -KILL "$pid"
    fi
    for try in 1 2 3 4 5; do
        rm -rf "$1" && exit
        sleep 1
    done
"#;

fn signal_to(process: &Child, signal: Signal) {
    let pid = i32::try_from(process.id()).expect("process numbers are positive");
    // It may have died by itself; then there is nothing to signal.
    let _ = kill(Pid::from_raw(pid), signal);
}
