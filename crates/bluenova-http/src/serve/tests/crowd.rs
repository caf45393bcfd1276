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
    Client, HttpServer, LARGE, Limits, MINUTE, Response, assert_due, client::Answer, pages, serve,
    serve_with, unhurried, wait_for_threads,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// 300 slow clients of three kinds, each of which connects again at once when it was closed. No
/// other limit than that of the connections ends any of them.
#[test]
fn slow_clients_do_not_keep_others_out() {
    let server = serve(unhurried());
    let over = AtomicBool::new(false);
    let closed = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (server, over, closed) = (&server, &over, &closed);
        for kind in 0..6 {
            scope.spawn(move || slow_clients(server, kind, over, closed));
        }
        let _end = End(over);
        let started = Instant::now();
        while closed.load(Ordering::Relaxed) < 50 {
            assert!(started.elapsed() < MINUTE, "no client was closed");
            thread::sleep(Duration::from_millis(1));
        }
        let mut longest = Duration::ZERO;
        for _ in 0..3 {
            let started = Instant::now();
            let answer = persist(server, started);
            longest = longest.max(started.elapsed());
            assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
        }
        println!("the longest wait was {longest:?}");
        assert!(longest < MINUTE, "{longest:?}");
    });
    wait_for_threads(&server, 0);
}

/// Asks again when the connection is closed: if this machine is so busy that a thread doesn't run
/// for the time of grace, its client looks slow.
pub(super) fn persist(server: &HttpServer, started: Instant) -> Answer {
    loop {
        let mut client = Client::connect(server);
        match client.try_send(GET).and_then(|()| client.try_answer(true)) {
            Ok(Some(answer)) => return answer,
            failed => assert!(started.elapsed() < MINUTE, "{failed:?}"),
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

/// 50 clients that send nothing, or their requests byte by byte, or don't take their responses.
fn slow_clients(server: &HttpServer, kind: usize, over: &AtomicBool, closed: &AtomicUsize) {
    let request = |kind: usize| match kind % 3 {
        0 => "",
        1 => "GET / HTTP/1.1\r\nHost: h\r\nX: ",
        _ => "GET /large HTTP/1.1\r\nHost: h\r\n\r\n",
    };
    let mut clients: Vec<Option<TcpStream>> = (0..50).map(|_| None).collect();
    while !over.load(Ordering::Relaxed) {
        for client in &mut clients {
            let alive = client.as_mut().is_some_and(|stream| drip(stream, kind));
            if !alive && !over.load(Ordering::Relaxed) {
                closed.fetch_add(usize::from(client.is_some()), Ordering::Relaxed);
                *client = dial(server, request(kind));
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn dial(server: &HttpServer, request: &str) -> Option<TcpStream> {
    let mut client = Client::try_connect(server).ok()?;
    client.try_send(request).ok()?;
    client.stream.set_nonblocking(true).ok()?;
    Some(client.stream)
}

/// Whether the client is still connected.
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
fn clients_that_never_pause_do_not_keep_others_out() {
    let server = serve(Limits { connections: 2, ..unhurried() });
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (server, over) = (&server, &over);
        let _end = End(over);
        let (begun, begins) = mpsc::channel();
        for _ in 0..2 {
            let begun = begun.clone();
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut client = Client::connect(server);
                    while client.try_send(GET).is_ok()
                        && let Ok(Some(_)) = client.try_answer(true)
                        && !over.load(Ordering::Relaxed)
                    {
                        _ = begun.send(());
                    }
                }
            });
        }
        for _ in 0..10 {
            begins.recv_timeout(MINUTE).unwrap();
        }
        let started = Instant::now();
        while persist(server, started).status != 200 {
            assert!(started.elapsed() < MINUTE, "all answers were refusals");
        }
    });
}

#[test]
fn the_one_that_waited_longest_is_closed_for_a_new_one_after_its_grace() {
    let grace = Duration::from_millis(300);
    let server = serve(Limits { connections: 2, grace, ..unhurried() });
    let started = Instant::now();
    let mut oldest = Client::connect(&server);
    assert_eq!(oldest.get("/").status, 200);
    let mut idle = Client::connect(&server);
    assert_eq!(idle.get("/").status, 200);

    let mut newest = Client::connect(&server);
    assert_eq!(newest.get("/").status, 200);
    assert_due(started, grace);
    oldest.assert_closed();
    assert_eq!(idle.get("/").status, 200, "it had not waited as long");
}

#[test]
fn responses_that_nobody_takes_do_not_pile_up() {
    let server = serve(Limits { response_bytes: 2 * LARGE.len() + 100, ..unhurried() });
    let slow = || {
        let mut client = Client::connect(&server);
        client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
        // The response has begun.
        client.stream.peek(&mut [0]).unwrap();
        client
    };
    let mut first = slow();
    let mut others = [slow(), slow()];
    // The first one was closed for the third one, and there is room for small responses.
    assert!(first.drain().len() < LARGE.len());
    assert_eq!(Client::connect(&server).get("/").status, 200);
    assert!(others.iter_mut().all(|client| client.answer().body == *LARGE));
    // Responses that were taken don't count any more.
    assert_eq!(others[0].get("/large").body, *LARGE);
    assert_eq!(others[1].get("/large").body, *LARGE);
}

#[test]
fn a_single_response_may_be_beyond_the_bound() {
    let server = serve(Limits { response_bytes: 1, ..unhurried() });
    assert_eq!(Client::connect(&server).get("/large").body, *LARGE);
}

#[test]
fn the_end_of_a_connection_makes_room_at_once() {
    let server = serve(Limits { connections: 1, grace: 2 * MINUTE, ..unhurried() });
    let first = Client::connect(&server);
    wait_for_threads(&server, 1);
    let mut second = Client::connect(&server);
    second.send(GET);
    drop(first);
    assert_eq!(second.answer().status, 200);
}

#[test]
fn others_are_refused_while_all_answers_are_being_prepared() {
    let (started, starts) = mpsc::channel();
    let (release, hold) = mpsc::channel::<()>();
    let hold = Mutex::new(hold);
    let server = serve_with(Limits { connections: 2, ..unhurried() }, move |request| {
        if request.path == "/slow" {
            started.send(()).unwrap();
            _ = hold.lock().unwrap().recv();
        }
        pages(request)
    });
    let mut busy = [Client::connect(&server), Client::connect(&server)];
    for client in &mut busy {
        client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
        starts.recv_timeout(MINUTE).unwrap();
    }
    let mut refused = Client::connect(&server);
    refused.send(GET);
    let answer = refused.answer();
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    refused.assert_closed();

    // Clients that don't close when they are refused hold up nothing.
    let mut crowd: Vec<_> = (0..100).map(|_| Client::connect(&server)).collect();
    assert!(crowd.iter_mut().all(|client| client.drain().len() < 1000));

    drop(release);
    for client in &mut busy {
        assert_eq!(client.answer().body, b"/slow []", "those that came first get their answers");
    }
    drop(busy);
    wait_for_threads(&server, 0);
    assert_eq!(Client::connect(&server).get("/").status, 200);
}

#[test]
fn a_panic_costs_its_own_connection() {
    let server = serve(unhurried());
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
    let server = serve_with(unhurried(), move |_| {
        together.wait();
        Response::plain(200)
    });
    let mut clients: Vec<_> = (0..32).map(|_| Client::connect(&server)).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    assert!(clients.iter_mut().all(|client| client.answer().status == 200));
}
