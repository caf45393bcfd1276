use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Client, LARGE, Limits, PATIENCE, Response, SLACK, Server, assert_due, client::Answer, pages,
    serve, serve_with, wait_for_threads,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// 300 slow clients of three kinds, each of them back at once when it was thrown out.
#[test]
fn slow_clients_do_not_keep_others_out() {
    let server = serve(Limits::default());
    let over = AtomicBool::new(false);
    let thrown_out = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (server, over, thrown_out) = (&server, &over, &thrown_out);
        for first in 0..6 {
            scope.spawn(move || slow_clients(server, first, over, thrown_out));
        }
        let _end = End(over);
        let started = Instant::now();
        while thrown_out.load(Ordering::Relaxed) < 50 {
            assert!(started.elapsed() < PATIENCE, "nobody was thrown out");
            thread::sleep(Duration::from_millis(1));
        }
        let mut longest = Duration::ZERO;
        for _ in 0..3 {
            let started = Instant::now();
            let answer = persist(server, started);
            longest = longest.max(started.elapsed());
            assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
        }
        println!("the longest anybody waited was {longest:?}");
        assert!(longest < PATIENCE, "{longest:?}");
    });
    wait_for_threads(&server, 0);
}

/// Asks again when the connection breaks: if this machine is so busy that a thread doesn't run for
/// as long as a client is spared, that client looks slow.
fn persist(server: &Server, started: Instant) -> Answer {
    loop {
        let mut client = Client::connect(server);
        match client.try_send(GET).and_then(|()| client.try_answer(true)) {
            Ok(Some(answer)) => return answer,
            failed => assert!(started.elapsed() < PATIENCE, "{failed:?}"),
        }
    }
}

/// Ends the slow clients when the test has ended, or failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// 50 clients that say nothing, or their requests byte by byte, or don't take their answers.
fn slow_clients(server: &Server, kind: usize, over: &AtomicBool, thrown_out: &AtomicUsize) {
    let says = |kind: usize| match kind % 3 {
        0 => "",
        1 => "GET / HTTP/1.1\r\nHost: h\r\nX: ",
        _ => "GET /large HTTP/1.1\r\nHost: h\r\n\r\n",
    };
    let mut clients: Vec<Option<TcpStream>> = (0..50).map(|_| None).collect();
    while !over.load(Ordering::Relaxed) {
        for client in &mut clients {
            let alive = client.as_mut().is_some_and(|stream| drip(stream, kind));
            if !alive && !over.load(Ordering::Relaxed) {
                thrown_out.fetch_add(usize::from(client.is_some()), Ordering::Relaxed);
                *client = dial(server, says(kind));
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn dial(server: &Server, says: &str) -> Option<TcpStream> {
    let mut client = Client::try_connect(server).ok()?;
    client.try_send(says).ok()?;
    client.stream.set_nonblocking(true).ok()?;
    Some(client.stream)
}

/// Whether it's still connected.
fn drip(stream: &mut TcpStream, kind: usize) -> bool {
    if kind % 3 == 1 && stream.write(b"x").is_err() {
        return false;
    }
    match stream.peek(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

#[test]
fn who_waited_longest_makes_room_when_it_is_no_longer_spared() {
    let spared = Duration::from_millis(300);
    let server = serve(Limits { connections: 2, spared, ..Limits::default() });
    let started = Instant::now();
    let mut oldest = Client::connect(&server);
    assert_eq!(oldest.get("/").status, 200);
    let mut idle = Client::connect(&server);
    assert_eq!(idle.get("/").status, 200);

    let mut newest = Client::connect(&server);
    assert_eq!(newest.get("/").status, 200);
    assert_due(started, spared);
    oldest.assert_closed();
    assert_eq!(idle.get("/").status, 200, "it had not waited as long");
}

#[test]
fn answers_that_nobody_takes_do_not_pile_up() {
    let server = serve(Limits { answers: 2 * LARGE.len() + 100, ..Limits::default() });
    let slow = || {
        let mut client = Client::connect(&server);
        client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
        // It has come to the answer.
        client.stream.peek(&mut [0]).unwrap();
        client
    };
    let mut first = slow();
    let mut others = [slow(), slow()];
    // Whoever kept it waiting the longest went for the third, and small answers find room.
    assert!(first.drain().len() < LARGE.len());
    assert_eq!(Client::connect(&server).get("/").status, 200);
    assert!(others.iter_mut().all(|client| client.answer().body == *LARGE));
    // What was taken counts no more.
    assert_eq!(others[0].get("/large").body, *LARGE);
    assert_eq!(others[1].get("/large").body, *LARGE);
}

/// A single one may be larger than that.
#[test]
fn an_answer_beyond_the_bound_is_given() {
    let server = serve(Limits { answers: 1, ..Limits::default() });
    assert_eq!(Client::connect(&server).get("/large").body, *LARGE);
}

#[test]
fn a_place_that_becomes_free_is_taken_at_once() {
    let spared = PATIENCE * 2;
    let server = serve(Limits { connections: 1, spared, ..Limits::default() });
    let first = Client::connect(&server);
    wait_for_threads(&server, 1);
    let mut second = Client::connect(&server);
    second.send(GET);
    drop(first);
    assert_eq!(second.answer().status, 200);
}

#[test]
fn while_all_are_at_work_others_are_told_to_come_again() {
    let (started, starts) = mpsc::channel();
    let (release, hold) = mpsc::channel::<()>();
    let hold = Mutex::new(hold);
    let server = serve_with(Limits { connections: 2, ..Limits::default() }, move |request| {
        if request.path == "/slow" {
            started.send(()).unwrap();
            _ = hold.lock().unwrap().recv();
        }
        pages(request)
    });
    let mut busy = [Client::connect(&server), Client::connect(&server)];
    for client in &mut busy {
        client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
        starts.recv_timeout(PATIENCE).unwrap();
    }
    let asked = Instant::now();
    let mut refused = Client::connect(&server);
    refused.send(GET);
    let answer = refused.answer();
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    refused.assert_closed();
    assert!(asked.elapsed() < SLACK);

    // Who doesn't go away when told so is not answered for ever either.
    let mut crowd: Vec<_> = (0..100).map(|_| Client::connect(&server)).collect();
    assert!(crowd.iter_mut().all(|client| client.drain().len() < 1000));

    drop(release);
    for client in &mut busy {
        assert_eq!(client.answer().body, b"/slow []", "they were not disturbed");
    }
    drop(busy);
    wait_for_threads(&server, 0);
    assert_eq!(Client::connect(&server).get("/").status, 200);
}

#[test]
fn a_panic_costs_its_own_connection() {
    let server = serve(Limits::default());
    let mut other = Client::connect(&server);
    other.get("/");
    for _ in 0..100 {
        let mut client = Client::connect(&server);
        client.send(format!("GET /panic HTTP/1.1\r\nHost: h\r\n\r\n{GET}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("Connection")), (500, Some("close")));
        client.assert_closed();
    }
    assert_eq!(other.get("/").status, 200);
    drop(other);
    wait_for_threads(&server, 0);
}

#[test]
fn many_clients_are_answered_at_a_time() {
    let together = Barrier::new(32);
    let server = serve_with(Limits::default(), move |_| {
        together.wait();
        Response::plain(200)
    });
    let mut clients: Vec<_> = (0..32).map(|_| Client::connect(&server)).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    assert!(clients.iter_mut().all(|client| client.answer().status == 200));
}
