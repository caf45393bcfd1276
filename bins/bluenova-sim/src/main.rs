//! A simulated BlueNova battery to run, test and demonstrate listeners with.

mod args;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use bluenova_record::ErrorChain;
use bluenova_simulator::{Battery, Control, Event, Pace, Profile, Server};
use time::UtcDateTime;

use crate::args::{Args, ScheduledFault, Task};

fn main() -> ExitCode {
    let result = match Args::from_command_line() {
        Ok(Task::Run(args)) => run(args).map_err(|error| ErrorChain(&*error).to_string()),
        Ok(Task::Print(text)) => print(&text).map_err(|error| error.to_string()),
        Err(message) => Err(message),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // There is no other place to report that this failed.
            _ = writeln!(io::stderr(), "bluenova-sim: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let battery = Battery::new(Profile::new(args.seed, UtcDateTime::now()));
    let mcu_id = battery.profile().mcu_id;
    let server = Server::bind(args.listen, battery, Pace::Free { speed: args.speed })?;
    let control = server.control();
    print(&format!("serving battery {mcu_id:08X} at {}", control.url()))?;
    watch(&control, start, args)?;
    server.stop();
    Ok(())
}

/// Prints which clients come and go, and makes the faults happen, until the time is over.
fn watch(control: &Control, start: Instant, args: Args) -> Result<(), Box<dyn Error>> {
    let events = control.events()?;
    let mut faults = args.fault;
    faults.sort_by_key(|fault| fault.after);
    let mut faults = faults.into_iter().peekable();
    loop {
        let elapsed = start.elapsed();
        while let Some(ScheduledFault { fault, .. }) = faults.next_if(|f| f.after <= elapsed) {
            control.fault(fault)?;
            print(&format!("fault: {fault}"))?;
        }
        let end = args.seconds.map(Duration::from_secs);
        if end.is_some_and(|end| end <= elapsed) {
            return Ok(());
        }
        let next = faults.peek().map(|fault| fault.after).into_iter().chain(end).min();
        let wait = next.map_or(Duration::MAX, |next| next - elapsed);
        match events.recv_timeout(wait) {
            Ok(Event::Connected { peer }) => print(&format!("client {peer} connected"))?,
            Ok(Event::Disconnected { peer, lines }) => {
                print(&format!("client {peer} disconnected after {lines} lines"))?;
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Prints a line at once, also into a pipe.
fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
