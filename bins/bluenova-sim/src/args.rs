use std::{net::SocketAddr, str::FromStr, time::Duration};

use argh::{EarlyExit, FromArgs};
use bluenova_simulator::{Fault, Pace};

/// A simulated BlueNova battery: it serves its console on a WebSocket, to run, test and demonstrate
/// listeners with.
#[derive(Debug, FromArgs)]
pub(crate) struct Args {
    /// address and port to serve on; port 0 is any free one (127.0.0.1:9000)
    #[argh(option, arg_name = "addr", default = "SocketAddr::from(([127, 0, 0, 1], 9000))")]
    pub(crate) listen: SocketAddr,
    /// seed of battery, weather and household: the same seed gives the same lines (1)
    #[argh(option, arg_name = "n", default = "1")]
    pub(crate) seed: u64,
    /// how many times faster than a real battery, 0.01 to 10000 (1)
    #[argh(option, arg_name = "x", default = "1.0", from_str_fn(speed))]
    pub(crate) speed: f64,
    /// fault to make at that second (0); can be repeated. Of the link: silence, half-open,
    /// malformed, malformed:SHARE, drop, giant; of the battery, to try alerts with: errors,
    /// breaker, low-charge, frost, cell-spread, which raises none while the battery is nearly full
    /// or empty; healthy ends all
    #[argh(option, arg_name = "kind[@seconds]")]
    pub(crate) fault: Vec<ScheduledFault>,
    /// end after this many seconds (never)
    #[argh(option, arg_name = "n")]
    pub(crate) seconds: Option<u64>,
    /// print the version
    #[argh(switch)]
    version: bool,
}

/// Task of one run.
#[derive(Debug)]
pub(crate) enum Task {
    Run(Args),
    Print(String),
}

/// A fault, and when it happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScheduledFault {
    pub(crate) fault: Fault,
    /// Since the start.
    pub(crate) after: Duration,
}

impl Args {
    /// Reads the arguments of this process; the error is a message to the user.
    pub(crate) fn from_command_line() -> Result<Task, String> {
        let args = std::env::args_os()
            .skip(1)
            .map(|arg| arg.into_string().map_err(|arg| format!("not UTF-8: {}", arg.display())))
            .collect::<Result<Vec<_>, _>>()?;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match Self::from_args(&["bluenova-sim"], &args) {
            Ok(Self { version: true, .. }) => {
                Ok(Task::Print(concat!("bluenova-sim ", env!("CARGO_PKG_VERSION")).to_owned()))
            }
            Ok(args) => Ok(Task::Run(args)),
            Err(EarlyExit { output, status: Ok(()) }) => {
                Ok(Task::Print(output.trim_end().to_owned()))
            }
            Err(EarlyExit { output, status: Err(()) }) => {
                Err(format!("{}\nRun bluenova-sim --help for more.", output.trim_end()))
            }
        }
    }
}

fn speed(given: &str) -> Result<f64, String> {
    let (least, most) = (Pace::SPEEDS.start(), Pace::SPEEDS.end());
    match given.parse() {
        Ok(speed) if Pace::SPEEDS.contains(&speed) => Ok(speed),
        _ => Err(format!("'{given}' is not a number from {least} to {most}")),
    }
}

impl FromStr for ScheduledFault {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let (kind, seconds) = given.split_once('@').unwrap_or((given, "0"));
        let fault = kind.parse::<Fault>().map_err(|e| e.to_string())?;
        let after = seconds
            .parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| format!("'{seconds}' is not a number of seconds"))?;
        Ok(Self { fault, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_a_time() {
        for (given, fault, millis) in [
            ("silence", Fault::Silence, 0),
            ("half-open@10", Fault::HalfOpen, 10_000),
            ("malformed:0.5@1.5", Fault::Malformed { share: 0.5 }, 1500),
        ] {
            let after = Duration::from_millis(millis);
            assert_eq!(given.parse(), Ok(ScheduledFault { fault, after }));
        }
        for wrong in ["", "@1", "noise@1", "drop@", "drop@-1", "drop@x", "drop@inf", "drop@1@2"] {
            assert!(wrong.parse::<ScheduledFault>().is_err(), "{wrong}");
        }
    }
}
