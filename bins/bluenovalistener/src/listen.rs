//! The threads, from the batteries to PostgreSQL: how they hang together, start and end.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_journal::Retention;
use log::{error, warn};

use crate::{
    battery::{Assembled, Listener},
    forwarder::Forwarder,
    recorder::{Downstream, Recorder, Storage},
    settings::{Settings, Store},
    text,
};

/// How long PostgreSQL may take for the last rows when the program ends.
const LAST_DELIVERY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Journal(#[from] bluenova_journal::Error),
    #[error("thread {name:?} can't be started")]
    Thread { name: String, source: io::Error },
}

/// All threads of a listening program.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    batteries: Vec<JoinHandle<bool>>,
    recorder: JoinHandle<bool>,
    forwarder: Option<JoinHandle<bool>>,
}

/// Starts listening.
///
/// # Errors
/// Another process has the journal, or a thread can't be started.
pub(crate) fn start(
    settings: &Settings,
    observer: Option<Sender<Assembled>>,
) -> Result<Running, StartError> {
    let (storage, forwarder) = open(&settings.store)?;
    let forwarder = forwarder
        .map(|forwarder| {
            spawn("forwarder", move || {
                forwarder.run();
                true
            })
        })
        .transpose()?;

    let (to_recorder, records) = mpsc::channel();
    let names = settings.batteries.iter().map(|battery| battery.name.clone()).collect();
    let recorder = Recorder { records, names, storage, observer };
    let recorder = spawn("recorder", move || report(recorder.run()))?;

    let stop = Arc::new(AtomicBool::new(false));
    let mut batteries = Vec::with_capacity(settings.batteries.len());
    for (index, battery) in settings.batteries.iter().enumerate() {
        let listener = Listener::new(
            index,
            battery,
            settings.interval,
            settings.raw,
            to_recorder.clone(),
            Arc::clone(&stop),
        );
        batteries.push(spawn(&battery.name, move || report(listener.run()))?);
    }
    Ok(Running { stop, batteries, recorder, forwarder })
}

fn open(store: &Store) -> Result<(Storage, Option<Forwarder>), bluenova_journal::Error> {
    match store {
        Store::Sqlite { path } => {
            let storage = Storage::open(path.clone(), Retention::FOREVER, None)?;
            Ok((storage, None))
        }
        Store::Postgres { server, journal, keep } => {
            // One wake-up is as good as many.
            let (wake, woken) = mpsc::sync_channel(1);
            let (outboxes, new_outboxes) = mpsc::channel();
            let retention = Retention { keep: Some(*keep), ..Retention::default() };
            let downstream = Downstream { wake, outboxes };
            let storage = Storage::open(journal.clone(), retention, Some(downstream))?;
            Ok((storage, Some(Forwarder::new(server.as_ref().clone(), woken, new_outboxes))))
        }
    }
}

impl Running {
    /// Whether a thread has ended that should go on.
    pub(crate) fn is_broken(&self) -> bool {
        self.recorder.is_finished()
            || self.batteries.iter().any(JoinHandle::is_finished)
            || self.forwarder.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Ends in the order of the way of a reading, so that each thread gets what the one before it
    /// still had. Tells whether all threads ended well.
    pub(crate) fn stop(self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        let mut well = true;
        for battery in self.batteries {
            well &= ended_well(battery);
        }
        well &= ended_well(self.recorder);
        if let Some(forwarder) = self.forwarder {
            let deadline = Instant::now() + LAST_DELIVERY;
            while !forwarder.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
            if forwarder.is_finished() {
                well &= ended_well(forwarder);
            } else {
                warn!("PostgreSQL doesn't answer; the last rows wait in the journal");
            }
        }
        well
    }
}

fn spawn(
    name: &str,
    run: impl FnOnce() -> bool + Send + 'static,
) -> Result<JoinHandle<bool>, StartError> {
    thread::Builder::new()
        // A name with a NUL byte would panic.
        .name(name.replace('\0', ""))
        .spawn(run)
        .map_err(|source| StartError::Thread { name: name.to_owned(), source })
}

fn ended_well(thread: JoinHandle<bool>) -> bool {
    // A panic has told about itself on the standard error.
    thread.join().unwrap_or(false)
}

/// Logs what a thread ended with; tells whether it ended well.
fn report<E: std::error::Error>(result: Result<(), E>) -> bool {
    result.inspect_err(|error| error!("{}", text::chain(error))).is_ok()
}
