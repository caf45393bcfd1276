//! The program with a home of its own, and the batteries and databases around it.

use std::{
    fmt::Display,
    fs,
    io::{BufRead, BufReader, PipeReader, Read, pipe},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::{
        OnceLock,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use bluenova_simulator::{Battery, Pace, Profile, Server};
use bluenova_test_support::{Answer, Cleanup, Cluster, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use time::UtcDateTime;

pub(crate) use bluenova_test_support::TIME_LIMIT;

/// The directory that the program takes for its user's home; nothing else of the environment that
/// runs the tests reaches the program.
pub(crate) struct Home {
    directory: TempDir,
    if_killed: Option<Cleanup>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let if_killed = Some(Cleanup::new(KILL_AND_REMOVE, &[directory.path()]));
        Self { directory, if_killed }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `sqlite:` and the path of a file in here, for `-d`.
    pub(crate) fn sqlite(&self, name: &str) -> String {
        format!("sqlite:{}", self.path(name).display())
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bluenovalistener"));
        command.args(args).current_dir(self.directory.path()).stdin(Stdio::null());
        command
            .env_clear()
            .env("HOME", self.directory.path())
            .env("XDG_STATE_HOME", self.path("state"));
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        output(self.command(args))
    }

    pub(crate) fn listen(&self, args: &[&str]) -> Listener {
        Listener::start(self.command(args))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The programs are killed by their owners, and the directory by its own.
        if let Some(cleanup) = self.if_killed.take() {
            cleanup.cancel();
        }
    }
}

/// Ends the programs that have the directory `$1` for their home, and removes the directory, which
/// may be a mount point. They may be about to write, hence the tries.
const KILL_AND_REMOVE: &str = r#"
    for process in /proc/[0-9]*; do
        if grep -qsz "^HOME=$1\$" "$process/environ"; then kill -KILL "${process#/proc/}"; fi
    done
    for try in 1 2 3 4 5; do
        rm -rf "$1" && exit
        umount -l "$1" || sudo --non-interactive umount -l "$1"
        sleep 1
    done
"#;

/// Runs a program to its end, which must come.
#[track_caller]
pub(crate) fn output(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Killed(child.unwrap());
    let (stdout, stderr) = (child.0.stdout.take().unwrap(), child.0.stderr.take().unwrap());
    let [stdout, stderr] =
        [Box::new(stdout) as Box<dyn Read + Send>, Box::new(stderr)].map(|mut pipe| {
            thread::spawn(move || {
                let mut bytes = vec![];
                pipe.read_to_end(&mut bytes).unwrap();
                bytes
            })
        });
    let mut status = None;
    wait_until(&format!("{command:?} ends"), TIME_LIMIT, || {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    let [stdout, stderr] = [stdout, stderr].map(|reader| reader.join().unwrap());
    Output { status: status.unwrap(), stdout, stderr }
}

/// A process that does not outlive the test.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A running program, killed when the value is dropped.
pub(crate) struct Listener {
    child: Killed,
    lines: Receiver<String>,
    log: Vec<String>,
    /// Lines before this one were waited for already.
    seen: usize,
}

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Everything that it said, on both outputs.
    pub(crate) log: Vec<String>,
}

impl Listener {
    pub(crate) fn start(mut command: Command) -> Self {
        let (reader, writer) = pipe().unwrap();
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = Killed(command.spawn().unwrap());
        // It holds our ends of the pipe, which would keep us from seeing its end.
        drop(command);
        Self { child, lines: lines_of(reader), log: vec![], seen: 0 }
    }

    /// Its standard input, if that was made a pipe.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.0.stdin.take().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// All that it has said so far.
    pub(crate) fn log(&mut self) -> &[String] {
        self.log.extend(self.lines.try_iter());
        &self.log
    }

    /// Waits for the next line that has `text` in it, and gives that line. What comes before it
    /// is not looked at again.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            while let Some(line) = self.log.get(self.seen) {
                self.seen += 1;
                if line.contains(text) {
                    return line.clone();
                }
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("waited in vain for {text:?} in\n{}", self.log.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended before it said {text:?}:\n{}", self.log.join("\n"))
                }
            }
        }
    }

    /// Waits until a line has `text` in it, wherever in the log.
    #[track_caller]
    pub(crate) fn wait_until_said(&mut self, text: &str) {
        let mut looked_at = 0;
        wait_until(&format!("it says {text:?}"), TIME_LIMIT, || {
            let said = self.log()[looked_at..].iter().any(|line| line.contains(text));
            looked_at = self.log.len();
            said
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.0.id().cast_signed()), signal).unwrap();
    }

    /// Ends it by `signal`.
    #[track_caller]
    pub(crate) fn end(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.ended()
    }

    /// Waits until it ends by itself, and all that has its output does.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Ended {
        let mut status = None;
        wait_until("the program ends", TIME_LIMIT, || {
            status = self.child.0.try_wait().unwrap();
            status.is_some()
        });
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("someone still holds its output"),
            }
        }
        Ended { status: status.unwrap(), log: self.log }
    }

    /// Ends it by SIGTERM, after which it must end well.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        let ended = self.end(Signal::SIGTERM);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log.join("\n"));
        ended
    }
}

/// Reads on a thread of its own, so that the program never waits for us.
fn lines_of(reader: PipeReader) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    lines
}

/// The stamps of the records that a log says were stored for the battery `name`.
pub(crate) fn stored(log: &[impl AsRef<str>], name: &str) -> Vec<String> {
    let marker = format!(" {name}: stored ");
    let stamp = |line: &str| {
        let (_, record) = line.split_once(&marker)?;
        let (stamp, _values) = record.split_once(" UTC")?;
        Some(stamp.to_owned())
    };
    log.iter().filter_map(|line| stamp(line.as_ref())).collect()
}

/// How many lines of a log have `text` in them.
pub(crate) fn count(log: &[impl AsRef<str>], text: &str) -> usize {
    log.iter().filter(|line| line.as_ref().contains(text)).count()
}

/// Asks the page at `address` for `path`.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    bluenova_test_support::get(address, path, TIME_LIMIT)
}

pub(crate) fn battery(seed: u64) -> Battery {
    let mut profile = Profile::new(seed, UtcDateTime::UNIX_EPOCH + time::Duration::hours(12));
    profile.mcu_id = u32::try_from(seed).unwrap() << 28 | 0x00AB_CDEF;
    Battery::new(profile)
}

/// A battery that talks by itself, some times faster than a real one.
pub(crate) fn talking_battery(seed: u64) -> Server {
    Server::bind(loopback(), battery(seed), Pace::Free { speed: 4.0 }).unwrap()
}

/// A battery that sends what a test has it send.
pub(crate) fn obedient_battery(seed: u64) -> Server {
    Server::bind(loopback(), battery(seed), Pace::Lockstep).unwrap()
}

pub(crate) fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// `name=address`, for `-b`.
pub(crate) fn named(name: &str, address: impl Display) -> String {
    format!("{name}={address}")
}

/// A PostgreSQL server for all tests that leave it alone.
pub(crate) fn shared_cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// Waits until `after` is over and a second is young: what is done then has most of a second before
/// the interval ends. Gives the end of the second.
pub(crate) fn young_second(after: UtcDateTime) -> UtcDateTime {
    loop {
        let now = UtcDateTime::now();
        if now >= after && (50..250).contains(&now.millisecond()) {
            return now.replace_nanosecond(0).unwrap() + time::Duration::SECOND;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a command that succeeded has printed.
#[track_caller]
pub(crate) fn succeeded(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The error message of a command that failed, and printed nothing. The exit code is 2 if its
/// arguments are wrong.
#[track_caller]
pub(crate) fn failed(output: &Output) -> String {
    assert!(matches!(output.status.code(), Some(1 | 2)), "{}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
