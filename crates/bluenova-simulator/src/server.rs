use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
    sync::mpsc::{self, Receiver, Sender},
    thread::JoinHandle,
    time::Duration,
};

use time::UtcDateTime;

use crate::{
    Battery, Error, Fault, Snapshot,
    endpoint::{Command, Endpoint, EndpointCommand, serve},
};

/// Cadence of a battery's console.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// By itself: `speed` cycles a second, the lines of each spread over its time. A cycle is
    /// always a second in the model, so its day runs faster as well.
    Free {
        /// 1 is what a real battery does; within [`SPEEDS`](Self::SPEEDS).
        speed: f64,
    },
    /// One cycle for each call of [`Control::step`].
    Lockstep,
}

impl Pace {
    /// The speeds that a battery can have.
    pub const SPEEDS: RangeInclusive<f64> = 0.01..=10_000.0;
}

/// A message to the clients, for tests that make their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text frame; the bytes may be no UTF-8.
    Text(Vec<u8>),
    /// A binary frame.
    Binary(Vec<u8>),
    /// One text message in several frames.
    Fragments(Vec<Vec<u8>>),
    /// A ping.
    Ping(Vec<u8>),
    /// Bytes that go to the socket as they are, below all framing.
    Raw(Vec<u8>),
}

/// A client of a battery came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A client has done its handshake.
    Connected {
        /// Its address.
        peer: SocketAddr,
    },
    /// A client that had connected is gone.
    Disconnected {
        /// Its address.
        peer: SocketAddr,
        /// Messages that were queued for it.
        lines: u64,
    },
}

/// Server of simulated batteries: the console of each is a WebSocket at an address of its own.
///
/// All are served by one thread, which never blocks on a client. It is stopped and joined when the
/// server is dropped.
#[derive(Debug)]
pub struct Server {
    first: Control,
    endpoints: usize,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `address`, port 0 for any free one, and serves `battery` there.
    ///
    /// # Errors
    /// The address can't be listened on; there is no such speed; the system gives no thread.
    pub fn bind(address: SocketAddr, battery: Battery, pace: Pace) -> Result<Self, Error> {
        let (endpoint, address) = endpoint(address, battery, pace)?;
        let (commands, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("sim {address}"))
            .spawn(move || serve(vec![endpoint], &inbox))
            .map_err(|source| Error::Thread { address, source })?;
        let first = Control { address, endpoint: 0, commands };
        Ok(Self { first, endpoints: 1, thread: Some(thread) })
    }

    /// Serves one more battery, from the same thread.
    ///
    /// # Errors
    /// The address can't be listened on; there is no such speed.
    pub fn add(
        &mut self,
        address: SocketAddr,
        battery: Battery,
        pace: Pace,
    ) -> Result<Control, Error> {
        let (endpoint, address) = endpoint(address, battery, pace)?;
        let commands = self.first.commands.clone();
        let control = Control { address, endpoint: self.endpoints, commands };
        control.command(Command::Add(Box::new(endpoint)))?;
        self.endpoints += 1;
        Ok(control)
    }

    /// Where the first battery listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.first.address
    }

    /// The control of the first battery.
    pub fn control(&self) -> Control {
        self.first.clone()
    }

    /// Sends a Close frame to each client, gives them a quarter of a second to answer, and ends.
    ///
    /// # Panics
    /// If the serving thread did.
    pub fn stop(mut self) {
        if let Some(Err(panic)) = self.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn join(&mut self) -> Option<std::thread::Result<()>> {
        // A thread that has ended takes no command, and needs none.
        _ = self.first.command(Command::Stop);
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(Err(_)) = self.join() {
            log::error!("the server of {} panicked", self.first.address);
        }
    }
}

fn endpoint(
    address: SocketAddr,
    battery: Battery,
    pace: Pace,
) -> Result<(Endpoint, SocketAddr), Error> {
    if let Pace::Free { speed } = pace
        && !Pace::SPEEDS.contains(&speed)
    {
        return Err(Error::Speed { speed });
    }
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (listener, address) = listen().map_err(|source| Error::Listen { address, source })?;
    Ok((Endpoint::new(listener, battery, pace), address))
}

/// Serves the two batteries of one bank from `start` on, each on a free port of 127.0.0.1.
///
/// # Errors
/// A port can't be listened on; there is no such speed; the system gives no thread.
pub fn serve_pair(start: UtcDateTime, pace: Pace) -> Result<(Server, [SocketAddr; 2]), Error> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let [first, second] = Battery::pair(start);
    let mut server = Server::bind(any_port, first, pace)?;
    let second = server.add(any_port, second, pace)?;
    let addresses = [server.local_addr(), second.local_addr()];
    Ok((server, addresses))
}

/// Remote control of one battery of a [`Server`], from any thread.
///
/// Each call fails with [`Error::Stopped`] once the server is.
#[derive(Clone, Debug)]
pub struct Control {
    address: SocketAddr,
    endpoint: usize,
    commands: Sender<Command>,
}

impl Control {
    /// Where the battery listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What a listener connects to.
    pub fn url(&self) -> String {
        format!("ws://{}{}", self.address, crate::PATH)
    }

    /// Makes `fault` happen.
    ///
    /// # Errors
    /// The server is stopped.
    pub fn fault(&self, fault: Fault) -> Result<(), Error> {
        self.send_command(EndpointCommand::Fault(fault))
    }

    /// Sends `message` to each client, whatever fault there is. A client whose socket is full does
    /// not get it.
    ///
    /// # Errors
    /// The server is stopped.
    pub fn send(&self, message: Message) -> Result<(), Error> {
        self.send_command(EndpointCommand::Send(message))
    }

    /// Lets a second pass in the model, sends one whole cycle to each client at once, and returns
    /// its values. Meant for [`Pace::Lockstep`]; a cycle under way is finished before.
    ///
    /// # Errors
    /// The server is stopped.
    pub fn step(&self) -> Result<Snapshot, Error> {
        self.ask(EndpointCommand::Step)
    }

    /// Number of clients that are connected, the handshake done.
    ///
    /// # Errors
    /// The server is stopped.
    pub fn clients(&self) -> Result<usize, Error> {
        self.ask(EndpointCommand::CountClients)
    }

    /// Waits until exactly `count` clients are connected, the handshake done.
    ///
    /// # Errors
    /// [`Error::Clients`] when that takes longer than `at_most`; the server is stopped.
    pub fn wait_for_clients(&self, count: usize, at_most: Duration) -> Result<(), Error> {
        let (reply, answer) = mpsc::channel();
        self.send_command(EndpointCommand::AwaitClients(count, reply))?;
        answer.recv_timeout(at_most).map_err(|e| match e {
            mpsc::RecvTimeoutError::Timeout => {
                Error::Clients { address: self.address, expected: count }
            }
            mpsc::RecvTimeoutError::Disconnected => self.stopped(),
        })
    }

    /// The clients that come and go from now on.
    ///
    /// # Errors
    /// The server is stopped.
    pub fn events(&self) -> Result<Receiver<Event>, Error> {
        let (events, receiver) = mpsc::channel();
        self.send_command(EndpointCommand::Events(events))?;
        Ok(receiver)
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> EndpointCommand) -> Result<T, Error> {
        let (reply, answer) = mpsc::channel();
        self.send_command(command(reply))?;
        answer.recv().map_err(|_| self.stopped())
    }

    fn send_command(&self, command: EndpointCommand) -> Result<(), Error> {
        self.command(Command::To { endpoint: self.endpoint, command })
    }

    fn command(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).map_err(|_| self.stopped())
    }

    fn stopped(&self) -> Error {
        Error::Stopped { address: self.address }
    }
}
