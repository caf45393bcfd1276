use std::{
    net::{Shutdown, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Limits;

/// The open connections, a bounded number of them.
///
/// Any of them that waits for its client can be closed from here: for a new connection, or because
/// responses that nobody takes would fill the memory.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: Limits,
    state: Mutex<State>,
    /// A connection has ended, or all have been closed.
    changed: Condvar,
}

/// What becomes of a new connection.
#[derive(Debug)]
pub(crate) enum Admission {
    Admitted(ClientConnection),
    /// All others are having their answers prepared: it is to be refused.
    Full(TcpStream),
    /// The server is being stopped.
    Closed,
}

/// An open connection, for the thread that serves it. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    id: u64,
    stream: Arc<TcpStream>,
    connections: Arc<Connections>,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<OpenConnection>,
    next_id: u64,
    /// Threads, those included that have not noticed yet that their connection was closed.
    threads: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct OpenConnection {
    id: u64,
    stream: Arc<TcpStream>,
    /// Since when the connection waits for its client: to ask, or to take a response. What the
    /// client sends or takes meanwhile doesn't start that time anew, or a byte now and then would
    /// protect the connection. `None`: the client waits for us.
    waits_since: Option<Instant>,
    /// Bytes of the response that the client is to take.
    response_bytes: usize,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Admits a connection. If there are too many, closes the one that has waited longest for its
    /// client.
    ///
    /// A connection has the time of grace before it is closed, and this waits for that long.
    /// Without it, many clients that connect again at once would close the connection of another
    /// client before its request could be read.
    pub(crate) fn admit(self: &Arc<Self>, stream: TcpStream) -> Admission {
        let latest = Instant::now() + self.limits.grace;
        let mut state = self.lock();
        while state.open.len() >= self.limits.connections && !state.is_closed {
            let Some((index, since)) = state.longest_waiting(|_| true) else {
                return Admission::Full(stream);
            };
            let left = (since + self.limits.grace).min(latest) - Instant::now();
            if left.is_zero() {
                log::debug!("too many HTTP connections: the slowest client's is closed");
                state.close(index);
            } else {
                state = self.wait(state, left);
            }
        }
        if state.is_closed {
            return Admission::Closed;
        }
        Admission::Admitted(self.open(&mut state, stream))
    }

    fn open(self: &Arc<Self>, state: &mut State, stream: TcpStream) -> ClientConnection {
        let (id, stream) = (state.next_id, Arc::new(stream));
        state.next_id += 1;
        state.threads += 1;
        state.open.push(OpenConnection {
            id,
            stream: Arc::clone(&stream),
            waits_since: Some(Instant::now()),
            response_bytes: 0,
        });
        ClientConnection { id, stream, connections: Arc::clone(self) }
    }

    /// Closes all connections, and waits for their threads; whether all had ended by the deadline.
    pub(crate) fn close_all(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        state.is_closed = true;
        while !state.open.is_empty() {
            state.close(0);
        }
        self.changed.notify_all();
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wait(state, left);
        }
        true
    }

    pub(crate) fn are_closed(&self) -> bool {
        self.lock().is_closed
    }

    #[cfg(test)]
    pub(crate) fn threads(&self) -> usize {
        self.lock().threads
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Nothing panics while it holds the lock, so the state is always whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Bytes of responses that clients have not taken yet.
    fn response_bytes(&self) -> usize {
        self.open.iter().map(|open| open.response_bytes).sum()
    }

    /// Which of the connections that `counts` has waited longest for its client, and since when.
    fn longest_waiting(
        &self,
        counts: impl Fn(&OpenConnection) -> bool,
    ) -> Option<(usize, Instant)> {
        let open = self.open.iter().enumerate().filter(|(_, connection)| counts(connection));
        open.filter_map(|(index, connection)| Some((index, connection.waits_since?)))
            .min_by_key(|(_, since)| *since)
    }

    /// Closes a connection: whatever its thread reads or writes, now or later, ends at once.
    fn close(&mut self, index: usize) {
        // It fails where the client has gone already, which is as well.
        _ = self.open.swap_remove(index).stream.shutdown(Shutdown::Both);
    }
}

impl ClientConnection {
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The client waits for a response from now on; false if the connection was closed.
    pub(crate) fn prepares(&self) -> bool {
        self.update(&mut self.connections.lock(), |open| open.waits_since = None)
    }

    /// The connection waits from now on for its client to take a response of that many bytes; false
    /// if it was closed.
    ///
    /// If there are too many bytes that clients have not taken, closes the connections that have
    /// waited longest for that.
    pub(crate) fn responds(&self, bytes: usize) -> bool {
        let mut state = self.connections.lock();
        let now = Instant::now();
        if !self.update(&mut state, |open| open.waits_since = Some(now)) {
            return false;
        }
        while state.response_bytes() + bytes > self.connections.limits.response_bytes {
            let Some((index, _)) = state.longest_waiting(|open| open.response_bytes > 0) else {
                break;
            };
            log::debug!("too many HTTP responses wait: the slowest client's connection is closed");
            state.close(index);
        }
        self.update(&mut state, |open| open.response_bytes = bytes)
    }

    /// The client has taken the response.
    pub(crate) fn has_responded(&self) {
        self.update(&mut self.connections.lock(), |open| open.response_bytes = 0);
    }

    /// Changes what is known of the connection; false if it was closed.
    fn update(&self, state: &mut State, change: impl FnOnce(&mut OpenConnection)) -> bool {
        state.open.iter_mut().find(|open| open.id == self.id).map(change).is_some()
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        let mut state = self.connections.lock();
        state.open.retain(|open| open.id != self.id);
        state.threads -= 1;
        self.connections.changed.notify_all();
    }
}
