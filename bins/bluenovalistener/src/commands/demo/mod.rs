//! Two simulated batteries, listened to and recorded by the very code that listens to real ones.

use std::{
    env,
    error::Error,
    fs,
    io::{self, IsTerminal, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use bluenova_console::Interval;
use bluenova_record::PackRecord;
use bluenova_simulator::{self as simulator, Pace, Profile, Server};
use time::UtcDateTime;

use crate::{
    args::{Args, Demo},
    battery::Assembled,
    listen, logging,
    page::{self, BindError},
    settings::{
        self, Battery, LogSettings, Settings, SettingsError, Store, state_folder, whole_number,
    },
    text,
};

const NAMES: [&str; 2] = ["north", "south"];

/// Where browsers find the demonstration, unless another place is given or this one is taken.
const USUAL_PLACE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9080);

/// A value older than this is no longer shown as one; a row comes every second.
const STALE: Duration = bluenova_http::stale_after(Duration::from_secs(1));

/// Runs the demonstration until Ctrl-C, or for the seconds given.
///
/// # Errors
/// The state folder can't be written, or another demo uses it.
pub(crate) fn run(args: &Args, options: &Demo) -> Result<(), Box<dyn Error>> {
    refuse_listening_options(args)?;
    let length = options
        .seconds
        .as_deref()
        .map(|given| whole_number("--seconds", given, 1..=86_400, "1 to 86400"))
        .transpose()?
        .map(|seconds| Duration::from_secs(u64::from(seconds)));
    let http = settings::http(args)?;

    let folder = state_folder(|name| env::var(name).ok());
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut log_settings = LogSettings::resolve(args)?;
    // The view has the console.
    log_settings.file.get_or_insert_with(|| folder.join("demo.log"));
    let log = logging::start(&log_settings)?;

    let (_server, addresses) = serve()?;
    let path = folder.join("demo.sqlite");
    let settings = settings(&addresses, &path, args.raw, http)?;
    let page = listen_for_browsers(http)?;
    let (observer, stored) = mpsc::channel();
    let signals = crate::signals()?;
    let running = listen::start(&settings, Some(page), Some(observer))?;

    text::print(&format!(
        "Two simulated batteries, recorded every second into {}\nLog in {}. Ctrl-C ends it.\n",
        path.display(),
        log_settings.file.unwrap_or_default().display()
    ));
    if let Some(page) = running.page() {
        text::print(&format!("See them at {page}\n"));
    }
    let end = length.map(|length| Instant::now() + length);
    let mut view = View::new();
    let shown = loop {
        let ended = end.is_some_and(|end| Instant::now() >= end) || signals.try_recv().is_ok();
        if ended || running.is_broken() {
            break Ok(());
        }
        let next = stored.recv_timeout(Duration::from_millis(200));
        if let Err(error) = view.show(next.into_iter().chain(stored.try_iter())) {
            break Err(error);
        }
        log.flush();
    };
    let well = running.stop();
    let rows = view.rows() + stored.try_iter().count() as u64;
    text::print(&format!("\n{rows} rows recorded.\n"));
    log.flush();
    shown?;
    if well { Ok(()) } else { Err("a thread failed; see the log".into()) }
}

fn refuse_listening_options(args: &Args) -> Result<(), SettingsError> {
    for (option, given) in [
        ("-b", !args.battery.is_empty()),
        ("-d", args.database.is_some()),
        ("-u", args.user.is_some()),
        ("-i", args.interval.is_some()),
        ("--journal", args.journal.is_some()),
        ("--keep", args.keep.is_some()),
        ("--daemon", args.daemon),
    ] {
        if given {
            return Err(SettingsError::NotTogether { option, other: "demo" });
        }
    }
    Ok(())
}

fn settings(
    addresses: &[SocketAddr; 2],
    path: &Path,
    raw: bool,
    http: Option<SocketAddr>,
) -> Result<Settings, Box<dyn Error>> {
    let batteries = NAMES
        .iter()
        .zip(addresses)
        .map(|(name, address)| {
            Ok(Battery { name: (*name).to_owned(), address: address.to_string().parse()? })
        })
        .collect::<Result<_, Box<dyn Error>>>()?;
    let interval = Interval::from_seconds(1).ok_or("a second is an interval")?;
    Ok(Settings { batteries, store: Store::Sqlite { path: path.to_owned() }, interval, raw, http })
}

/// At the place that was given; else at the usual one, or, where that is taken, at any that is free.
fn listen_for_browsers(given: Option<SocketAddr>) -> Result<TcpListener, BindError> {
    let usual = match given {
        Some(address) => return page::bind(address),
        None => page::bind(USUAL_PLACE),
    };
    usual.or_else(|error| {
        text::print(&format!("{}; taking a free port\n", text::chain(&error)));
        page::bind(SocketAddr::new(USUAL_PLACE.ip(), 0))
    })
}

/// Two batteries of one bank on free loopback ports.
fn serve() -> Result<(Server, [SocketAddr; 2]), bluenova_simulator::Error> {
    let start = UtcDateTime::now();
    let battery = |rank: i16| {
        let profile = Profile::new(u64::from(rank.unsigned_abs()), start);
        simulator::Battery::new(Profile { n_units: 2, unit_rank: rank, ..profile })
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Several cycles a second, so that each row of a second has a value in every column.
    let pace = Pace::Free { speed: 4.0 };
    let mut server = Server::bind(anywhere, battery(1), pace)?;
    let second = server.add(anywhere, battery(2), pace)?;
    let addresses = [server.local_addr(), second.local_addr()];
    Ok((server, addresses))
}

/// The view on the console: redrawn in place on a terminal, else printed line by line.
struct View {
    batteries: [Shown; 2],
    started: Instant,
    terminal: bool,
    lines_to_redraw: usize,
}

#[derive(Default)]
struct Shown {
    rows: u64,
    latest: Option<(Instant, PackRecord)>,
}

impl View {
    fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            batteries: Default::default(),
            started: Instant::now(),
            terminal,
            lines_to_redraw: 0,
        }
    }

    fn rows(&self) -> u64 {
        self.batteries.iter().map(|shown| shown.rows).sum()
    }

    /// Takes in what was stored, and draws.
    fn show(&mut self, news: impl Iterator<Item = Assembled>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.lines_to_redraw == 0 {
            writeln!(out, "\n{HEADING}")?;
        } else if self.terminal {
            write!(out, "\r\x1b[{}A", self.lines_to_redraw)?;
        }
        for Assembled { battery, record } in news {
            let shown = &mut self.batteries[battery];
            shown.rows += 1;
            shown.latest = Some((Instant::now(), record));
            if !self.terminal {
                writeln!(out, "{}", line(NAMES[battery], shown, self.started))?;
            }
        }
        if self.terminal {
            for (name, shown) in NAMES.iter().zip(&self.batteries) {
                writeln!(out, "{}\x1b[K", line(name, shown, self.started))?;
            }
        }
        self.lines_to_redraw = self.batteries.len();
        out.flush()
    }
}

const HEADING: &str =
    "battery  charge    volts       amps    temp  cells, lowest to highest    rows";

fn line(name: &str, shown: &Shown, started: Instant) -> String {
    let record = match &shown.latest {
        None => {
            return format!("{name:<7}  waiting for data ({})", text::duration(started.elapsed()));
        }
        // An old reading must never look fresh.
        Some((at, _)) if at.elapsed() > STALE => {
            return format!(
                "{name:<7}  no data for {:<42} {:>7}",
                text::duration(at.elapsed()),
                shown.rows
            );
        }
        Some((_, record)) => record,
    };
    let cells = match (record.v_cell_min, record.v_cell_max) {
        (Some(min), Some(max)) => {
            format!("{min:.3} to {max:.3} V ({:.0} mV)", (max - min) * 1000.0)
        }
        _ => "-".to_owned(),
    };
    format!(
        "{name:<7}  {:>4} %  {:>6} V  {:>7} A  {:>3} °C  {cells:<25} {:>6}",
        or_dash(record.soc),
        or_dash(record.v_pack.map(|v| format!("{v:.2}"))),
        or_dash(record.i_pack.map(|i| format!("{i:+.2}"))),
        or_dash(record.temp),
        shown.rows
    )
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
