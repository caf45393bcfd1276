//! Threads for the answers that take much memory.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread,
};

use crate::serve::STACK;

/// Maximum number of queued requests. While one is queued its connection can't be closed for a new
/// one, so most connections are left to other requests.
const QUEUE_LIMIT: usize = 8;

/// A thread that answers requests of one kind, or makes pieces of answers, one at a time, so that
/// many of them don't take the machine from the threads that record.
///
/// It is always the same thread, for the sake of memory: an allocator assigns threads to its
/// arenas, and each arena keeps what was freed in it. On the threads of the connections, plots and
/// metrics made one arena after the other grow.
pub(crate) struct AnswerThread {
    requests: Sender<Work>,
    /// Requests that wait or are being answered.
    length: AtomicUsize,
}

type Work = Box<dyn FnOnce() + Send>;

impl AnswerThread {
    /// Starts the thread, which ends when the value is dropped and its last request is answered.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let (requests, works) = mpsc::channel::<Work>();
        thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || {
            for work in works {
                work();
            }
        })?;
        Ok(Self { requests, length: AtomicUsize::new(0) })
    }

    /// Runs `work` on the thread, after what is queued there; `None`: the queue is full.
    ///
    /// If `work` panics, so does this.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _entry = self.enter()?;
        let (answer, answered) = mpsc::sync_channel(1);
        let work = move || {
            // Nobody receives it if the connection was closed meanwhile.
            let _ = answer.send(catch_unwind(AssertUnwindSafe(work)));
        };
        self.requests.send(Box::new(work)).ok()?;
        match answered.recv().ok()? {
            Ok(result) => Some(result),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn enter(&self) -> Option<QueueEntry<'_>> {
        // A count that guards nothing needs no ordering.
        let before = self.length.fetch_add(1, Ordering::Relaxed);
        let entry = QueueEntry(&self.length);
        (before < QUEUE_LIMIT).then_some(entry)
    }
}

struct QueueEntry<'a>(&'a AtomicUsize);

impl Drop for QueueEntry<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Response;

    #[test]
    fn the_queue_is_short() {
        let thread = AnswerThread::start("test").unwrap();
        let others: Vec<_> = (1..QUEUE_LIMIT).map(|_| thread.enter().unwrap()).collect();
        let last = thread.enter();
        assert!(last.is_some());
        for _ in 0..3 {
            assert!(thread.run(|| Response::plain(200)).is_none());
        }
        drop(last);
        let answer = thread.run(|| Response::plain(200));
        assert!(answer.is_some(), "a refusal takes no room in the queue");
        drop(others);
        assert_eq!(thread.length.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_thread_does_all() {
        let thread = AnswerThread::start("test").unwrap();
        let (done, by) = mpsc::channel();
        let run = |done: mpsc::Sender<thread::ThreadId>| {
            thread.run(move || {
                done.send(std::thread::current().id()).unwrap();
                Response::plain(200)
            })
        };
        std::thread::scope(|connections| {
            for _ in 0..2 {
                let done = done.clone();
                connections.spawn(|| run(done).unwrap());
            }
        });
        let by: Vec<_> = by.try_iter().collect();
        assert!(by.len() == 2 && by[0] == by[1], "{by:?}");
    }

    #[test]
    fn a_panic_is_passed_on_and_costs_no_other_request() {
        let thread = AnswerThread::start("test").unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| thread.run(|| panic!("for the test"))));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"for the test"));
        assert!(thread.run(|| Response::plain(200)).is_some());
    }
}
