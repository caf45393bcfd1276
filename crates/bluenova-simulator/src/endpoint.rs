use std::{
    io::ErrorKind,
    net::TcpListener,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control as ControlCode, Data, OpCode},
};

use crate::{
    Battery, Event, Fault, Message, Pace, Snapshot,
    client::Client,
    fault::{Damage, giant},
};

/// How often sockets are read and written. Well below the time between two lines at speed 1.
const TICK: Duration = Duration::from_millis(10);

/// How far the lines may fall behind their time; beyond that the delay is not made up for.
const MAX_LAG: Duration = Duration::from_millis(100);

/// What a cycle takes in the model.
const CYCLE: Duration = Duration::from_secs(1);

/// Time-out of the clients' answers to the Close frame when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// One battery with the socket that it listens on and its clients.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: TcpListener,
    battery: Battery,
    pace: Pace,
    clients: Vec<Client>,
    /// Whether the last attempt to accept a client failed; it is logged once.
    accept_failed: bool,
    link: Link,
    damage: Damage,
    /// The cycle that is being sent, and how many bytes of it were.
    console: String,
    sent: usize,
    line_time: Duration,
    next_line: Instant,
    /// The frames of one message, for all clients.
    frames: Vec<u8>,
    events: Vec<Sender<Event>>,
    waiting: Vec<(usize, Sender<()>)>,
}

/// Lasting state of the link, as the last fault left it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Healthy,
    Silent,
    HalfOpen,
    Noisy { share: f64 },
}

/// Command to the serving thread.
#[derive(Debug)]
pub(crate) enum Command {
    Add(Box<Endpoint>),
    Stop,
    To { endpoint: usize, command: EndpointCommand },
}

/// Command to one endpoint.
#[derive(Debug)]
pub(crate) enum EndpointCommand {
    Fault(Fault),
    Send(Message),
    Step(Sender<Snapshot>),
    Events(Sender<Event>),
    CountClients(Sender<usize>),
    AwaitClients(usize, Sender<()>),
}

/// Serves `endpoints` until [`Command::Stop`] comes, or nobody is left to send it.
pub(crate) fn serve(mut endpoints: Vec<Endpoint>, commands: &Receiver<Command>) {
    'serving: loop {
        let mut command = commands.recv_timeout(TICK);
        loop {
            match command {
                Ok(Command::Add(endpoint)) => endpoints.push(*endpoint),
                Ok(Command::To { endpoint, command }) => {
                    if let Some(endpoint) = endpoints.get_mut(endpoint) {
                        endpoint.execute(command);
                    }
                }
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break 'serving,
                Err(RecvTimeoutError::Timeout) => break,
            }
            command = commands.recv_timeout(Duration::ZERO);
        }
        let now = Instant::now();
        for endpoint in &mut endpoints {
            endpoint.poll(now);
        }
    }
    close(&mut endpoints);
}

fn close(endpoints: &mut [Endpoint]) {
    for endpoint in endpoints.iter_mut() {
        if endpoint.link == Link::HalfOpen {
            endpoint.disconnect_all();
        }
        endpoint.clients.iter_mut().for_each(Client::close);
    }
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    loop {
        for endpoint in endpoints.iter_mut() {
            endpoint.poll_clients(Instant::now());
        }
        let all_closed = endpoints.iter().all(|endpoint| endpoint.clients.is_empty());
        if all_closed || Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(TICK / 10);
    }
    endpoints.iter_mut().for_each(Endpoint::disconnect_all);
}

impl Endpoint {
    /// `listener` must not block.
    pub(crate) fn new(listener: TcpListener, battery: Battery, pace: Pace) -> Self {
        let damage = Damage::new(battery.profile().seed);
        Self {
            listener,
            battery,
            pace,
            clients: vec![],
            accept_failed: false,
            link: Link::Healthy,
            damage,
            console: String::new(),
            sent: 0,
            line_time: Duration::ZERO,
            next_line: Instant::now(),
            frames: vec![],
            events: vec![],
            waiting: vec![],
        }
    }

    fn poll(&mut self, now: Instant) {
        if self.link != Link::HalfOpen {
            self.accept(now);
        }
        if let Pace::Free { speed } = self.pace {
            self.send_due_lines(now, speed);
        }
        if self.link != Link::HalfOpen {
            self.poll_clients(now);
        }
    }

    fn execute(&mut self, command: EndpointCommand) {
        match command {
            EndpointCommand::Fault(fault) => self.apply_fault(fault),
            EndpointCommand::Send(message) => self.send(&message),
            // The asker may have gone: the others are served on.
            EndpointCommand::Step(reply) => _ = reply.send(self.send_cycle()),
            EndpointCommand::CountClients(reply) => _ = reply.send(self.connected()),
            EndpointCommand::Events(events) => self.events.push(events),
            EndpointCommand::AwaitClients(count, reply) => {
                self.waiting.push((count, reply));
                self.answer_waiting();
            }
        }
    }

    fn apply_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Healthy => {
                self.link = Link::Healthy;
                self.battery.suffer(fault);
            }
            Fault::Silence => self.link = Link::Silent,
            Fault::HalfOpen => self.link = Link::HalfOpen,
            Fault::Malformed { share } => self.link = Link::Noisy { share },
            Fault::Drop => self.drop_clients(),
            Fault::Giant => self.send(&giant()),
            Fault::Errors
            | Fault::Breaker
            | Fault::LowCharge
            | Fault::Frost
            | Fault::CellSpread => self.battery.suffer(fault),
        }
    }

    fn accept(&mut self, now: Instant) {
        loop {
            match self.listener.accept() {
                Ok((tcp, peer)) => match Client::new(tcp, peer, now) {
                    Ok(client) => self.clients.push(client),
                    Err(e) => log::warn!("{peer}: can't serve the client: {e}"),
                },
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.accept_failed = false;
                    return;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    // No file descriptor left, for instance: others can still be served.
                    if !self.accept_failed {
                        log::warn!("can't accept a client: {e}");
                    }
                    self.accept_failed = true;
                    return;
                }
            }
        }
    }

    fn send_due_lines(&mut self, now: Instant, speed: f64) {
        if now.duration_since(self.next_line) > MAX_LAG {
            self.next_line = now;
        }
        while self.next_line <= now {
            if self.sent == self.console.len() {
                self.next_cycle();
                let lines = self.console.lines().count().max(1);
                self.line_time = CYCLE.div_f64(speed * lines as f64);
            }
            self.send_line();
            self.next_line += self.line_time;
        }
    }

    /// Sends the rest of the cycle under way, and a whole one.
    fn send_cycle(&mut self) -> Snapshot {
        while self.sent < self.console.len() {
            self.send_line();
        }
        let snapshot = self.next_cycle();
        while self.sent < self.console.len() {
            self.send_line();
        }
        snapshot
    }

    fn next_cycle(&mut self) -> Snapshot {
        self.console.clear();
        self.sent = 0;
        self.battery.advance(CYCLE);
        self.battery.print_cycle(&mut self.console)
    }

    fn send_line(&mut self) {
        let rest = &self.console[self.sent..];
        let line = rest.find('\n').map_or(rest, |end| &rest[..=end]);
        self.sent += line.len();
        self.frames.clear();
        match self.link {
            Link::Silent | Link::HalfOpen => return,
            Link::Healthy => put_frame(&mut self.frames, TEXT, true, line.as_bytes()),
            Link::Noisy { share } => match self.damage.apply(line, share) {
                Some(message) => put_message(&mut self.frames, &message),
                None => return,
            },
        }
        self.queue();
    }

    fn send(&mut self, message: &Message) {
        self.frames.clear();
        put_message(&mut self.frames, message);
        self.queue();
    }

    fn queue(&mut self) {
        for client in &mut self.clients {
            client.queue(&self.frames);
        }
    }

    fn poll_clients(&mut self, now: Instant) {
        for client in &mut self.clients {
            let was_connected = client.is_connected;
            client.poll(now);
            if client.is_connected && !was_connected {
                publish(&mut self.events, &Event::Connected { peer: client.peer() });
            }
        }
        let events = &mut self.events;
        self.clients.retain(|client| {
            if client.is_closed() && client.is_connected {
                publish(events, &Event::Disconnected { peer: client.peer(), lines: client.lines });
            }
            !client.is_closed()
        });
        self.answer_waiting();
    }

    fn drop_clients(&mut self) {
        // What was sent before still arrives; a computer that hangs keeps it.
        if self.link != Link::HalfOpen {
            self.poll_clients(Instant::now());
        }
        self.disconnect_all();
    }

    /// Closes all connections as they are.
    fn disconnect_all(&mut self) {
        for client in self.clients.drain(..).filter(|client| client.is_connected) {
            let event = Event::Disconnected { peer: client.peer(), lines: client.lines };
            publish(&mut self.events, &event);
        }
        self.answer_waiting();
    }

    fn connected(&self) -> usize {
        self.clients.iter().filter(|client| client.is_connected).count()
    }

    fn answer_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let connected = self.connected();
        self.waiting.retain(|(count, reply)| {
            if *count == connected {
                _ = reply.send(());
            }
            *count != connected
        });
    }
}

/// Sends `event` to all receivers that are still there.
fn publish(events: &mut Vec<Sender<Event>>, event: &Event) {
    events.retain(|receiver| receiver.send(event.clone()).is_ok());
}

const TEXT: OpCode = OpCode::Data(Data::Text);

fn put_message(frames: &mut Vec<u8>, message: &Message) {
    match message {
        Message::Text(bytes) => put_frame(frames, TEXT, true, bytes),
        Message::Binary(bytes) => put_frame(frames, OpCode::Data(Data::Binary), true, bytes),
        Message::Fragments(pieces) => {
            for (i, piece) in pieces.iter().enumerate() {
                let opcode = if i == 0 { TEXT } else { OpCode::Data(Data::Continue) };
                put_frame(frames, opcode, i + 1 == pieces.len(), piece);
            }
        }
        Message::Ping(bytes) => put_frame(frames, OpCode::Control(ControlCode::Ping), true, bytes),
        Message::Raw(bytes) => frames.extend_from_slice(bytes),
    }
}

fn put_frame(frames: &mut Vec<u8>, opcode: OpCode, is_final: bool, payload: &[u8]) {
    let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
    // Writing to a Vec can't fail.
    _ = header.format(payload.len() as u64, frames);
    frames.extend_from_slice(payload);
}
