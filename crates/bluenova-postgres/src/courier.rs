//! The sink on a thread of its own, so that a server that doesn't answer holds nobody up.
//!
//! The `postgres` crate knows no deadline for a statement, and neither TCP's keepalives nor its
//! time-outs end one whose server, or proxy, is frozen: the system there acknowledges every byte.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bluenova_record::PackRecord;

use crate::{
    Delivered, Error, Retry, Settings, Sink,
    error::{CONNECTING, Cause, INSERTING, TRYING_OUT},
    place::Place,
};

/// A [`Sink`] that connects by itself and always answers within a known time.
///
/// A connection that doesn't answer in time is given up: it ends by itself once its server answers
/// after all or its line breaks, and delivers nothing more. Only a few of them may hang at a time.
/// A host on which a connect hangs is the last one to be tried, where there are several.
/// A connection that an error has left behind isn't used again, unless it was the row's.
///
/// Dropping it doesn't wait for anything.
pub struct Courier {
    settings: Settings,
    deadlines: Deadlines,
    line: Option<Line>,
    given_up: Vec<GivenUp>,
    notes: Vec<String>,
}

/// How long a [`Courier`] waits before it gives a connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For everything until rows can be delivered: name lookup, connect, encryption, password,
    /// table. Enough for six questions and answers over a line that takes 5 s for each.
    pub connect: Duration,
    /// For one batch, or one probe. More than the server grants itself for a statement (30 s), so
    /// that what is merely slow gets an answer.
    pub deliver: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(30), deliver: Duration::from_secs(40) }
    }
}

impl Courier {
    /// Connections that were given up and may hang at a time; more are not begun, unless to a host
    /// on which none hangs.
    pub const MOST_STUCK: usize = 3;

    /// Nothing is connected yet.
    pub fn new(settings: Settings, deadlines: Deadlines) -> Self {
        Self { settings, deadlines, line: None, given_up: vec![], notes: vec![] }
    }

    /// Connects, if it isn't connected; [`deliver`](Self::deliver) does so too.
    ///
    /// # Errors
    /// As [`Sink::connect`] has them; where there is no answer in time; and at once where too many
    /// connections hang.
    pub fn connect(&mut self) -> Result<(), Error> {
        if self.line.is_some() {
            return Ok(());
        }
        self.given_up.retain(|given_up| !given_up.thread.is_finished());
        let places = self.places();
        if places.is_empty() {
            return Err(self.error(CONNECTING, Cause::Stuck(self.given_up.len())));
        }
        let line = Line::begin(self.settings.clone().with_places(places))
            .map_err(|e| self.error(CONNECTING, Cause::Thread(e)))?;
        if let Reply::Connected(notes) = self.wait(line, self.deadlines.connect, CONNECTING)? {
            self.notes = notes;
        }
        Ok(())
    }

    /// Delivers as [`Sink::deliver`] does.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`Sink::deliver`] have them.
    pub fn deliver(&mut self, records: impl Into<Arc<[PackRecord]>>) -> Result<Delivered, Error> {
        match self.ask(Job::Deliver(records.into()), INSERTING)? {
            Reply::Delivered(delivered) => Ok(delivered),
            Reply::Connected(_) | Reply::Passed => Ok(Delivered::default()),
        }
    }

    /// Tries a record out as [`Sink::probe`] does.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`Sink::probe`] have them.
    pub fn probe(&mut self, record: &PackRecord) -> Result<(), Error> {
        self.ask(Job::Probe(Box::new(record.clone())), TRYING_OUT).map(|_| ())
    }

    /// What people should know about the connection, each time that one was made: hands it out
    /// once.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// How many connections were given up and hang still.
    pub fn stuck(&self) -> usize {
        self.given_up.iter().filter(|given_up| !given_up.thread.is_finished()).count()
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.line.is_some()
    }
}

/// Tells the thread of a connection that was given up to deliver nothing more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leash {
    cut: Arc<AtomicBool>,
    /// Index of the place that the thread has to do with.
    place: Arc<AtomicUsize>,
}

impl Leash {
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// For the thread to say, before it may hang there.
    pub(crate) fn is_at(&self, place: usize) {
        self.place.store(place, Ordering::Release);
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }
}

/// A thread with a connection, one job at a time.
struct Line {
    jobs: Sender<Job>,
    answers: Receiver<Answer>,
    leash: Leash,
    places: Vec<Place>,
    thread: JoinHandle<()>,
}

/// What is left of a line whose thread did not answer in time.
struct GivenUp {
    thread: JoinHandle<()>,
    /// Where it hangs.
    place: Option<Place>,
    was_connecting: bool,
}

enum Job {
    Deliver(Arc<[PackRecord]>),
    Probe(Box<PackRecord>),
}

enum Reply {
    Connected(Vec<String>),
    Delivered(Delivered),
    Passed,
}

struct Answer {
    result: Result<Reply, Error>,
    /// The thread has closed its connection, and ends.
    is_last: bool,
}

impl Courier {
    fn ask(&mut self, job: Job, doing: &'static str) -> Result<Reply, Error> {
        self.connect()?;
        let Some(line) = self.line.take() else {
            return Err(self.error(doing, Cause::Died));
        };
        // A thread that has died doesn't answer either.
        let _ = line.jobs.send(job);
        self.wait(line, self.deadlines.deliver, doing)
    }

    fn wait(&mut self, line: Line, at_most: Duration, doing: &'static str) -> Result<Reply, Error> {
        match line.answers.recv_timeout(at_most) {
            Ok(Answer { result, is_last: false }) => {
                self.line = Some(line);
                result
            }
            Ok(Answer { result, is_last: true }) => {
                let _ = line.thread.join();
                result
            }
            Err(RecvTimeoutError::Timeout) => {
                self.given_up.push(line.give_up(doing == CONNECTING));
                Err(self.error(doing, Cause::Late(at_most)))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let _ = line.thread.join();
                Err(self.error(doing, Cause::Died))
            }
        }
    }

    /// Where to connect to, those last where a connect hangs: it would take all the time that the
    /// others have. A host that was merely slow to deliver keeps its place, for behind it there may
    /// be one that only reads.
    fn places(&self) -> Vec<Place> {
        let hanging = |place: &Place| {
            let place = place.clone();
            self.given_up.iter().filter(move |given_up| given_up.place.as_ref() == Some(&place))
        };
        let mut places = self.settings.places().to_vec();
        if self.given_up.len() >= Self::MOST_STUCK {
            places.retain(|place| hanging(place).next().is_none());
        }
        places.sort_by_key(|place| hanging(place).any(|given_up| given_up.was_connecting));
        places
    }

    fn error(&self, doing: &'static str, cause: Cause) -> Error {
        Error::new(doing, &self.settings.to_string(), cause)
    }
}

impl Line {
    fn begin(settings: Settings) -> io::Result<Self> {
        let (jobs, new_jobs) = mpsc::channel();
        let (new_answers, answers) = mpsc::channel();
        let leash = Leash::default();
        let hand = leash.clone();
        let places = settings.places().to_vec();
        let thread = thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || run(&settings, hand, &new_jobs, &new_answers))?;
        Ok(Self { jobs, answers, leash, places, thread })
    }

    fn give_up(mut self, was_connecting: bool) -> GivenUp {
        self.leash.cut();
        let place = self.leash.place.load(Ordering::Acquire);
        let place = (place < self.places.len()).then(|| self.places.swap_remove(place));
        GivenUp { thread: self.thread, place, was_connecting }
    }
}

/// Ends when the connection is of no use any more, or nobody has a job for it.
fn run(settings: &Settings, leash: Leash, jobs: &Receiver<Job>, answers: &Sender<Answer>) {
    let mut sink = match Sink::open(settings, leash) {
        Ok(sink) => sink,
        Err(error) => {
            let _ = answers.send(Answer { result: Err(error), is_last: true });
            return;
        }
    };
    let mut result: Result<Reply, Error> = Ok(Reply::Connected(sink.notes().to_vec()));
    loop {
        let is_last = sink.is_closed() || result.as_ref().is_err_and(|e| e.retry() != Retry::Row);
        if is_last {
            // Before the answer, within whose deadline it falls.
            drop(sink);
            let _ = answers.send(Answer { result, is_last });
            return;
        }
        if answers.send(Answer { result, is_last }).is_err() {
            return;
        }
        result = match jobs.recv() {
            Ok(Job::Deliver(records)) => sink.deliver(&records).map(Reply::Delivered),
            Ok(Job::Probe(record)) => sink.probe(&record).map(|()| Reply::Passed),
            Err(_) => return,
        };
    }
}
