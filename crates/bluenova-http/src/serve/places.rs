use std::{
    net::{Shutdown, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::seldom::Seldom;

/// Connections at a time that are told there is no room. Any further ones are closed without a
/// word.
const REFUSALS: usize = 8;

/// The places that connections take, a bounded number of them.
///
/// A place is not for ever: its connection can be ended from here, by the thread that accepts,
/// to make room.
#[derive(Debug)]
pub(crate) struct Places {
    limit: usize,
    spared: Duration,
    /// Bytes of answers.
    answers: usize,
    state: Mutex<State>,
    /// A place has become free, or all have been closed.
    freed: Condvar,
    /// When it was logged that there is a crowd.
    crowded: Seldom,
}

/// What becomes of a new connection.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It is served.
    Served(Place),
    /// It is told to come again.
    Refused(Place),
    /// It has been closed.
    Closed,
}

/// A connection's place. It's free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    key: u64,
    stream: Arc<TcpStream>,
    places: Arc<Places>,
}

#[derive(Debug, Default)]
struct State {
    taken: Vec<Taken>,
    next_key: u64,
    /// Of those, too, whose connection was ended and who haven't noticed yet.
    threads: usize,
    closed: bool,
}

#[derive(Debug)]
struct Taken {
    key: u64,
    stream: Arc<TcpStream>,
    phase: Phase,
    /// Bytes of the answer that the client is to take.
    answer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its thread hasn't run yet, which isn't the client's fault, and is over in a moment.
    Starting,
    /// For the client: to ask, to take its answer, or to close. What it sends or takes meanwhile
    /// doesn't start that time anew, or a byte now and then would keep the place.
    Waiting { since: Instant },
    /// The client waits for us.
    Working,
    /// It takes no place.
    Refused,
}

impl Places {
    /// `limit` connections have a place at a time. One that has been waiting for its client for
    /// `spared` may be ended for another. Answers of `answers` bytes may lie ready at a time.
    pub(crate) fn new(limit: usize, spared: Duration, answers: usize) -> Self {
        Self {
            limit,
            spared,
            answers,
            state: Mutex::default(),
            freed: Condvar::new(),
            crowded: Seldom::new(),
        }
    }

    /// Finds a place, if need be that of the connection that has been waiting for its client the
    /// longest.
    ///
    /// Where all of them are too new for that, this waits until one isn't. That is but for a
    /// moment, and who comes next queues up meanwhile: if they were refused instead, then among
    /// many who try again at once a single one who doesn't would hardly ever get in.
    pub(crate) fn enter(self: &Arc<Self>, stream: TcpStream) -> Entry {
        let mut state = self.make_room(self.lock());
        let crowd = 2 * self.limit + REFUSALS;
        if state.closed || state.threads >= crowd {
            return Entry::Closed;
        }
        if state.served() < self.limit {
            Entry::Served(self.place(&mut state, stream, Phase::Starting))
        } else if state.count(|phase| phase == Phase::Refused) < REFUSALS {
            Entry::Refused(self.place(&mut state, stream, Phase::Refused))
        } else {
            Entry::Closed
        }
    }

    /// Ends all connections and waits for their threads; whether all had ended by the deadline.
    pub(crate) fn close(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        state.closed = true;
        for taken in state.taken.drain(..) {
            end(&taken.stream);
        }
        self.freed.notify_all();
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wait(state, left);
        }
        true
    }

    pub(crate) fn closed(&self) -> bool {
        self.lock().closed
    }

    /// How many threads connections have.
    #[cfg(test)]
    pub(crate) fn threads(&self) -> usize {
        self.lock().threads
    }

    fn make_room<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        // By then, all that are starting now have been waiting for their clients long enough.
        let give_up = Instant::now() + 2 * self.spared;
        while state.served() >= self.limit && !state.closed {
            let now = Instant::now();
            let Some((slowest, since)) = state.slowest(now) else { break };
            let safe_until = since + self.spared;
            if safe_until <= now {
                let slowest = state.taken.swap_remove(slowest);
                if self.crowded.due() {
                    let limit = self.limit;
                    log::debug!("all {limit} HTTP connections are taken: slow ones are ended");
                }
                end(&slowest.stream);
            } else if now < give_up {
                state = self.wait(state, safe_until.min(give_up) - now);
            } else {
                break;
            }
        }
        state
    }

    fn place(self: &Arc<Self>, state: &mut State, stream: TcpStream, phase: Phase) -> Place {
        let key = state.next_key;
        state.next_key += 1;
        state.threads += 1;
        let stream = Arc::new(stream);
        state.taken.push(Taken { key, stream: Arc::clone(&stream), phase, answer: 0 });
        Place { key, stream, places: Arc::clone(self) }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.freed.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Nothing panics while it holds the lock, so the state is always whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn served(&self) -> usize {
        self.count(|phase| phase != Phase::Refused)
    }

    fn count(&self, counts: impl Fn(Phase) -> bool) -> usize {
        self.taken.iter().filter(|taken| counts(taken.phase)).count()
    }

    /// Changes a connection that has a place; false if it has none.
    fn change(&mut self, key: u64, change: impl FnOnce(&mut Taken)) -> bool {
        self.taken.iter_mut().find(|taken| taken.key == key).map(change).is_some()
    }

    /// Bytes of answers that lie ready.
    fn answers(&self) -> usize {
        self.taken.iter().map(|taken| taken.answer).sum()
    }

    /// Who has been taking an answer for the longest.
    fn slowest_taker(&self) -> Option<usize> {
        let since = |(index, taken): (usize, &Taken)| match taken.phase {
            Phase::Waiting { since } if taken.answer > 0 => Some((index, since)),
            _ => None,
        };
        let takers = self.taken.iter().enumerate().filter_map(since);
        takers.min_by_key(|&(_, since)| since).map(|(index, _)| index)
    }

    /// Who has been waiting for its client the longest, and since when.
    fn slowest(&self, now: Instant) -> Option<(usize, Instant)> {
        let since = |(index, taken): (usize, &Taken)| match taken.phase {
            Phase::Waiting { since } => Some((index, since)),
            Phase::Starting => Some((index, now)),
            Phase::Working | Phase::Refused => None,
        };
        self.taken.iter().enumerate().filter_map(since).min_by_key(|&(_, since)| since)
    }
}

impl Place {
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The connection waits for its client from now on; false if it was ended.
    pub(crate) fn waits(&self) -> bool {
        self.turn_to(Phase::Waiting { since: Instant::now() })
    }

    /// The client waits for us from now on; false if its connection was ended.
    pub(crate) fn works(&self) -> bool {
        self.turn_to(Phase::Working)
    }

    /// The connection waits for its client to take an answer of so many bytes; false if it was
    /// ended.
    ///
    /// Those that don't take theirs must not fill the memory: where there is too much of it, the
    /// connections that have been waiting the longest are ended.
    pub(crate) fn hands_over(&self, bytes: usize) -> bool {
        let mut state = self.places.lock();
        if !state.change(self.key, |own| own.phase = Phase::Waiting { since: Instant::now() }) {
            return false;
        }
        while state.answers() + bytes > self.places.answers {
            let Some(slowest) = state.slowest_taker() else { break };
            end(&state.taken.swap_remove(slowest).stream);
        }
        state.change(self.key, |own| own.answer = bytes)
    }

    /// The client has taken its answer.
    pub(crate) fn has_handed_over(&self) {
        self.places.lock().change(self.key, |own| own.answer = 0);
    }

    fn turn_to(&self, phase: Phase) -> bool {
        self.places.lock().change(self.key, |own| own.phase = phase)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.taken.retain(|taken| taken.key != self.key);
        state.threads -= 1;
        self.places.freed.notify_all();
    }
}

/// Whatever its thread reads or writes, now or later, ends at once.
fn end(stream: &TcpStream) {
    // It fails where the client has gone already, which is as well.
    _ = stream.shutdown(Shutdown::Both);
}
