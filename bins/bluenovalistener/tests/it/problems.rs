//! Each fault that a simulated battery may have, and the problem that is found from it.

use std::time::{Duration, Instant};

use bluenova_console::{Assembler, Interval};
use bluenova_simulator::{Battery, Fault, Profile};
use bluenova_status::{BatteryStatus, LiveStatus, Shared, StorageStatus};
use bluenova_test_support::wait_until;
use time::UtcDateTime;

use crate::support::{Home, TIME_LIMIT, get, named, talking_battery};

/// Those that a battery may have by itself. Each has the name of the problem.
const FAULTS: [Fault; 5] =
    [Fault::Errors, Fault::Breaker, Fault::LowCharge, Fault::Frost, Fault::CellSpread];

const SECOND: Duration = Duration::from_secs(1);

/// The longest time that values have to be beyond a limit, and some more.
const LONG_ENOUGH: u32 = 310;

/// A battery, and what a listener says of it that stores a row each second, of the model's time.
struct Listened {
    battery: Battery,
    assembler: Assembler,
    status: BatteryStatus,
    started: Instant,
    now: Instant,
}

impl Listened {
    /// `hours` after midnight, in which sun and household make the most of a day.
    fn at(hours: u32) -> Self {
        let start = UtcDateTime::UNIX_EPOCH + SECOND * 3600 * hours;
        let battery = Battery::new(Profile::new(1, start));
        let assembler = Assembler::new(Interval::from_seconds(1).unwrap());
        let status = BatteryStatus::new("attic", "10.0.0.2:9000/ws/");
        let now = Instant::now();
        Self { battery, assembler, status, started: now, now }
    }

    /// Lets seconds pass; the names of the problems at their end.
    fn problems_after(&mut self, seconds: u32) -> Vec<&'static str> {
        let mut console = String::new();
        for _ in 0..seconds {
            console.clear();
            self.battery.print_cycle(&mut console);
            for line in console.lines() {
                self.assembler.feed(line).unwrap();
            }
            self.battery.advance(SECOND);
            self.now += SECOND;
            if let Some(Ok(row)) = self.assembler.tick(self.battery.time()) {
                self.status.row_stored(&row, self.now);
            }
        }
        let status = LiveStatus {
            started: self.started,
            interval: SECOND,
            batteries: Shared::new(vec![Shared::new(self.status.clone())]),
            storage: Shared::new(StorageStatus::default()),
            delivery: None,
        };
        let status = status.snapshot(self.battery.time(), self.now);
        status.problem_details().iter().map(|problem| problem.name).collect()
    }
}

#[test]
fn each_fault_of_a_battery_is_a_problem_of_its_name_until_it_is_healthy() {
    for hours in [0, 7, 12, 19] {
        for fault in FAULTS {
            let mut listened = Listened::at(hours);
            assert_eq!(listened.problems_after(10), [""; 0], "{hours} h");
            listened.battery.suffer(fault);
            let found = listened.problems_after(LONG_ENOUGH);
            assert_eq!(found, [fault.to_string()], "{hours} h");
            listened.battery.suffer(Fault::Healthy);
            assert_eq!(listened.problems_after(10), [""; 0], "{hours} h, {fault}");
        }
    }
}

#[test]
fn faults_of_a_battery_add_up() {
    let mut listened = Listened::at(12);
    for fault in [Fault::Errors, Fault::LowCharge, Fault::Frost, Fault::Silence, Fault::LowCharge] {
        listened.battery.suffer(fault);
    }
    let mut found = listened.problems_after(10);
    found.sort_unstable();
    assert_eq!(found, ["errors", "frost", "low-charge"]);
    listened.battery.suffer(Fault::Healthy);
    assert_eq!(listened.problems_after(10), [""; 0]);
}

/// The one whose values must be beyond the limit for minutes is left to the test above.
#[test]
fn a_listener_finds_them_in_what_it_is_sent() {
    let faults = &FAULTS[..4];
    let numbers = [1, 2, 3, 4];
    let servers = numbers.map(talking_battery);
    let home = Home::new();
    let addresses: Vec<_> = servers.iter().zip(faults).collect();
    let addresses: Vec<_> = addresses
        .iter()
        .map(|(server, fault)| named(&fault.to_string(), server.local_addr()))
        .collect();
    let database = home.sqlite("db");
    let mut args = vec!["-d", &database, "-i", "1", "--http", "127.0.0.1:0"];
    args.extend(addresses.iter().flat_map(|address| ["-b", address]));
    let mut listener = home.listen(&args);
    let page = super::page::address(&listener.wait_for("page at "));
    for (server, fault) in servers.iter().zip(faults) {
        server.control().fault(*fault).unwrap();
    }
    for fault in faults {
        let (name, what) = (fault.to_string(), format!("{fault} is found"));
        wait_until(&what, TIME_LIMIT, || {
            let found = get(page, "/api/batteries").json()["problem_details"].clone();
            let found = found.as_array().unwrap().clone();
            found.iter().any(|it| it["name"] == *name && it["names"][0] == *name)
        });
    }
    listener.stop();
}
