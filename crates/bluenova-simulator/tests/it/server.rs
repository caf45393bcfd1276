use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use bluenova_console::{Line, parse};
use bluenova_simulator::{Error, Event, Message, Pace, Server, serve_pair};
use bluenova_test_support::{TIME_LIMIT, wait_until};
use time::UtcDateTime;

use crate::{Listener, battery, loopback, served};

#[test]
fn a_step_sends_one_cycle_and_returns_its_values() {
    let (server, control, mut listener) = served(Pace::Lockstep);
    let said = control.step().unwrap();
    server.stop();
    let lines = listener.lines_to_the_end();
    assert!((42..=50).contains(&lines.len()), "{}", lines.len());
    assert!(lines.iter().all(|line| line.ends_with("\r\n")));
    let parsed: Vec<Line<'_>> = lines.iter().map(|line| parse(line).unwrap()).collect();
    assert!(parsed.contains(&Line::McuId(said.mcu_id)));
    assert!(parsed.contains(&Line::PackVoltage(said.v_pack)));
    assert!(parsed.contains(&Line::PackCurrent(said.i_pack)));
    assert!(parsed.contains(&Line::EnergyWritten(said.energy_in.unwrap())));
}

#[test]
fn all_clients_hear_the_same() {
    let (server, control, first) = served(Pace::Lockstep);
    let second = Listener::connect(&control);
    control.wait_for_clients(2, TIME_LIMIT).unwrap();
    for _ in 0..5 {
        control.step().unwrap();
    }
    server.stop();
    let [first, second] = [first, second].map(|mut listener| listener.lines_to_the_end());
    assert!(first.len() > 200);
    assert_eq!(first, second);
}

#[test]
fn lines_come_one_by_one_as_from_a_serial_console() {
    let start = Instant::now();
    let (_server, _control, mut listener) = served(Pace::Free { speed: 4.0 });
    for _ in 0..90 {
        listener.line();
    }
    // Two cycles at four a second.
    assert!(start.elapsed() > Duration::from_millis(400), "{:?}", start.elapsed());

    // Bursts of whole cycles would have two pauses at most among so many lines.
    let pauses = |listener: &mut Listener| {
        let mut pauses = 0;
        for _ in 0..45 {
            let asked = Instant::now();
            listener.line();
            pauses += usize::from(asked.elapsed() > Duration::from_millis(1));
        }
        pauses
    };
    wait_until("lines come in many parts", TIME_LIMIT, || pauses(&mut listener) > 10);
}

#[test]
fn speed_makes_cycles_and_the_day_faster() {
    let (_server, _control, mut listener) = served(Pace::Free { speed: 200.0 });
    let start = Instant::now();
    let mut energies = 0;
    while energies < 3 {
        energies += usize::from(listener.line().starts_with("DEBUG: CALC PACK_CHARGE"));
    }
    // Once a minute in the model: three of them would take two minutes at normal speed.
    assert!(start.elapsed() < TIME_LIMIT, "{:?}", start.elapsed());
}

#[test]
fn pings_are_answered() {
    let (_server, _control, mut listener) = served(Pace::Lockstep);
    listener.ping("are you there?");
    let pong = listener.within(TIME_LIMIT);
    assert_eq!(pong, Some(tungstenite::Message::Pong("are you there?".into())));
}

#[test]
fn a_slow_client_blocks_neither_the_others_nor_the_end() {
    let (server, control, mut quick) = served(Pace::Lockstep);
    let _slow = Listener::connect(&control);
    control.wait_for_clients(2, TIME_LIMIT).unwrap();
    let much = vec![b'x'; 1 << 20];
    for _ in 0..16 {
        control.send(Message::Text(much.clone())).unwrap();
        assert_eq!(quick.line().len(), much.len());
    }
    let said = control.step().unwrap();
    while parse(&quick.line()) != Ok(Line::StateOfCharge(said.soc)) {}
    assert_eq!(control.clients().unwrap(), 2);
    server.stop();
}

#[test]
fn clients_that_come_and_go_are_events() {
    let server = Server::bind(loopback(), battery(1), Pace::Lockstep).unwrap();
    let control = server.control();
    let events = control.events().unwrap();
    let mut listener = Listener::connect(&control);
    let peer = listener.0.get_ref().local_addr().unwrap();
    assert_eq!(events.recv_timeout(TIME_LIMIT), Ok(Event::Connected { peer }));
    control.send(Message::Text(b"hello".into())).unwrap();
    assert_eq!(listener.line(), "hello");
    listener.0.close(None).unwrap();
    assert!(matches!(listener.message(), Ok(tungstenite::Message::Close(_))));
    assert_eq!(events.recv_timeout(TIME_LIMIT), Ok(Event::Disconnected { peer, lines: 1 }));
    control.wait_for_clients(0, TIME_LIMIT).unwrap();
    assert!(matches!(
        control.wait_for_clients(1, Duration::from_millis(20)),
        Err(Error::Clients { expected: 1, .. })
    ));
}

#[test]
fn any_message_can_be_sent() {
    let (_server, control, mut listener) = served(Pace::Lockstep);
    control.send(Message::Binary(vec![0, 255])).unwrap();
    control.send(Message::Fragments(vec![b"SO".into(), vec![], b"C: 63".into()])).unwrap();
    control.send(Message::Raw(b"\x81\x03raw".into())).unwrap();
    control.send(Message::Ping(b"ping".into())).unwrap();
    control.send(Message::Text(vec![b'V', 0xFF])).unwrap();
    assert_eq!(listener.message().unwrap(), tungstenite::Message::Binary(vec![0, 255].into()));
    assert_eq!(listener.line(), "SOC: 63");
    assert_eq!(listener.line(), "raw");
    assert_eq!(listener.message().unwrap(), tungstenite::Message::Ping("ping".into()));
    assert!(matches!(listener.message(), Err(tungstenite::Error::Utf8(_))));
}

#[test]
fn one_thread_serves_many_batteries() {
    let (mut server, first, mut listener) = served(Pace::Lockstep);
    let second = server.add(loopback(), battery(2), Pace::Lockstep).unwrap();
    let mut other = Listener::connect(&second);
    second.wait_for_clients(1, TIME_LIMIT).unwrap();
    let said = [first.step().unwrap(), second.step().unwrap()];
    assert_ne!(said[0].mcu_id, said[1].mcu_id);
    server.stop();
    for (listener, said) in [&mut listener, &mut other].into_iter().zip(said) {
        let lines = listener.lines_to_the_end();
        assert!(lines.iter().any(|line| parse(line) == Ok(Line::McuId(said.mcu_id))));
    }
}

#[test]
fn a_pair_is_two_batteries_of_one_bank() {
    let (server, addresses) =
        serve_pair(UtcDateTime::UNIX_EPOCH, Pace::Free { speed: 20.0 }).unwrap();
    assert_eq!(server.local_addr(), addresses[0]);
    let printed = addresses.map(|address| {
        let mut listener = Listener::connect_to(address);
        let mut lines = std::iter::repeat_with(|| listener.line());
        let mut next = |prefix| lines.find(|line| line.starts_with(prefix)).unwrap();
        let id = next("MCU ID: ");
        assert!(next("--- PO PARAMS --- ").starts_with("--- PO PARAMS --- (i=2"));
        (id, next("after assignRank() --> "))
    });
    assert_ne!(printed[0].0, printed[1].0);
    let ranks = printed.map(|(_, rank)| rank);
    assert_eq!(ranks, [1, 2].map(|n| format!("after assignRank() --> own rank = {n}\r\n")));
}

fn answer_to(server: &Server, request: &str) -> String {
    let mut tcp = TcpStream::connect(server.local_addr()).unwrap();
    tcp.set_read_timeout(Some(TIME_LIMIT)).unwrap();
    // In two pieces, as networks may.
    let (start, rest) = request.as_bytes().split_at(request.len() / 2);
    tcp.write_all(start).unwrap();
    tcp.flush().unwrap();
    tcp.write_all(rest).unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_no_console_is_answered_as_the_web_has_it() {
    let server = Server::bind(loopback(), battery(1), Pace::Lockstep).unwrap();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"),
        ("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
        ("GET /ws/x HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
        ("GET /ws/ HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request"),
        ("POST /ws/ HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request"),
        ("no HTTP \0 at all\r\n\r\n", "400 Bad Request"),
    ] {
        let answer = answer_to(&server, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {answer}");
    }
    let tcp = TcpStream::connect(server.local_addr()).unwrap();
    let url = format!("ws://{}/other", server.local_addr());
    let refused = tungstenite::client(url, tcp).unwrap_err();
    assert!(refused.to_string().contains("404"), "{refused}");
    assert_eq!(server.control().clients().unwrap(), 0);
}

#[test]
fn errors_name_what_is_wrong() {
    let (server, control, _listener) = served(Pace::Lockstep);
    let taken = Server::bind(server.local_addr(), battery(1), Pace::Lockstep).unwrap_err();
    assert!(taken.to_string().contains(&server.local_addr().to_string()), "{taken}");
    assert!(std::error::Error::source(&taken).is_some());
    for speed in [0.0, -1.0, 10_001.0, f64::NAN, f64::INFINITY] {
        let wrong = Server::bind(loopback(), battery(1), Pace::Free { speed }).unwrap_err();
        assert!(matches!(wrong, Error::Speed { .. }), "{wrong}");
    }
    server.stop();
    assert!(matches!(control.step(), Err(Error::Stopped { .. })));
    assert!(matches!(control.clients(), Err(Error::Stopped { .. })));
}
