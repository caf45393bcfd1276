//! The command line as it was typed. [`crate::settings`] resolves what it means.

use std::ffi::OsString;

use argh::{EarlyExit, FromArgs};

/// Listen to BlueNova batteries and record them, one row per interval, into PostgreSQL.
#[derive(FromArgs, Debug)]
pub(crate) struct Args {
    /// run in the background as a daemon (-daemon works too)
    #[argh(switch)]
    pub(crate) daemon: bool,

    // rustdoc would take the brackets for links.
    #[argh(
        option,
        short = 'b',
        arg_name = "battery",
        description = "battery to listen to: [NAME=]HOST[:PORT][/PATH], IPv6 in brackets; give it \
                       several times for several batteries (default 10.0.0.2, port 9000, path /ws/)"
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

    /// file to log to (default: the console)
    #[argh(option, short = 'l', arg_name = "file")]
    pub(crate) log_file: Option<String>,

    /// old log files to keep, 0 to 1000 (default 5)
    #[argh(option, short = 'n', arg_name = "files")]
    pub(crate) log_keep: Option<String>,

    /// size at which the log file is rotated, in bytes or with suffix K, M or G; 0 for never
    /// (default 50M)
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

    /// print the version
    #[argh(switch)]
    pub(crate) version: bool,

    #[argh(subcommand)]
    pub(crate) mode: Option<Mode>,
}

/// Subcommand, for something other than listening.
#[derive(FromArgs, Debug, Clone)]
#[argh(subcommand)]
pub(crate) enum Mode {
    Check(Check),
    Demo(Demo),
    Schema(Schema),
    SetAside(SetAside),
}

/// Try everything once (batteries, journal, database, clock) and report what is fine, and what to
/// do about what is not. The listener's options go before this word.
#[derive(FromArgs, Debug, Clone)]
#[argh(subcommand, name = "check")]
pub(crate) struct Check {}

/// List the rows that PostgreSQL rejected because of their content, with its reasons. The
/// listener's options go before this word.
#[derive(FromArgs, Debug, Clone)]
#[argh(subcommand, name = "set-aside")]
pub(crate) struct SetAside {
    /// deliver them again, and take those off the list that PostgreSQL accepts now
    #[argh(switch)]
    pub(crate) retry: bool,
}

/// Record two simulated batteries, without a battery or a server, and show them here and in a
/// browser at 127.0.0.1:9080, or at the address of --http, which goes before this word.
#[derive(FromArgs, Debug, Clone)]
#[argh(subcommand, name = "demo")]
pub(crate) struct Demo {
    /// number of seconds after which it ends (default: at Ctrl-C)
    #[argh(option, arg_name = "n")]
    pub(crate) seconds: Option<String>,
}

/// Print the SQL that creates the table and its index.
#[derive(FromArgs, Debug, Clone)]
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
        let arguments: Vec<String> = arguments.into_iter().flat_map(as_argh_has_it).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::from_args(&[env!("CARGO_BIN_NAME")], &arguments)
    }
}

fn not_utf8(argument: OsString) -> EarlyExit {
    let output = format!("argument {:?} is not UTF-8", argument.display());
    EarlyExit { output, status: Err(()) }
}

/// The first listener has `-daemon` with a single dash; argh has neither that nor `--name=value`.
fn as_argh_has_it(argument: String) -> Vec<String> {
    if argument == "-daemon" {
        return vec!["--daemon".to_owned()];
    }
    if argument == "-h" {
        return vec!["--help".to_owned()];
    }
    match argument.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
        _ => vec![argument],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(line: &str) -> Args {
        Args::read(line.split_whitespace().map(OsString::from)).expect(line)
    }

    #[test]
    fn the_first_listeners_command_line() {
        let args =
            read("-daemon -b 10.0.0.2 -d homeauto -u me -i 10 -l x.log -n 5 -m 1000000 -f 1 -r");
        assert!(args.daemon && args.raw);
        assert_eq!(args.battery, ["10.0.0.2"]);
        assert_eq!(args.database.as_deref(), Some("homeauto"));
        assert_eq!(args.user.as_deref(), Some("me"));
        assert_eq!(args.interval.as_deref(), Some("10"));
        assert_eq!(args.log_file.as_deref(), Some("x.log"));
        assert_eq!(args.log_keep.as_deref(), Some("5"));
        assert_eq!(args.log_size.as_deref(), Some("1000000"));
        assert_eq!(args.log_flush.as_deref(), Some("1"));
        assert!(args.mode.is_none());
    }

    #[test]
    fn long_names_with_and_without_equals_sign() {
        let args = read(
            "--daemon --battery=attic=10.0.0.2 --battery 10.0.0.3 --database=dbname=x --user u \
             --interval=60 --log-file l --log-keep=1 --log-size 1M --log-flush=0 --raw \
             --journal=j --keep 3 --http=[::1]:9080",
        );
        assert_eq!(args.battery, ["attic=10.0.0.2", "10.0.0.3"]);
        assert_eq!(args.database.as_deref(), Some("dbname=x"));
        assert_eq!(args.interval.as_deref(), Some("60"));
        assert_eq!(args.journal.as_deref(), Some("j"));
        assert_eq!(args.keep.as_deref(), Some("3"));
        assert_eq!(args.http.as_deref(), Some("[::1]:9080"));
    }

    #[test]
    fn a_value_after_a_short_name_stays_whole() {
        assert_eq!(read("-b attic=10.0.0.2").battery, ["attic=10.0.0.2"]);
    }
}
