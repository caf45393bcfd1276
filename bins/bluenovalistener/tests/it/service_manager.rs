//! What the program sends to the service manager that started it, on a real socket.

use std::{os::unix::net::UnixDatagram, time::Instant};

use nix::sys::signal::Signal;

use crate::support::{Home, Listener, TIME_LIMIT, named, output, talking_battery};

/// The next message that isn't food for the watchdog.
#[track_caller]
fn next(socket: &UnixDatagram) -> String {
    let deadline = Instant::now() + TIME_LIMIT;
    while Instant::now() < deadline {
        let message = receive(socket);
        if message != "WATCHDOG=1" {
            return message;
        }
    }
    panic!("nothing but WATCHDOG=1 came");
}

#[track_caller]
fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1000];
    socket.set_read_timeout(Some(TIME_LIMIT)).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// Runs the program from READY to STOPPING.
fn reports(socket: &UnixDatagram, address: &str) {
    let (home, server) = (Home::new(), talking_battery(1));
    let battery = named("attic", server.local_addr());
    let mut command = home.command(&["-b", &battery, "-d", &home.sqlite("db"), "-i", "1"]);
    command.env("NOTIFY_SOCKET", address).env("WATCHDOG_USEC", "200000");
    let mut listener = Listener::start(command);
    assert_eq!(next(socket), "READY=1");
    for _ in 0..3 {
        assert_eq!(receive(socket), "WATCHDOG=1");
    }
    listener.wait_for("attic: stored");

    listener.signal(Signal::SIGHUP);
    let reloading = next(socket);
    let since_boot = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!(since_boot.parse::<u64>().unwrap() > 0);
    assert_eq!(next(socket), "READY=1");
    listener.stop();
    assert_eq!(next(socket), "STOPPING=1");
}

#[test]
fn start_reload_and_end_are_reported_at_a_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    reports(&UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn start_reload_and_end_are_reported_at_an_abstract_address() {
    use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};

    let name = format!("bluenova-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    reports(&UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
}

#[test]
fn a_program_that_can_not_start_reports_nothing() {
    let (home, directory) = (Home::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let command = || {
        let mut command = home.command(&["-d", &home.sqlite("db"), "-b", "127.0.0.1:1"]);
        command.env("NOTIFY_SOCKET", &path);
        command
    };
    let first = Listener::start(command());
    assert_eq!(next(&socket), "READY=1");
    // The file is in use.
    assert!(!output(command()).status.success());
    first.stop();
    assert_eq!(next(&socket), "STOPPING=1", "all came from the first");
}

#[test]
fn a_socket_that_is_not_there_holds_up_nothing() {
    let (home, server) = (Home::new(), talking_battery(1));
    let battery = named("attic", server.local_addr());
    let mut command = home.command(&["-b", &battery, "-d", &home.sqlite("db"), "-i", "1"]);
    command.env("NOTIFY_SOCKET", home.path("none")).env("WATCHDOG_USEC", "200000");
    let mut listener = Listener::start(command);
    listener.wait_for("\"READY=1\" can't be sent to $NOTIFY_SOCKET: ");
    listener.wait_for("attic: stored");
    listener.stop();
}
