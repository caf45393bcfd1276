//! `-daemon`: a real detach. What a process is comes from Linux' /proc.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use bluenova_test_support::wait_until;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    page::address,
    rows::sqlite_rows,
    support::{
        Ended, Home, Killed, Listener, TIME_LIMIT, count, get, loopback, named, stored,
        talking_battery,
    },
};

/// The processes that have `home` for their home; they are killed when the value is dropped.
struct Daemon<'a>(&'a Home);

impl Daemon<'_> {
    fn pids(&self) -> Vec<i32> {
        let home =
            format!("HOME={}\0", self.0.path("").display().to_string().trim_end_matches('/'));
        let is_ours = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(home.len()).any(|part| part == home.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_ours).collect()
    }

    #[track_caller]
    fn pid(&self) -> i32 {
        let pids = self.pids();
        let [pid] = pids[..] else { panic!("there should be one process: {pids:?}") };
        pid
    }

    /// Ends it as a service manager would.
    #[track_caller]
    fn stop(&self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        wait_until("the daemon ends", TIME_LIMIT, || self.pids().is_empty());
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        for pid in self.pids() {
            _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Starts a daemon, and waits for its parent; with it the output has to be let go.
fn detach(home: &Home, args: &[&str]) -> Ended {
    home.listen(args).ended()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{path:?}: {e}")).permissions().mode() & 0o777
}

/// The fields of /proc/PID/stat behind the name: state, parent, group, session, terminal.
fn stat(pid: i32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').take(5).map(str::to_owned).collect()
}

fn detached_from_everything(pid: i32) {
    let proc = |name: &str| format!("/proc/{pid}/{name}");
    let own = stat(nix::unistd::getpid().as_raw());
    let stat = stat(pid);
    assert_ne!(stat[3], own[3], "it has a session of its own");
    assert_eq!(stat[4], "0", "it has no controlling terminal");
    assert_eq!(fs::read_link(proc("cwd")).unwrap(), Path::new("/"));
    for fd in 0..3 {
        let open = fs::read_link(proc(&format!("fd/{fd}"))).unwrap();
        assert_eq!(open, Path::new("/dev/null"), "descriptor {fd}");
    }
    let status = fs::read_to_string(proc("status")).unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap().trim();
    assert_eq!(umask, "0027");
}

#[test]
fn a_daemon_leaves_the_terminal_and_stays_at_work() {
    let server = talking_battery(1);
    let at = named("attic", server.local_addr());
    for option in ["-daemon", "--daemon"] {
        let home = Home::new();
        let daemon = Daemon(&home);
        let nowhere = format!("host={}", home.path("no").display());
        let args = [option, "-b", &at, "-i", "1", "-d", &nowhere, "-l", "x.log", "-f", "1"];
        let more = ["--journal", "deep/j.sqlite", "--http", "127.0.0.1:0"];
        let args = [&args[..], &more].concat();
        let parent = detach(&home, &args);
        assert_eq!(parent.status.code(), Some(0), "{:?}", parent.log);
        assert!(parent.log.is_empty(), "{:?}", parent.log);

        detached_from_everything(daemon.pid());
        wait_until("rows come", TIME_LIMIT, || home.read("x.log").contains("attic: stored"));
        let log = home.read("x.log");
        let page = log.lines().find(|line| line.contains("page at ")).unwrap();
        assert_eq!(get(address(page), "/api/batteries").status, 200);
        daemon.stop();
        let log = home.read("x.log");
        assert!(log.trim_end().ends_with("ended"), "{log}");
        let rows = sqlite_rows(&home.path("deep/j.sqlite"));
        assert_eq!(rows.len(), stored(&log.lines().collect::<Vec<_>>(), "attic").len());
        assert_eq!(mode(&home.path("x.log")), 0o640);
        for name in ["deep", "deep/j.sqlite"] {
            assert_eq!(mode(&home.path(name)) & 0o027, 0, "{name}");
        }
    }
}

#[test]
fn relative_paths_of_databases_are_of_the_first_directory() {
    let server = talking_battery(1);
    let home = Home::new();
    let daemon = Daemon(&home);
    let at = named("attic", server.local_addr());
    // Without a log file nothing is reported, but the work is done.
    let parent = detach(&home, &["-daemon", "-b", &at, "-i", "1", "-d", "sqlite:some/db"]);
    assert_eq!(parent.status.code(), Some(0), "{:?}", parent.log);
    wait_until("rows come", TIME_LIMIT, || !sqlite_rows(&home.path("some/db")).is_empty());
    detached_from_everything(daemon.pid());
    daemon.stop();
}

#[test]
fn what_is_wrong_at_the_start_is_told_to_the_terminal() {
    let server = talking_battery(1);
    let home = Home::new();
    let at = named("attic", server.local_addr());
    let database = home.sqlite("db");
    let mut first: Listener = home.listen(&["-b", &at, "-d", &database]);
    first.wait_for("attic: connected");
    let in_use = format!("in use by process {}", first.pid());
    // In a home of its own, so that the first one is not taken for a daemon.
    let home = Home::new();
    let daemon = Daemon(&home);
    for (args, code, says) in [
        (&["-d", &database][..], 1, in_use.as_str()),
        (&["-d", &database, "-l", "x.log"], 1, &in_use),
        (&["-d", &database, "-l", "no/x.log"], 1, &in_use),
        (&["-d", "sqlite:other", "-i", "0"], 2, "1 to 86400"),
    ] {
        let args = [&["-daemon", "-b", &at], args].concat();
        let parent = detach(&home, &args);
        assert_eq!(parent.status.code(), Some(code), "{args:?}: {:?}", parent.log);
        let told = parent.log.join("\n");
        assert!(told.contains("bluenovalistener: ") && told.contains(says), "{args:?}: {told}");
        assert_eq!(daemon.pids(), [0; 0], "{args:?}");
    }
}

#[test]
fn a_daemon_records_without_log_file_and_page_until_they_can_be_had() {
    let server = talking_battery(1);
    let home = Home::new();
    let daemon = Daemon(&home);
    let (at, database) = (named("attic", server.local_addr()), home.sqlite("db"));
    let taken = TcpListener::bind(loopback()).unwrap();
    let page = taken.local_addr().unwrap();
    let http = page.to_string();
    let args = ["-daemon", "-b", &at, "-i", "1", "-d", &database, "--http", &http];
    let parent = detach(&home, &[&args[..], &["-l", "later/x.log", "-f", "1"]].concat());
    assert_eq!(parent.status.code(), Some(0), "{:?}", parent.log);
    assert_eq!(count(&parent.log, "later/x.log\" can't be opened"), 1, "{:?}", parent.log);
    detached_from_everything(daemon.pid());
    wait_until("rows come", TIME_LIMIT, || !sqlite_rows(&home.path("db")).is_empty());

    fs::create_dir(home.path("later")).unwrap();
    wait_until("there is a log", TIME_LIMIT, || home.read("later/x.log").contains(": stored "));
    let log = home.read("later/x.log");
    assert!(log.contains(&format!("--http {http} can't be listened on")), "{log}");
    drop(taken);
    let is_served = || home.read("later/x.log").contains("page at ");
    wait_until("there is a page", TIME_LIMIT, is_served);
    assert_eq!(get(page, "/api/batteries").status, 200);
    daemon.stop();
}

/// Starts the program on a terminal of its own, which `Killed` closes; gives its process, too.
fn on_terminal(home: &Home, before: &str, at: &str) -> (Killed, Pid) {
    let (program, database) = (env!("CARGO_BIN_EXE_bluenovalistener"), home.sqlite("db"));
    let line = format!("{before} {program} -b {at} -d {database} -i 1 -l x.log -f 1");
    // The tests themselves may run under nohup, which children inherit.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", "script", "-qec", &line, "/dev/null"]);
    command.current_dir(home.directory()).env_clear();
    command.env("HOME", home.directory()).env("PATH", std::env::var_os("PATH").unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let terminal = Killed(command.spawn().unwrap());
    wait_until("it records", TIME_LIMIT, || home.read("x.log").contains("attic: stored"));
    let pid = home.read("db.lock").lines().next().unwrap().parse().unwrap();
    (terminal, Pid::from_raw(pid))
}

#[test]
fn closing_the_terminal_ends_it_well_and_hup_alone_does_not() {
    let (server, home) = (talking_battery(1), Home::new());
    let at = named("attic", server.local_addr());
    let _killed_if_it_fails = Daemon(&home);
    let (terminal, pid) = on_terminal(&home, "", &at);
    fs::rename(home.path("x.log"), home.path("old.log")).unwrap();
    kill(pid, Signal::SIGHUP).unwrap();
    wait_until("the log is reopened", TIME_LIMIT, || home.read("x.log").contains("attic: stored"));

    drop(terminal);
    wait_until("it ends", TIME_LIMIT, || home.read("x.log").trim_end().ends_with(" ended"));
    // Its last interval, too, has a row.
    let logged: Vec<String> =
        ["old.log", "x.log"].iter().flat_map(|name| stamps(&home.read(name))).collect();
    assert_eq!(logged.len(), sqlite_rows(&home.path("db")).len());
}

#[test]
fn under_nohup_closing_the_terminal_does_not_end_it() {
    let (server, home) = (talking_battery(1), Home::new());
    let at = named("attic", server.local_addr());
    let _killed_if_it_fails = Daemon(&home);
    let (terminal, pid) = on_terminal(&home, "nohup", &at);
    drop(terminal);
    let before = sqlite_rows(&home.path("db")).len();
    wait_until("rows come", TIME_LIMIT, || sqlite_rows(&home.path("db")).len() >= before + 3);
    kill(pid, Signal::SIGTERM).unwrap();
    wait_until("it ends", TIME_LIMIT, || home.read("x.log").trim_end().ends_with(" ended"));
}

fn stamps(log: &str) -> Vec<String> {
    stored(&log.lines().collect::<Vec<_>>(), "attic")
}
