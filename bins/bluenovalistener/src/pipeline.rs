//! The threads from the batteries to PostgreSQL: how they are wired, start and end.

use std::{
    error::Error,
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

use bluenova_journal::{OutboxWaker, Retention, Spool};
use bluenova_record::ErrorChain;
use bluenova_status::{DeliveryStatus, LiveStatus, Shared, StorageStatus};
use log::{error, warn};
use time::UtcDateTime;

use crate::{
    console::rows,
    page::Page,
    service_manager::{ServiceManager, Watchdog},
    settings::{Battery, Settings, Store},
    threads::{
        Assembled, CatchUp, Forwarder, InsightSource, Insights, MqttThread, NewEvent, Recorder,
        RecorderInput, RecorderInputs, RecorderProgress,
    },
};
use batteries::{BatteryThreads, not_dialled_yet};
use watches::{count_set_aside, watch_disk};

mod batteries;
mod watches;

/// Deadline for the last work of all threads together when the program ends. PostgreSQL takes most
/// of it.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Deadline of that for the farewell to the MQTT broker.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Journal(bluenova_journal::Error),
    #[error(
        "{0}. Two listeners can't share it: end that process, or give {OTHER_FILE} to this one"
    )]
    InUse(bluenova_journal::Error),
    #[error("the page can't be started")]
    Page(#[source] io::Error),
    #[error("thread {name:?} can't be started")]
    Thread { name: String, source: io::Error },
}

const OTHER_FILE: &str = "another file (--journal PATH, or -d sqlite:PATH)";

impl From<bluenova_journal::Error> for StartError {
    fn from(error: bluenova_journal::Error) -> Self {
        match error {
            bluenova_journal::Error::InUse { .. } => Self::InUse(error),
            error => Self::Journal(error),
        }
    }
}

/// A thread has ended with an error, which is in the log, or not in time.
#[derive(Debug, thiserror::Error)]
#[error("a thread failed; see the log")]
pub(crate) struct ThreadFailed;

type Thread = JoinHandle<Result<(), ThreadFailed>>;

/// All threads of a listening program.
pub(crate) struct Pipeline {
    stop: Arc<AtomicBool>,
    batteries: BatteryThreads,
    recorder: Thread,
    progress: Shared<RecorderProgress>,
    /// It ends after the batteries.
    catch_up: Thread,
    forwarder: Option<Thread>,
    table_check: Option<TableCheck>,
    page: Option<Page>,
    mqtt: Option<Thread>,
}

/// How to have the forwarder check whether the table still has its rows.
struct TableCheck {
    requested: Arc<AtomicBool>,
    waker: OutboxWaker,
}

/// Starts to listen and record, and serves the status to those who connect to `page`, else at the
/// address of the settings. `observer` sees every record that was stored, and the watchdog of
/// `manager` whether records can be stored.
///
/// # Errors
/// The journal is in use by another process, or a thread can't be started.
pub(crate) fn start(
    settings: &Settings,
    manager: ServiceManager,
    page: Option<TcpListener>,
    observer: Option<Sender<Assembled>>,
) -> Result<Pipeline, StartError> {
    let (to_events, server_events) = mpsc::channel();
    let Opened { spool, status, forwarder, table_check } = open(settings, to_events)?;
    let (to_recorder, messages) = mpsc::channel();
    let progress = Shared::default();
    let to_recorder = RecorderInput::new(to_recorder, progress.clone());
    // Before the others, so that status and log have what happened to the spool from the start.
    let insights = Insights::new(status.interval);
    let watchdog = Watchdog::new(manager.clone(), Instant::now());
    let inputs =
        RecorderInputs { messages, server_events, observer, insights: insights.clone(), watchdog };
    let recorder = Recorder::new(inputs, spool, settings.sync, progress.clone(), status.clone())?;
    let (names, batteries) = (&settings.http_hosts, status.batteries.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let (catch_up, insights) = catch_up(&status, insights, &stop)?;
    watch_disk(progress.clone(), manager, &status, &stop);
    if page.is_some() || settings.http.is_some() {
        count_set_aside(&status, &stop);
    }
    let mqtt = settings.mqtt.clone().map(|mqtt| {
        let (status, stop) = (status.clone(), Arc::clone(&stop));
        spawn("MQTT", move || {
            MqttThread::new(mqtt, status, stop).run();
            Ok(())
        })
    });
    let mqtt = mqtt.transpose()?;
    let page = match page {
        Some(listener) => Some(Page::on(listener, names, status).map_err(StartError::Page)?),
        None => settings.http.map(|address| Page::open(address, names, status)),
    };
    let forwarder = forwarder.map(|forwarder| {
        spawn("forwarder", move || {
            forwarder.run();
            Ok(())
        })
    });
    let forwarder = forwarder.transpose()?;
    let recorder = spawn("recorder", move || Ok(recorder.run()?))?;

    let batteries = BatteryThreads::start(settings, to_recorder, insights, batteries)?;
    Ok(Pipeline {
        stop,
        batteries,
        recorder,
        progress,
        catch_up,
        forwarder,
        table_check,
        page,
        mqtt,
    })
}

/// The spool, and the forwarder and the status that go with it.
struct Opened {
    spool: Spool,
    status: LiveStatus,
    forwarder: Option<Forwarder>,
    table_check: Option<TableCheck>,
}

fn open(settings: &Settings, events: Sender<NewEvent>) -> Result<Opened, bluenova_journal::Error> {
    let now = UtcDateTime::now();
    match &settings.store {
        Store::Sqlite { path } => {
            let spool = Spool::open_database(path, now)?;
            let status = status(settings, None);
            Ok(Opened { spool, status, forwarder: None, table_check: None })
        }
        Store::Postgres { server, journal, keep } => {
            let retention = Retention { keep: Some(*keep), ..Retention::default() };
            let (spool, outbox) = Spool::open_for(journal, retention, &server.to_string(), now)?;
            let delivery = Shared::new(DeliveryStatus::new(server.to_string()));
            let status = status(settings, Some(delivery.clone()));
            let server = server.as_ref().clone();
            let requested = Arc::new(AtomicBool::new(false));
            let check_requested = Arc::clone(&requested);
            let forwarder =
                Forwarder::new(server, journal.clone(), outbox, delivery, events, check_requested);
            let table_check = spool.outbox_waker().map(|waker| TableCheck { requested, waker });
            Ok(Opened { spool, status, forwarder: Some(forwarder), table_check })
        }
    }
}

/// Starts the thread that loads what is known of batteries from the journal.
fn catch_up(
    status: &LiveStatus,
    insights: Insights,
    stop: &Arc<AtomicBool>,
) -> Result<(Thread, InsightSource), StartError> {
    let (to_catch_up, wanted) = mpsc::channel();
    let source = insights.source(to_catch_up);
    let journal = status.storage.get().journal;
    let catch_up = CatchUp::new(&journal, insights, wanted, Arc::clone(stop));
    let thread = spawn("statistics", move || {
        catch_up.run();
        Ok(())
    })?;
    Ok((thread, source))
}

/// The status at the start.
fn status(settings: &Settings, delivery: Option<Shared<DeliveryStatus>>) -> LiveStatus {
    let (Store::Postgres { journal, .. } | Store::Sqlite { path: journal }) = &settings.store;
    let Settings { batteries, limits, interval, .. } = settings;
    LiveStatus {
        started: Instant::now(),
        interval: interval.duration(),
        batteries: Shared::new(
            batteries.iter().map(|it| not_dialled_yet(it, limits, *interval)).collect(),
        ),
        storage: Shared::new(StorageStatus {
            journal: journal.clone(),
            only_in_memory: 0,
            trouble: None,
        }),
        delivery,
    }
}

impl Pipeline {
    /// Whether a thread has ended that should go on.
    pub(crate) fn is_broken(&self) -> bool {
        self.recorder.is_finished()
            || self.batteries.are_broken()
            || self.forwarder.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Listens to these batteries from now on. Those that are listened to already aren't touched.
    pub(crate) fn change_batteries(&mut self, batteries: Vec<Battery>) {
        self.batteries.change_to(batteries);
    }

    /// Checks whether the table of PostgreSQL still has the rows that it has acknowledged.
    pub(crate) fn check_table(&self) {
        if let Some(TableCheck { requested, waker }) = &self.table_check {
            requested.store(true, Ordering::Relaxed);
            waker.wake();
        }
    }

    /// URL of the page, if there is one.
    pub(crate) fn page(&self) -> Option<String> {
        self.page.as_ref().and_then(Page::url)
    }

    /// Tries the address of the page again, if it couldn't be listened on and a try is due.
    pub(crate) fn retry_page(&mut self) {
        if let Some(page) = &mut self.page {
            page.retry();
        }
    }

    /// Ends the threads in the order in which they handle a record, so that each receives the last
    /// records of the one before it.
    ///
    /// # Errors
    /// A thread has failed, or takes too long to end.
    pub(crate) fn stop(self) -> Result<(), ThreadFailed> {
        self.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + LAST_WORK;
        let mut result = Ok(());
        for thread in self.batteries.stop().into_iter().chain([self.recorder]) {
            let ended = join(thread, deadline).unwrap_or_else(|| {
                error!(
                    "a thread doesn't end in time; {} not stored yet, and lost with the program",
                    rows(self.progress.get().unstored)
                );
                Err(ThreadFailed)
            });
            result = result.and(ended);
        }
        // It may read many rows, which do no harm if it doesn't end.
        join(self.catch_up, deadline);
        if let Some(forwarder) = self.forwarder {
            let ended = join(forwarder, deadline).unwrap_or_else(|| {
                // Otherwise rows that were in memory only are lost, and logged.
                let where_they_are = match result {
                    Ok(()) => "The rows that it has not acknowledged wait in the journal, and",
                    Err(_) => "Rows in the journal that it has not acknowledged",
                };
                warn!(
                    "PostgreSQL doesn't answer. {where_they_are} are delivered at the next start"
                );
                Ok(())
            });
            result = result.and(ended);
        }
        // If the broker doesn't answer, it publishes the last will when the program has ended.
        if let Some(mqtt) = self.mqtt {
            join(mqtt, deadline.min(Instant::now() + FAREWELL));
        }
        // Last, so that a browser sees the status until here. The stop doesn't wait for browsers.
        if let Some(page) = self.page {
            page.stop();
        }
        result
    }
}

/// Starts a thread, which logs its error at once.
fn spawn(
    name: &str,
    run: impl FnOnce() -> Result<(), Box<dyn Error>> + Send + 'static,
) -> Result<Thread, StartError> {
    let run = move || {
        run().map_err(|error| {
            error!("{}", ErrorChain(error.as_ref()));
            ThreadFailed
        })
    };
    thread::Builder::new()
        // A name with a NUL byte would panic.
        .name(name.replace('\0', ""))
        .spawn(run)
        .map_err(|source| StartError::Thread { name: name.to_owned(), source })
}

/// Waits for a thread; `None` if it has not ended by the deadline.
fn join(thread: Thread, deadline: Instant) -> Option<Result<(), ThreadFailed>> {
    // A panic is in the log already.
    ends_by(&thread, deadline).then(|| thread.join().unwrap_or(Err(ThreadFailed)))
}

/// Waits until a thread has ended; returns whether it has by the deadline.
fn ends_by(thread: &Thread, deadline: Instant) -> bool {
    while !thread.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    thread.is_finished()
}
