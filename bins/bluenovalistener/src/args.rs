//! The command line as it was typed. [`crate::settings`] resolves what it means.

use std::ffi::OsString;

use argh::{ArgsInfo, EarlyExit, FromArgs};
use bluenova_status::limits::{LIMITS, Limit};

use options_first::{as_argh_has_it, options_first};
pub(crate) use suggestion::nearest;
use suggestion::not_taken;

mod options_first;
mod suggestion;

/// Listen to BlueNova batteries and record them, one row per interval, into PostgreSQL.
#[derive(ArgsInfo, FromArgs, Debug)]
pub(crate) struct Args {
    /// run in the background as a daemon (-daemon works too)
    #[argh(switch)]
    pub(crate) daemon: bool,

    // rustdoc would take the brackets for links.
    #[argh(
        option,
        short = 'b',
        arg_name = "battery",
        description = "battery to listen to: [NAME=]HOST[:PORT][/PATH], IPv6 in brackets, or @FILE \
                       with a battery in each line, read again at SIGHUP; give it several times \
                       for several batteries (default 10.0.0.2, port 9000, path /ws/)"
    )]
    pub(crate) battery: Vec<String>,

    /// database: NAME, postgresql:// URL, key=value conninfo, or sqlite:PATH (default homeauto)
    #[argh(option, short = 'd', arg_name = "database")]
    pub(crate) database: Option<String>,

    /// user of the database (default $PGUSER, else homeauto)
    #[argh(option, short = 'u', arg_name = "user")]
    pub(crate) user: Option<String>,

    /// seconds per row, 1 to 86400 (default 10)
    #[argh(option, short = 'i', arg_name = "seconds")]
    pub(crate) interval: Option<String>,

    /// file to log to, - for the console (default: -)
    #[argh(option, short = 'l', arg_name = "file")]
    pub(crate) log_file: Option<String>,

    /// old log files to keep, 0 to 1000 (default 5)
    #[argh(option, short = 'n', arg_name = "files")]
    pub(crate) log_keep: Option<String>,

    /// size at which the log file is rotated, in bytes or with suffix K, M or G (50M, 50MB); 0
    /// for never (default 50M)
    #[argh(option, short = 'm', arg_name = "size")]
    pub(crate) log_size: Option<String>,

    /// when to flush the log file: 1 after each line, 0 within a second (default 0)
    #[argh(option, short = 'f', arg_name = "0|1")]
    pub(crate) log_flush: Option<String>,

    /// log every console line as it is received
    #[argh(switch, short = 'r')]
    pub(crate) raw: bool,

    /// file of the local journal (default: a file in the state directory)
    #[argh(option, arg_name = "path")]
    pub(crate) journal: Option<String>,

    /// days that delivered rows stay in the journal, 1 to 3650 (default 7)
    #[argh(option, arg_name = "days")]
    pub(crate) keep: Option<String>,

    /// seconds until a row is synced to the disk, 1 to 3600: a power failure costs that much
    /// (default 10)
    #[argh(option, arg_name = "seconds")]
    pub(crate) sync: Option<String>,

    // rustdoc would take the brackets for links.
    #[argh(
        option,
        arg_name = "addr:port",
        description = "serve the page to browsers and metrics to Prometheus at this address of \
                       this machine, such as 127.0.0.1:9080; IPv6 in brackets, port 0 for a free \
                       port (default: no page)"
    )]
    pub(crate) http: Option<String>,

    /// name under which browsers may ask for the page, besides localhost and IP addresses; may be
    /// given several times
    #[argh(option, arg_name = "name")]
    pub(crate) http_host: Vec<String>,

    /// limit beyond which a battery's value is a problem, NAME=AMBER or NAME=AMBER,RED, each a
    /// number or off; may be given several times (the limits and their defaults are below)
    #[argh(option, arg_name = "name=value")]
    pub(crate) limit: Vec<String>,

    // rustdoc would take the brackets for links.
    #[argh(
        option,
        arg_name = "url",
        description = "publish the batteries by MQTT, and announce them to Home Assistant: \
                       mqtt://HOST[:PORT][/PREFIX], mqtts:// for an encrypted connection, USER@ in \
                       front of the host to log in (default: nothing is published; port 1883 or \
                       8883, prefix bluenova)"
    )]
    pub(crate) mqtt: Option<String>,

    /// file whose first line is the password at the MQTT broker (default
    /// $BLUENOVA_MQTT_PASSWORD, else none)
    #[argh(option, arg_name = "file")]
    pub(crate) mqtt_password_file: Option<String>,

    /// file of the certificates to trust at an mqtts:// broker, in PEM (default: those of the
    /// system)
    #[argh(option, arg_name = "file")]
    pub(crate) mqtt_ca: Option<String>,

    /// prefix under which Home Assistant looks for devices, or off to announce none and remove
    /// those that were (default homeassistant)
    #[argh(option, arg_name = "prefix|off")]
    pub(crate) mqtt_discovery: Option<String>,

    /// print the version (-V and the word version work too)
    #[argh(switch)]
    pub(crate) version: bool,

    #[argh(subcommand)]
    pub(crate) mode: Option<Mode>,
}

/// Subcommand, for something other than listening.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand)]
pub(crate) enum Mode {
    Check(Check),
    Demo(Demo),
    Export(Export),
    Gaps(Gaps),
    Generate(Generate),
    Import(Import),
    Report(Report),
    Resend(Resend),
    Schema(Schema),
    SetAside(SetAside),
}

/// Try everything once (clock, batteries, journal, database, log file, page, MQTT broker) and
/// report what is fine, and what to do about what is not. Takes the listener's options.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "check")]
pub(crate) struct Check {}

/// List the rows that PostgreSQL rejected because of their content, with its reasons. Takes the
/// listener's options.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "set-aside")]
pub(crate) struct SetAside {
    /// deliver them again, and take those off the list that PostgreSQL accepts now
    #[argh(switch)]
    pub(crate) retry: bool,
}

/// Deliver the rows of the journal to PostgreSQL once more, where it has lost some, and say how
/// many were missing. Works while a listener is running. Takes the listener's options.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "resend")]
pub(crate) struct Resend {
    /// only rows from that time on: UTC, as in 2026-11-22 or "2026-11-22 16:50:10"; or RFC 3339; or
    /// a span back from now, as in 7d or 12h (default: all)
    #[argh(option, arg_name = "time")]
    pub(crate) since: Option<String>,
}

/// Record two simulated batteries, without a battery or a server, and show them here and in a
/// browser at 127.0.0.1:9080, or at the address of --http.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "demo")]
pub(crate) struct Demo {
    /// number of seconds after which it ends (default: at Ctrl-C)
    #[argh(option, arg_name = "n")]
    pub(crate) seconds: Option<String>,
}

/// Write rows as CSV, in the order of time: from the journal, also while a listener is running, or
/// from PostgreSQL's table. Takes the listener's options.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "export")]
pub(crate) struct Export {
    /// earliest time: 2026-11-22 or "2026-11-22 16:50:10", both in UTC, 2026-11-22T16:50:10+01:00,
    /// or 7d, 12h, 30m back from now (default: no limit)
    #[argh(option, arg_name = "time")]
    pub(crate) from: Option<String>,

    /// time before which rows are exported (default: no limit)
    #[argh(option, arg_name = "time")]
    pub(crate) to: Option<String>,

    /// battery whose rows are exported: its MCU ID, or its name in -b; may be given several times
    /// (default: all). The listener's own --battery is -b here
    #[argh(option, arg_name = "name|id")]
    pub(crate) battery: Vec<String>,

    /// columns, with commas between them: insert_time_utc,mcu_id,v_pack (default: all)
    #[argh(option, arg_name = "names")]
    pub(crate) columns: Option<String>,

    /// export from the table in PostgreSQL rather than from the journal
    #[argh(switch)]
    pub(crate) from_database: bool,

    /// file to write, which appears when it is whole; - for standard output (default: -)
    #[argh(option, short = 'o', arg_name = "file")]
    pub(crate) output: Option<String>,
}

/// List the intervals without a row in the table, and why each has none: the listener didn't run,
/// no connection, rows that wait, … Takes the listener's options, and changes nothing.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "gaps")]
pub(crate) struct Gaps {
    /// earliest time: 2026-11-22 or "2026-11-22 16:50:10", both in UTC, 2026-11-22T16:50:10+01:00,
    /// or 7d, 12h, 30m back from now (default: as far back as the journal keeps delivered rows)
    #[argh(option, arg_name = "time")]
    pub(crate) from: Option<String>,

    /// latest time (default: now)
    #[argh(option, arg_name = "time")]
    pub(crate) to: Option<String>,

    /// print one JSON object for programs
    #[argh(switch)]
    pub(crate) json: bool,
}

/// Print what packages have beside the program: the manual page, completions for shells, or the
/// file of the service's options.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "generate")]
pub(crate) struct Generate {
    /// what to print
    #[argh(positional, arg_name = "man|bash|zsh|fish|defaults")]
    pub(crate) what: String,
}

/// Fill holes in the table, or in the file of -d sqlite:PATH, from logs: those of the first
/// listener (a C program), and console lines that either listener logged with -r. Takes the
/// listener's options; -i is the interval of the logs.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "import")]
pub(crate) struct Import {
    /// log files, rotated ones too, in any order, gzipped or not
    #[argh(positional, arg_name = "file")]
    pub(crate) files: Vec<String>,

    /// show what would be added, per day and battery, and add nothing
    #[argh(switch)]
    pub(crate) dry_run: bool,

    /// zone of the local times in logs that don't show it: Europe/Berlin, +02:00 (default: the
    /// system's)
    #[argh(option, arg_name = "zone")]
    pub(crate) timezone: Option<String>,
}

/// Write the passport of each battery, for its owner or a buyer: capacity, resistance and imbalance
/// of the cells, weak ones, energy, cycles, events, and how each figure was got. From the journal,
/// also while a listener is running. Takes the listener's options.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "report")]
pub(crate) struct Report {
    /// log files, with --from-log
    #[argh(positional, arg_name = "file")]
    pub(crate) files: Vec<String>,

    /// battery to write the passport of: its MCU ID, or its name in -b; may be given several times
    /// (default: all). The listener's own --battery is -b here
    #[argh(option, arg_name = "name|id")]
    pub(crate) battery: Vec<String>,

    /// first day, as your clock has it: 2026-11-22, or the day that a time or a span back from now
    /// is in, as in 365d (default: the first one that is known)
    #[argh(option, arg_name = "day")]
    pub(crate) from: Option<String>,

    /// last day (default: today)
    #[argh(option, arg_name = "day")]
    pub(crate) to: Option<String>,

    /// write a page that prints well to this file, in the place of one that is there; - for
    /// standard output. For several batteries a directory, with a file for each
    #[argh(option, short = 'o', arg_name = "file.html")]
    pub(crate) output: Option<String>,

    /// write one JSON object for programs
    #[argh(switch)]
    pub(crate) json: bool,

    /// make it from the log files that are given: the first listener's, and console lines that
    /// either listener logged with -r; gzipped or not, rotated ones too. -i is the interval of the
    /// logs
    #[argh(switch)]
    pub(crate) from_log: bool,

    /// with --from-log, zone of the days, and of local times in logs that don't show it:
    /// Europe/Berlin, +02:00 (default: the system's)
    #[argh(option, arg_name = "zone")]
    pub(crate) timezone: Option<String>,
}

/// Print the SQL that creates the table and its index.
#[derive(ArgsInfo, FromArgs, Debug, Clone)]
#[argh(subcommand, name = "schema")]
pub(crate) struct Schema {}

impl Args {
    /// Reads `arguments`, the program's name not among them.
    ///
    /// # Errors
    /// Help was asked for (with its text), or an argument isn't known.
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, EarlyExit> {
        let arguments = arguments
            .map(|argument| argument.into_string().map_err(not_utf8))
            .collect::<Result<Vec<_>, _>>()?;
        let arguments = arguments.into_iter().flat_map(as_argh_has_it);
        let (options, subcommand) = options_first(arguments).map_err(wrong)?;
        let arguments: Vec<&str> = options.iter().chain(&subcommand).map(String::as_str).collect();
        Self::from_args(&[env!("CARGO_BIN_NAME")], &arguments).map_err(|exit| {
            let word = subcommand.first().map(String::as_str).unwrap_or_default();
            if let Some(better) = in_our_words(word, exit.output.trim_end()) {
                return wrong(better);
            }
            let mut output = without_passwords(&exit.output);
            // Only the help of the listener itself has the option, not that of a subcommand.
            if exit.status.is_ok() && output.contains("--limit ") {
                output += &limits_table();
            }
            EarlyExit { output, ..exit }
        })
    }
}

/// What is wrong with the arguments of the subcommand `word`, where argh has said so.
fn in_our_words(word: &str, error: &str) -> Option<String> {
    if let Some(argument) = error.strip_prefix("Unrecognized argument: ") {
        return Some(not_taken(word, argument));
    }
    if let Some(option) = error.strip_prefix("No value provided for option '") {
        return Some(format!("{}: its value is missing behind it", option.trim_end_matches("'.")));
    }
    let missing = error.strip_prefix("Required positional arguments not provided:")?;
    Some(format!("{word}: something is missing behind it: {}", missing.trim()))
}

/// The limits for `--help`, out of the one table of them.
fn limits_table() -> String {
    let mut table = "\nLimits, with amber and red as they are by default:\n".to_owned();
    for limit in &LIMITS {
        let values = limit.default_values();
        let Limit { name, unit, meaning, .. } = limit;
        table += &format!("  {name}={values} {unit}\n{:20}{meaning}\n", "");
    }
    table
}

fn not_utf8(argument: OsString) -> EarlyExit {
    let argument = without_passwords(&argument.to_string_lossy());
    wrong(format!("argument {argument:?} is not UTF-8"))
}

fn wrong(output: String) -> EarlyExit {
    EarlyExit { output, status: Err(()) }
}

/// The text with `…` for each word in it that may hold a password: a URL with a user, or a
/// conninfo.
fn without_passwords(text: &str) -> String {
    let may_hold = |part: &str| {
        let part = part.to_ascii_lowercase();
        part.contains("password") && part.contains('=') || part.contains('@') && part.contains(':')
    };
    let hide = |part: &str| {
        if !may_hold(part) {
            return part.to_owned();
        }
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphabetic() || c == '-');
        let option = part.split_once('=').map(|(name, _)| name).filter(|name| is_name(name));
        let option = option.map(|name| format!("{name}=")).unwrap_or_default();
        format!("{option}…{}", &part[part.trim_end().len()..])
    };
    text.split_inclusive(char::is_whitespace).map(hide).collect()
}

#[cfg(test)]
mod tests;
