use std::{collections::HashSet, net::TcpStream, time::Duration};

use bluenova_simulator::{Fault, Pace};
use bluenova_test_support::TIME_LIMIT;
use tungstenite::{
    Error, Message,
    protocol::frame::coding::{Data, OpCode},
};

use crate::{Listener, served};

/// Time of some hundred lines at the speed of these tests.
const A_WHILE: Duration = Duration::from_millis(150);
const QUICK: Pace = Pace::Free { speed: 20.0 };

/// Reads on until a pong comes.
fn read_to_pong(listener: &mut Listener) {
    while !matches!(listener.0.read().unwrap(), Message::Pong(_)) {}
}

#[test]
fn silence_answers_pings_and_nothing_else() {
    let (_server, control, mut listener) = served(QUICK);
    listener.line();
    control.fault(Fault::Silence).unwrap();
    // The battery is silent once the next command is answered, and all that it had sent by then
    // comes before the pong.
    control.clients().unwrap();
    listener.ping("silent now?");
    read_to_pong(&mut listener);
    assert_eq!(listener.within(A_WHILE), None);
    listener.ping("still there?");
    assert!(matches!(listener.within(TIME_LIMIT), Some(Message::Pong(_))));
    control.fault(Fault::Healthy).unwrap();
    listener.line();
}

#[test]
fn half_open_answers_nobody() {
    let (_server, control, mut listener) = served(QUICK);
    control.fault(Fault::Silence).unwrap();
    control.clients().unwrap();
    listener.ping("silent now?");
    read_to_pong(&mut listener);
    control.fault(Fault::HalfOpen).unwrap();
    control.clients().unwrap();
    listener.ping("anybody?");
    let tcp = TcpStream::connect(control.local_addr()).unwrap();
    tcp.set_read_timeout(Some(A_WHILE)).unwrap();
    let other = tungstenite::client(control.url(), tcp);
    assert!(other.is_err(), "no handshake");
    assert_eq!(listener.within(A_WHILE), None);
    control.fault(Fault::Healthy).unwrap();
    read_to_pong(&mut listener);
    listener.line();
}

#[test]
fn a_half_open_server_can_be_stopped() {
    let (server, control, mut listener) = served(QUICK);
    control.fault(Fault::HalfOpen).unwrap();
    server.stop();
    let end =
        std::iter::repeat_with(|| listener.message()).find(|m| !matches!(m, Ok(Message::Text(_))));
    assert!(matches!(end, Some(Err(_))), "no Close frame: {end:?}");
}

#[test]
fn a_dropped_client_can_come_back() {
    let (_server, control, mut listener) = served(Pace::Lockstep);
    control.fault(Fault::Drop).unwrap();
    assert!(matches!(listener.message(), Err(Error::Protocol(_) | Error::Io(_))));
    assert_eq!(control.clients().unwrap(), 0);
    let mut listener = Listener::connect(&control);
    control.step().unwrap();
    listener.line();
}

#[test]
fn a_giant_message_is_one_mebibyte() {
    let (_server, control, mut listener) = served(Pace::Lockstep);
    control.fault(Fault::Giant).unwrap();
    assert_eq!(listener.line().len(), 1 << 20);
    control.step().unwrap();
    assert!(listener.line().len() < 100);
}

#[test]
fn malformed_lines_are_damaged_in_many_ways() {
    let (_server, control, listener) = served(Pace::Lockstep);
    control.fault(Fault::Malformed { share: 1.0 }).unwrap();
    for _ in 0..20 {
        control.step().unwrap();
    }
    control.fault(Fault::Drop).unwrap();
    let frames = listener.raw_frames();
    let mut seen = HashSet::new();
    for (opcode, is_final, payload) in frames {
        seen.insert(match (opcode, is_final, String::from_utf8(payload)) {
            (OpCode::Data(Data::Text), false, _) => "fragment",
            (OpCode::Data(Data::Continue), ..) => "continuation",
            (OpCode::Data(Data::Text), true, Err(_)) => "no UTF-8",
            (OpCode::Data(Data::Text), true, Ok(text)) => match text {
                text if text.contains('\0') => "NUL",
                text if text.contains("??") => "no number",
                text if text.matches('\n').count() == 2 => "two lines",
                text if !text.ends_with('\n') => "cut",
                _ => "else",
            },
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn a_share_of_malformed_lines_leaves_the_others_alone() {
    let (_server, control, listener) = served(Pace::Lockstep);
    control.fault(Fault::Malformed { share: 0.1 }).unwrap();
    for _ in 0..20 {
        control.step().unwrap();
    }
    control.fault(Fault::Drop).unwrap();
    let frames = listener.raw_frames();
    let good = frames
        .iter()
        .filter(|(_, _, line)| bluenova_console::parse(&String::from_utf8_lossy(line)).is_ok())
        .count();
    assert!(good * 10 > frames.len() * 8, "{good} of {}", frames.len());
}
