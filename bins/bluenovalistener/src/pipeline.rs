//! The threads, from the batteries to PostgreSQL: how they hang together, start and end.

use std::{
    io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bluenova_http::Server;
use bluenova_journal::Retention;
use log::{error, warn};

use crate::{
    battery::{Assembled, BatteryThread},
    forwarder::Forwarder,
    page,
    recorder::Recorder,
    settings::{Settings, Store},
    status::{Board, DeliveryNotes},
    storage::{Downstream, Storage},
    text,
};

/// How long all threads together may take for their last work when the program ends; most of it is
/// PostgreSQL's.
const LAST_WORK: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Journal(#[from] bluenova_journal::Error),
    #[error("the page can't be started")]
    Page(#[source] io::Error),
    #[error("thread {name:?} can't be started")]
    Thread { name: String, source: io::Error },
}

/// All threads of a listening program.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    batteries: Vec<JoinHandle<bool>>,
    recorder: JoinHandle<bool>,
    forwarder: Option<JoinHandle<bool>>,
    page: Option<Server>,
}

/// Starts listening, and shows it to those who connect to `page`.
///
/// # Errors
/// Another process has the journal, or a thread can't be started.
pub(crate) fn start(
    settings: &Settings,
    page: Option<TcpListener>,
    observer: Option<Sender<Assembled>>,
) -> Result<Running, StartError> {
    let (storage, forwarder) = open(&settings.store)?;
    let delivery = forwarder.as_ref().map(Forwarder::notes);
    let board = Board::new(settings, storage.notes(), delivery);
    let notes = board.batteries.clone();
    let page = page.map(|listener| page::start(listener, board)).transpose();
    let page = page.map_err(StartError::Page)?;
    let forwarder = forwarder
        .map(|forwarder| {
            spawn("forwarder", move || {
                forwarder.run();
                true
            })
        })
        .transpose()?;

    let (to_recorder, records) = mpsc::channel();
    let recorder = Recorder::new(records, notes.clone(), storage, observer);
    let recorder = spawn("recorder", move || report(recorder.run()))?;

    let stop = Arc::new(AtomicBool::new(false));
    let mut batteries = Vec::with_capacity(settings.batteries.len());
    for (index, (battery, notes)) in settings.batteries.iter().zip(&notes).enumerate() {
        let listener = BatteryThread::new(
            index,
            battery,
            settings.interval,
            settings.raw,
            to_recorder.clone(),
            Arc::clone(&stop),
            Arc::clone(notes),
        );
        batteries.push(spawn(&battery.name, move || report(listener.run()))?);
    }
    Ok(Running { stop, batteries, recorder, forwarder, page })
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
            let (sources, new_sources) = mpsc::channel();
            let retention = Retention { keep: Some(*keep), ..Retention::default() };
            let notes = Arc::new(DeliveryNotes::new(server.to_string()));
            let downstream = Downstream { wake, sources, notes: Arc::clone(&notes) };
            let storage = Storage::open(journal.clone(), retention, Some(downstream))?;
            let forwarder = Forwarder::new(server.as_ref().clone(), woken, new_sources, notes);
            Ok((storage, Some(forwarder)))
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

    /// Where the page is, if there is one.
    pub(crate) fn page(&self) -> Option<String> {
        self.page.as_ref().map(page::url)
    }

    /// Ends in the order of the way of a reading, so that each thread gets what the one before it
    /// still had. Tells whether all threads ended well.
    pub(crate) fn stop(self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + LAST_WORK;
        let mut well = true;
        for thread in self.batteries.into_iter().chain([self.recorder]) {
            well &= ended_well(thread, deadline).unwrap_or_else(|| {
                error!("a thread doesn't end; its last row may be lost");
                false
            });
        }
        if let Some(forwarder) = self.forwarder {
            well &= ended_well(forwarder, deadline).unwrap_or_else(|| {
                warn!(
                    "PostgreSQL doesn't answer; the rows it has not acknowledged wait in the journal"
                );
                true
            });
        }
        // Whoever is connected can see the rest until here, and has nobody wait for it.
        if let Some(page) = self.page {
            page.stop();
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

/// `None`: it has not ended by then.
fn ended_well(thread: JoinHandle<bool>, deadline: Instant) -> Option<bool> {
    while !thread.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    // A panic has told about itself in the log.
    thread.is_finished().then(|| thread.join().unwrap_or(false))
}

/// Logs what a thread ended with; tells whether it ended well.
fn report<E: std::error::Error>(result: Result<(), E>) -> bool {
    result.inspect_err(|error| error!("{}", text::chain(error))).is_ok()
}
