use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bluenova_http::HttpServer;
use bluenova_journal::{Journal, Retention};
use bluenova_record::{PackRecord, Text};
use bluenova_status::{BatteryStatus, CellBus, DeliveryStatus, Status, StorageStatus};
use bluenova_test_support::Answer;
use serde_json::Value;
use tempfile::TempDir;
use time::{UtcDateTime, macros::utc_datetime};

pub(crate) const NOW: UtcDateTime = utc_datetime!(2026-11-22 20:00:04.25);
pub(crate) const NORTH: u32 = 0x9F3C_07B2;
pub(crate) const SOUTH: u32 = 0x0000_0BAD;

/// A listener with a journal, whose status a test changes.
pub(crate) struct Listener {
    pub(crate) journal: Journal,
    status: Arc<Mutex<Status>>,
    server: HttpServer,
    _directory: TempDir,
}

impl Listener {
    /// Two batteries, both fresh, and rows that go on to a server.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.sqlite");
        let journal = Journal::open(&path, Retention::default()).unwrap();
        let instant = Instant::now();
        let mut delivery = DeliveryStatus::new("homeauto at localhost".into());
        (delivery.delivered, delivery.waiting, delivery.set_aside) = (7, 1, Some(0));
        let status = Arc::new(Mutex::new(Status {
            now: NOW,
            instant,
            // For so long that no first row is waited for any more.
            started: instant.checked_sub(Duration::from_secs(60)).unwrap(),
            interval: Duration::from_secs(10),
            batteries: vec![battery("north", NORTH, instant), battery("south", SOUTH, instant)],
            storage: StorageStatus { journal: path, ..StorageStatus::default() },
            delivery: Some(delivery),
        }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let shown = Arc::clone(&status);
        let server = bluenova_http::start(listener, move || shown.lock().unwrap().clone()).unwrap();
        Self { journal, status, server, _directory: directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Makes the newest row of a battery that many milliseconds old.
    pub(crate) fn set_age(&self, battery: usize, milliseconds: i64) {
        self.change(|status| {
            let newest = status.batteries[battery].newest.as_mut().unwrap();
            newest.record.insert_time_utc = NOW - time::Duration::milliseconds(milliseconds);
        });
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
    bluenova_test_support::get(address, target, Duration::from_secs(60))
}

/// The battery sends these values for three seconds, until now.
pub(crate) fn send_for_3_s(battery: &mut BatteryStatus, row: &PackRecord, now: Instant) {
    battery.row_known(row, now.checked_sub(Duration::from_secs(3)).unwrap());
    battery.row_known(row, now);
}

fn battery(name: &str, mcu_id: u32, now: Instant) -> BatteryStatus {
    let mut battery = BatteryStatus::new(name, format!("{name}.example:9000/ws/"));
    battery.connected();
    battery.row_known(&record(mcu_id), now);
    (battery.dials, battery.malformed_lines, battery.rows) = (3, 3, 4);
    battery.cell_bus = CellBus { bad_crc: 5, parse_fail: 6, bad_vcell: 7 };
    battery
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
