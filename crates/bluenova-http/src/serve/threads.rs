use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{self, SyncSender},
    },
    thread,
};

use super::{STACK, Service, connection::serve, connections::ClientConnection};

/// Maximum number of threads that wait for a connection: what a browser and a scraper need.
const MAX_IDLE: usize = 4;

/// The threads that serve connections, one each at a time.
///
/// A thread that has served a connection waits for the next one. An allocator assigns threads to
/// its arenas, and each arena keeps what was freed in it: with a new thread for each connection,
/// one arena after the other grew by what an answer takes.
///
/// Idle threads end when the value is dropped, the others when their connection does.
pub(crate) struct Threads {
    service: Arc<Service>,
    idle: Arc<Idle>,
}

/// Ways to the threads that wait for a connection, the one that has waited least last.
type Idle = Mutex<Vec<SyncSender<ClientConnection>>>;

impl Threads {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self { service, idle: Arc::default() }
    }

    /// Has a connection served by a thread that is idle, or else by a new one.
    ///
    /// # Errors
    /// The system can't start a thread.
    pub(crate) fn serve(&self, connection: ClientConnection) -> io::Result<()> {
        let mut unserved = connection;
        let waiting = lock(&self.idle).pop();
        if let Some(thread) = waiting {
            match thread.send(unserved) {
                Ok(()) => return Ok(()),
                Err(unsent) => unserved = unsent.0,
            }
        }
        let (service, idle) = (Arc::clone(&self.service), Arc::downgrade(&self.idle));
        thread::Builder::new().name("http".to_owned()).stack_size(STACK).spawn(move || {
            let mut next = Some(unserved);
            while let Some(connection) = next.take() {
                serve(&connection, &service);
                drop(connection);
                next = wait(&idle);
            }
        })?;
        Ok(())
    }
}

/// Waits for the next connection; `None`: enough threads wait, or the server has been stopped.
fn wait(idle: &Weak<Idle>) -> Option<ClientConnection> {
    let (sender, connections) = mpsc::sync_channel(1);
    {
        let idle = idle.upgrade()?;
        let mut idle = lock(&idle);
        if idle.len() >= MAX_IDLE {
            return None;
        }
        idle.push(sender);
    }
    connections.recv().ok()
}

fn lock(idle: &Idle) -> MutexGuard<'_, Vec<SyncSender<ClientConnection>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        thread::ThreadId,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        RateLimit,
        serve::{
            Limits, Response,
            connections::{Admission, Connections},
        },
    };

    /// Threads, and which of them have answered.
    struct Scene {
        threads: Threads,
        connections: Arc<Connections>,
        listener: TcpListener,
        seen: Arc<Mutex<HashSet<ThreadId>>>,
    }

    impl Scene {
        fn new() -> Self {
            let limits = Limits::default();
            let seen = Arc::<Mutex<HashSet<ThreadId>>>::default();
            let noted = Arc::clone(&seen);
            let handler = Box::new(move |_: &_| {
                noted.lock().unwrap().insert(thread::current().id());
                Response::plain(200)
            });
            let panics = Mutex::new(RateLimit::new(Duration::MAX));
            Self {
                threads: Threads::new(Arc::new(Service { limits, handler, panics })),
                connections: Arc::new(Connections::new(limits)),
                listener: TcpListener::bind("127.0.0.1:0").unwrap(),
                seen,
            }
        }

        /// A connection that is served.
        fn connect(&self) -> TcpStream {
            let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let (stream, _) = self.listener.accept().unwrap();
            let Admission::Admitted(connection) = self.connections.admit(stream) else {
                panic!("there is room")
            };
            self.threads.serve(connection).unwrap();
            client
        }

        fn wait_for_idle(&self, count: usize) {
            wait_until(|| lock(&self.threads.idle).len() == count);
        }
    }

    fn ask(mut client: &TcpStream) {
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_ne!(client.read(&mut [0; 1000]).unwrap(), 0);
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(60), "in vain");
            thread::yield_now();
        }
    }

    #[test]
    fn one_thread_serves_one_connection_after_the_other() {
        let scene = Scene::new();
        for _ in 0..10 {
            ask(&scene.connect());
            scene.wait_for_idle(1);
        }
        assert_eq!(scene.seen.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_crowd_has_a_thread_each_of_which_few_stay_until_the_end() {
        let scene = Scene::new();
        let crowd: Vec<_> = (0..MAX_IDLE + 2).map(|_| scene.connect()).collect();
        crowd.iter().for_each(ask);
        assert_eq!(scene.seen.lock().unwrap().len(), MAX_IDLE + 2);
        drop(crowd);
        let service = Arc::clone(&scene.threads.service);
        // Each thread has the service, and so have the scene and this test.
        wait_until(|| Arc::strong_count(&service) == MAX_IDLE + 2);
        scene.wait_for_idle(MAX_IDLE);
        drop(scene);
        wait_until(|| Arc::strong_count(&service) == 1);
    }
}
