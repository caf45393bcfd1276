use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
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

/// How often sockets are looked after. Well below the time between two lines at normal speed.
const TICK: Duration = Duration::from_millis(10);

/// How far the lines may fall behind their time before the rest of the delay is forgiven.
const BEHIND: Duration = Duration::from_millis(100);

/// What a cycle is in the model.
const CYCLE: Duration = Duration::from_secs(1);

/// How long clients have to answer to the Close frame when the server stops.
const CLOSING_TIME: Duration = Duration::from_millis(250);

/// A battery, the socket that it listens on, and its clients.
#[derive(Debug)]
pub(crate) struct Station {
    listener: TcpListener,
    battery: Battery,
    pace: Pace,
    clients: Vec<Client>,
    /// Whether the last attempt to accept a client failed; it is said once.
    refuses: bool,
    link: Link,
    damage: Damage,
    /// The cycle that is being said, and how much of it was.
    console: String,
    said: usize,
    line_time: Duration,
    next_line: Instant,
    /// The frames of one message, for all clients.
    frames: Vec<u8>,
    events: Vec<Sender<Event>>,
    waiting: Vec<(usize, Sender<()>)>,
}

/// What lasts of a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Healthy,
    Silent,
    HalfOpen,
    Noisy { share: f64 },
}

/// What a control asks of the serving thread.
#[derive(Debug)]
pub(crate) enum Command {
    Add(Box<Station>),
    Stop,
    To { station: usize, order: Order },
}

/// What a control asks of one station.
#[derive(Debug)]
pub(crate) enum Order {
    Fault(Fault),
    Send(Message),
    Step(Sender<Snapshot>),
    Events(Sender<Event>),
    CountClients(Sender<usize>),
    AwaitClients(usize, Sender<()>),
}

/// Serves `stations` until it is told to stop.
pub(crate) fn serve(mut stations: Vec<Station>, commands: &Receiver<Command>) {
    'serving: loop {
        let mut command = commands.recv_timeout(TICK);
        loop {
            match command {
                Ok(Command::Add(station)) => stations.push(*station),
                Ok(Command::To { station, order }) => {
                    if let Some(station) = stations.get_mut(station) {
                        station.obey(order);
                    }
                }
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break 'serving,
                Err(RecvTimeoutError::Timeout) => break,
            }
            command = commands.recv_timeout(Duration::ZERO);
        }
        let now = Instant::now();
        for station in &mut stations {
            station.turn(now);
        }
    }
    close(&mut stations);
}

fn close(stations: &mut [Station]) {
    for station in stations.iter_mut() {
        if station.link == Link::HalfOpen {
            station.hang_up();
        }
        station.clients.iter_mut().for_each(Client::close);
    }
    let deadline = Instant::now() + CLOSING_TIME;
    loop {
        for station in stations.iter_mut() {
            station.look_after_clients(Instant::now());
        }
        let all_gone = stations.iter().all(|station| station.clients.is_empty());
        if all_gone || Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(TICK / 10);
    }
    stations.iter_mut().for_each(Station::hang_up);
}

impl Station {
    /// `listener` must not block.
    pub(crate) fn new(listener: TcpListener, battery: Battery, pace: Pace) -> Self {
        let damage = Damage::new(battery.profile().seed);
        Self {
            listener,
            battery,
            pace,
            clients: vec![],
            refuses: false,
            link: Link::Healthy,
            damage,
            console: String::new(),
            said: 0,
            line_time: Duration::ZERO,
            next_line: Instant::now(),
            frames: vec![],
            events: vec![],
            waiting: vec![],
        }
    }

    fn turn(&mut self, now: Instant) {
        if self.link != Link::HalfOpen {
            self.accept(now);
        }
        if let Pace::Free { speed } = self.pace {
            self.say_what_is_due(now, speed);
        }
        if self.link != Link::HalfOpen {
            self.look_after_clients(now);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Fault(fault) => self.suffer(fault),
            Order::Send(message) => self.send(&message),
            // Whoever asked may have gone: that is no concern of the others.
            Order::Step(reply) => _ = reply.send(self.say_a_cycle()),
            Order::CountClients(reply) => _ = reply.send(self.listening()),
            Order::Events(events) => self.events.push(events),
            Order::AwaitClients(count, reply) => {
                self.waiting.push((count, reply));
                self.answer_waiting();
            }
        }
    }

    fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Healthy => self.link = Link::Healthy,
            Fault::Silence => self.link = Link::Silent,
            Fault::HalfOpen => self.link = Link::HalfOpen,
            Fault::Malformed { share } => self.link = Link::Noisy { share },
            Fault::Drop => self.drop_clients(),
            Fault::Giant => self.send(&giant()),
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
                    self.refuses = false;
                    return;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    // No file descriptor left, for instance: others can still be served.
                    if !self.refuses {
                        log::warn!("can't accept a client: {e}");
                    }
                    self.refuses = true;
                    return;
                }
            }
        }
    }

    fn say_what_is_due(&mut self, now: Instant, speed: f64) {
        if now.duration_since(self.next_line) > BEHIND {
            self.next_line = now;
        }
        while self.next_line <= now {
            if self.said == self.console.len() {
                self.next_cycle();
                let lines = self.console.lines().count().max(1);
                self.line_time = CYCLE.div_f64(speed * lines as f64);
            }
            self.say_line();
            self.next_line += self.line_time;
        }
    }

    /// Says what is left of the cycle under way, and a whole one.
    fn say_a_cycle(&mut self) -> Snapshot {
        while self.said < self.console.len() {
            self.say_line();
        }
        let snapshot = self.next_cycle();
        while self.said < self.console.len() {
            self.say_line();
        }
        snapshot
    }

    fn next_cycle(&mut self) -> Snapshot {
        self.console.clear();
        self.said = 0;
        self.battery.advance(CYCLE);
        self.battery.print_cycle(&mut self.console)
    }

    fn say_line(&mut self) {
        let rest = &self.console[self.said..];
        let line = rest.find('\n').map_or(rest, |end| &rest[..=end]);
        self.said += line.len();
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

    fn look_after_clients(&mut self, now: Instant) {
        for client in &mut self.clients {
            let listened = client.listens;
            client.turn(now);
            if client.listens && !listened {
                tell(&mut self.events, &Event::Connected { peer: client.peer() });
            }
        }
        let events = &mut self.events;
        self.clients.retain(|client| {
            if client.is_gone() && client.listens {
                tell(events, &Event::Disconnected { peer: client.peer(), lines: client.lines });
            }
            !client.is_gone()
        });
        self.answer_waiting();
    }

    fn drop_clients(&mut self) {
        // What was said before is on its way; a computer that hangs keeps it.
        if self.link != Link::HalfOpen {
            self.look_after_clients(Instant::now());
        }
        self.hang_up();
    }

    /// Closes all connections as they are.
    fn hang_up(&mut self) {
        for client in self.clients.drain(..).filter(|client| client.listens) {
            let gone = Event::Disconnected { peer: client.peer(), lines: client.lines };
            tell(&mut self.events, &gone);
        }
        self.answer_waiting();
    }

    fn listening(&self) -> usize {
        self.clients.iter().filter(|client| client.listens).count()
    }

    fn answer_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let listening = self.listening();
        self.waiting.retain(|(count, reply)| {
            if *count == listening {
                _ = reply.send(());
            }
            *count != listening
        });
    }
}

/// Tells all who still want to know.
fn tell(events: &mut Vec<Sender<Event>>, event: &Event) {
    events.retain(|listener| listener.send(event.clone()).is_ok());
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

/// Where a listener connects to.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("ws://{address}{}", crate::PATH)
}
