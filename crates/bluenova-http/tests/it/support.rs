use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use bluenova_http::{Battery, CellBus, Connection, Delivery, Latest, Server, Status, Storage};
use bluenova_journal::{Journal, Retention};
use bluenova_record::{PackRecord, Text};
use bluenova_test_support::Answer;
use serde_json::Value;
use tempfile::TempDir;
use time::{UtcDateTime, macros::utc_datetime};

pub(crate) const NOW: UtcDateTime = utc_datetime!(2026-11-22 20:00:04.25);
pub(crate) const NORTH: u32 = 0x9F3C_07B2;
pub(crate) const SOUTH: u32 = 0x0000_0BAD;

/// A listener with a journal, of which a test says what it knows.
pub(crate) struct Listener {
    pub(crate) journal: Journal,
    status: Arc<Mutex<Status>>,
    server: Server,
    _folder: TempDir,
}

impl Listener {
    /// Two batteries, both fresh, and rows that go on to a server.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite");
        let journal = Journal::open(&path, Retention::default()).unwrap();
        let status = Arc::new(Mutex::new(Status {
            now: NOW,
            interval: Duration::from_secs(10),
            batteries: vec![battery("north", NORTH), battery("south", SOUTH)],
            storage: Storage {
                journal: path,
                only_in_memory: 0,
                trouble: None,
                delivery: Some(Delivery {
                    server: "homeauto at localhost".into(),
                    delivered: 7,
                    waiting: 1,
                    trouble: None,
                    waiting_for: Duration::ZERO,
                }),
            },
        }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let known = Arc::clone(&status);
        let server = bluenova_http::start(listener, move || known.lock().unwrap().clone()).unwrap();
        Self { journal, status, server, _folder: folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap());
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        get(self.address(), target)
    }

    /// Status code and body.
    pub(crate) fn json(&self, target: &str) -> (u16, Value) {
        let answer = self.get(target);
        assert!(answer.head.contains("Content-Type: application/json"), "{}", answer.head);
        (answer.status, answer.json())
    }
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    bluenova_test_support::get(address, target, Duration::from_secs(10))
}

fn battery(name: &str, mcu_id: u32) -> Battery {
    Battery {
        name: name.into(),
        address: format!("{name}.example:9000/ws/"),
        connection: Connection::Up,
        redials: 2,
        malformed_lines: 3,
        rows: 4,
        cell_bus: CellBus { bad_crc: 5, parse_fail: 6, bad_vcell: 7 },
        latest: Some(Latest { record: record(mcu_id), age: Duration::from_millis(4_250) }),
    }
}

pub(crate) fn record(mcu_id: u32) -> PackRecord {
    let mut record = PackRecord::new(utc_datetime!(2026-11-22 20:00:00), mcu_id);
    record.v_pack = Some(53.017);
    record.i_pack = Some(-41.75);
    record.temp = Some(-3);
    record.soc = Some(63);
    record.health = Some(97.25);
    record.cell_v[0] = Some(3.311);
    record.cell_v[6] = Some(3.338);
    record.cell_v[15] = Some(3.293);
    record.cell_t[6] = Some(21);
    record.errors = Some(Text::new("NONE"));
    record.breaker = Some(Text::new("CLOSED"));
    record
}
