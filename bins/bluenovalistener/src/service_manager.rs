//! The service manager, systemd or another one, that started the program and listens at
//! `$NOTIFY_SOCKET` (sd_notify(3)).

use std::{
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use bluenova_record::ErrorChain;
use log::warn;
use nix::time::{ClockId, clock_gettime};

/// Connection to the service manager. If there is none, nothing is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceManager {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    /// Within which time the watchdog has to be fed.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names. A socket that can't be used is logged: systemd ends a
    /// program that doesn't report that it has started.
    pub(crate) fn from_env(env: impl Fn(&str) -> Option<String>) -> Self {
        let Some(path) = env("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        match open(&path) {
            Ok(socket) => Self { socket: Some(Arc::new(socket)), watchdog: watchdog(env) },
            Err(error) => {
                warn!("$NOTIFY_SOCKET {path:?} can't be used: {}", ErrorChain(&error));
                Self::default()
            }
        }
    }

    /// Reports that recording has begun, or that a reload has ended.
    pub(crate) fn ready(&self) {
        self.send_or_warn("READY=1");
    }

    /// Reports that a reload has begun.
    pub(crate) fn reloading(&self) {
        // With Type=notify-reload systemd compares the time with that of its signal.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.send_or_warn(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// Reports that the program ends. Nobody feeds the watchdog after that.
    pub(crate) fn stopping(&self) {
        self.send_or_warn("STOPPING=1");
    }

    /// Feeds the watchdog once.
    pub(crate) fn feed_watchdog(&self) {
        if self.watchdog.is_some() {
            // It is fed again in time, if this is lost.
            let _ = self.send("WATCHDOG=1");
        }
    }

    fn send_or_warn(&self, message: &str) {
        if let Err(error) = self.send(message) {
            warn!("{message:?} can't be sent to $NOTIFY_SOCKET: {}", ErrorChain(&error));
        }
    }

    fn send(&self, message: &str) -> io::Result<()> {
        match self.socket.as_deref() {
            Some((socket, address)) => socket.send_to_addr(message.as_bytes(), address).map(drop),
            None => Ok(()),
        }
    }
}

/// When to feed the watchdog of the service manager, which ends a program that doesn't.
#[derive(Debug)]
pub(crate) struct Watchdog {
    manager: ServiceManager,
    every: Option<Duration>,
    due: Instant,
}

impl Watchdog {
    /// Feeds the watchdog twice in its time, from `now` on; never, if there is none.
    pub(crate) fn new(manager: ServiceManager, now: Instant) -> Self {
        let every = manager.watchdog.map(|within| within / 2);
        Self { manager, every, due: now }
    }

    /// When it has to be fed next.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.every.map(|_| self.due)
    }

    /// Feeds it, if that is due.
    pub(crate) fn feed(&mut self, now: Instant) {
        if let Some(every) = self.every.filter(|_| now >= self.due) {
            self.manager.feed_watchdog();
            self.due = now + every;
        }
    }
}

fn open(path: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match path.strip_prefix('@') {
        Some(name) => abstract_address(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that is busy holds up no row.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &str) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract sockets are Linux' own"))
}

/// Within which time this process has to feed the watchdog.
fn watchdog(env: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let is_ours = env("WATCHDOG_PID").is_none_or(|pid| pid == process::id().to_string());
    let within = env("WATCHDOG_USEC")?.parse().ok().map(Duration::from_micros)?;
    (is_ours && !within.is_zero()).then_some(within)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A socket as systemd has it, and the program's end of it, with a watchdog to be fed in this
    /// time.
    pub(crate) fn socket(within: Duration) -> (UnixDatagram, ServiceManager, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::from_env(|name| match name {
            "NOTIFY_SOCKET" => Some(path.clone()),
            "WATCHDOG_USEC" => Some(within.as_micros().to_string()),
            _ => None,
        });
        (socket, manager, directory)
    }

    #[track_caller]
    fn received(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 100];
        socket.set_nonblocking(true).unwrap();
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time() {
        let (socket, manager, _directory) = socket(Duration::from_secs(60));
        let now = Instant::now();
        let mut watchdog = Watchdog::new(manager, now);
        for (seconds, fed) in [(0, true), (1, false), (29, false), (30, true), (100, true)] {
            watchdog.feed(now + Duration::from_secs(seconds));
            assert_eq!(received(&socket).is_some(), fed, "{seconds}");
        }
        assert_eq!(watchdog.due(), Some(now + Duration::from_secs(130)));
    }

    #[test]
    fn a_watchdog_is_for_this_process_and_has_a_time() {
        let own = process::id().to_string();
        let of = |usec: &'static str, pid: Option<&str>| {
            let pid = pid.map(str::to_owned);
            watchdog(move |name| match name {
                "WATCHDOG_USEC" => Some(usec.to_owned()),
                _ => pid.clone(),
            })
        };
        let minute = Some(Duration::from_secs(60));
        assert_eq!(of("60000000", Some(&own)), minute);
        assert_eq!(of("60000000", None), minute);
        assert_eq!(of("60000000", Some("1")), None);
        assert_eq!(of("0", None), None);
        assert_eq!(of("a minute", None), None);
    }

    #[test]
    fn without_a_socket_nothing_is_due() {
        let manager = ServiceManager::from_env(|_| None);
        manager.ready();
        assert_eq!(Watchdog::new(manager, Instant::now()).due(), None);
    }
}
