//! From the console of two batteries to the columns of PostgreSQL's table.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use bluenova_simulator::{Control, Fault, Message, Snapshot};
use bluenova_test_support::wait_until;
use time::{Duration, UtcDateTime};

use crate::{
    rows::{Cell, Row, empty_row, number, postgres_rows, said, same_row, sqlite_rows, stamp},
    support::{
        Home, Listener, TIME_LIMIT, battery, loopback, named, obedient_battery, shared_cluster,
        stored, text, young_second,
    },
};

/// A battery, and the rows that there should be of it.
struct TestBattery {
    name: &'static str,
    control: Control,
    mcu_id: i64,
    connected: bool,
    /// Energy in and out, as sent on this connection.
    energy: [Cell; 2],
    expected: BTreeMap<String, Row>,
}

impl TestBattery {
    fn new(name: &'static str, control: Control, seed: u64) -> Self {
        let mcu_id = battery(seed).profile().mcu_id.into();
        let energy = [Cell::Null, Cell::Null];
        Self { name, control, mcu_id, connected: true, energy, expected: BTreeMap::new() }
    }

    /// Says cycles, and then single lines. Gives the row that is to come of the cycles.
    fn say(&mut self, cycles: usize, lines: &[&str]) -> Row {
        let cycles: Vec<Snapshot> = (0..cycles).map(|_| self.control.step().unwrap()).collect();
        for line in lines {
            self.control.send(Message::Text(line.as_bytes().to_vec())).unwrap();
        }
        for cycle in cycles.iter().filter(|_| self.connected) {
            if let (Some(charged), Some(discharged)) = (cycle.energy_in, cycle.energy_out) {
                self.energy = [number(charged), number(discharged)];
            }
        }
        let mut row = if cycles.is_empty() { empty_row() } else { said(&cycles) };
        let [charged, discharged] = self.energy.clone();
        row.insert("energy_in".to_owned(), charged);
        row.insert("energy_out".to_owned(), discharged);
        row
    }
}

struct Scene {
    listener: Listener,
    batteries: [TestBattery; 2],
    /// Seconds in which the machine was too slow, so that any values may be in their rows.
    spoiled: BTreeSet<String>,
    /// The end of the second in which they spoke last.
    end: UtcDateTime,
    sentences: u32,
}

impl Scene {
    /// Lets both batteries speak within one second of the clock. `adjust` makes of the row of the
    /// cycles what `lines` make of it.
    #[track_caller]
    fn say(&mut self, cycles: usize, lines: &[&str], adjust: fn(&mut Row)) {
        let deadline = Instant::now() + TIME_LIMIT;
        while Instant::now() < deadline {
            let end = young_second(self.end);
            self.end = end;
            self.sentences += 1;
            let sentence = format!("end of sentence {}.", self.sentences);
            let lines: Vec<&str> = lines.iter().copied().chain([sentence.as_str()]).collect();
            let rows = self.batteries.each_mut().map(|battery| {
                let mut row = battery.say(cycles, &lines);
                adjust(&mut row);
                row
            });
            for battery in self.batteries.iter().filter(|battery| battery.connected) {
                self.listener.wait_until_said(&format!("{}: RX: {sentence}", battery.name));
            }
            // What has arrived by now has arrived in this second.
            if UtcDateTime::now() < end {
                for (battery, row) in self.batteries.iter_mut().zip(rows) {
                    if battery.connected && row != empty_row() {
                        battery.expected.insert(stamp(end), row);
                    }
                }
                return;
            }
            self.spoil();
        }
        panic!("this machine is too slow to say and hear {cycles} cycles in a second");
    }

    /// Lets a minute pass in the model, and a cycle more, so that there are new energies. It takes
    /// several seconds of the clock, each with a row, since this machine may be busy.
    #[track_caller]
    fn say_a_minute(&mut self) {
        for cycles in [20, 20, 20, 1] {
            self.say(cycles, &[], nothing_else);
        }
    }

    /// This second, and all up to the present one.
    fn spoil(&mut self) {
        let now = UtcDateTime::now();
        self.spoiled.insert(stamp(self.end));
        while self.end < now {
            self.end += Duration::SECOND;
            self.spoiled.insert(stamp(self.end));
        }
    }
}

fn nothing_else(_: &mut Row) {}

fn count_more(row: &mut Row, name: &str, more: i64) {
    let Some(Cell::Int(count)) = row.get_mut(name) else { panic!("{name} is no counter") };
    *count += more;
}

#[test]
fn rows_are_what_two_batteries_said_one_of_them_redialled() {
    let cluster = shared_cluster();
    cluster.create_database("end_to_end");
    let mut server = obedient_battery(1);
    let south = server.add(loopback(), battery(9), bluenova_simulator::Pace::Lockstep).unwrap();
    let north = server.control();
    let home = Home::new();
    let url = cluster.url("end_to_end");
    let [at_north, at_south] =
        [named("north", north.local_addr()), named("south", south.local_addr())];
    let listener = home.listen(&["-b", &at_north, "-b", &at_south, "-d", &url, "-i", "1", "-r"]);
    north.wait_for_clients(1, TIME_LIMIT).unwrap();
    south.wait_for_clients(1, TIME_LIMIT).unwrap();
    let batteries =
        [TestBattery::new("north", north, 1), TestBattery::new("south", south.clone(), 9)];
    let mut scene = Scene {
        listener,
        batteries,
        spoiled: BTreeSet::new(),
        end: UtcDateTime::UNIX_EPOCH,
        sentences: 0,
    };

    // The first cycle has the energies, the next ones keep them.
    scene.say(1, &[], nothing_else);
    scene.say(1, &[], nothing_else);
    scene.say(2, &["INFO: BAD CRC on a wire", "INFO: BAD CRC", "DEBUG: REJECT BAD x"], |row| {
        count_more(row, "bad_crc", 2);
        count_more(row, "bad_vcell", 1);
    });
    // Counters start over, and what wasn't said isn't known.
    scene.say(0, &["SOC: 42"], |row| {
        row.insert("soc".to_owned(), Cell::Int(42));
    });
    scene.say(0, &["INFO: cellcomms parse FAIL at byte 3"], |row| {
        count_more(row, "parse_fail", 1);
    });

    // A minute in the model: new energies. What was said before the end of a connection counts, and
    // it has to be in the same second.
    scene.say(61, &[], nothing_else);
    south.fault(Fault::Drop).unwrap();
    scene.listener.wait_until_said("south: connection lost");
    scene.batteries[1].connected = false;
    scene.batteries[1].energy = [Cell::Null, Cell::Null];
    scene.listener.wait_until_said("south: connected to ws://127.0.0.1:");
    south.wait_for_clients(1, TIME_LIMIT).unwrap();
    scene.batteries[1].connected = true;

    // Energies of an old connection must not look fresh.
    scene.say(1, &[], nothing_else);
    scene.say(1, &[], nothing_else);
    scene.say_a_minute();
    scene.say(1, &[], nothing_else);

    check(scene, &mut cluster.client("end_to_end"));
}

fn check(mut scene: Scene, client: &mut postgres::Client) {
    let [north, south] = scene.batteries.each_ref().map(|battery| &battery.expected);
    assert!(north.len() == 13 && south.len() == 13, "{} and {}", north.len(), south.len());
    // The energies came, stayed, went with the connection and came again.
    let energies: Vec<bool> = south.values().map(|row| row["energy_in"] != Cell::Null).collect();
    let unknown = energies.iter().filter(|known| !**known).count();
    // Seconds in which the machine was too slow have brought them earlier.
    assert!((2..=4).contains(&unknown), "{energies:?}");
    assert_eq!(energies.last(), Some(&true));

    let latest = north.keys().max().unwrap().clone();
    scene.listener.wait_until_said(&format!("north: stored {latest}"));
    scene.listener.wait_until_said(&format!("south: stored {latest}"));
    let ended = scene.listener.stop();

    let rows = postgres_rows(client);
    for TestBattery { name, mcu_id, expected, .. } in &scene.batteries {
        for (stamp, row) in expected {
            let what = format!("{name} {stamp}");
            let actual = rows.get(&(stamp.clone(), *mcu_id));
            same_row(&what, actual.unwrap_or_else(|| panic!("{what} is missing")), row);
        }
        let recorded = crate::rows::stamps_of(&rows, u32::try_from(*mcu_id).unwrap());
        assert_eq!(recorded, stored(&ended.log, name), "{name}");
        for stamp in recorded {
            let known = expected.contains_key(&stamp) || scene.spoiled.contains(&stamp);
            assert!(known, "{name} said nothing at {stamp}");
        }
    }
    check_import(&scene.batteries, &ended.log);
    let distinct = "SELECT count(*), count(DISTINCT (insert_time_utc, mcu_id)) FROM battery_pack";
    let counts = client.query_one(distinct, &[]).unwrap();
    assert_eq!(counts.get::<_, i64>(0), counts.get::<_, i64>(1));
}

/// The log, which has every console line, makes the same rows once more.
fn check_import(batteries: &[TestBattery], log: &[String]) {
    let home = Home::new();
    std::fs::write(home.path("x.log"), log.join("\n") + "\n").unwrap();
    // A listener that is running might still record the last ten seconds.
    let ended = Instant::now();
    let is_old = || ended.elapsed() > Duration::seconds(11);
    wait_until("the log's last row is imported", TIME_LIMIT, is_old);
    let output = home.run(&["-d", &home.sqlite("imported"), "-i", "1", "import", "x.log"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let imported = sqlite_rows(&home.path("imported"));
    for TestBattery { name, mcu_id, expected, .. } in batteries {
        for (stamp, row) in expected {
            let what = format!("{name} {stamp}, imported");
            let actual = imported.get(&(stamp.clone(), *mcu_id));
            same_row(&what, actual.unwrap_or_else(|| panic!("{what} is missing")), row);
        }
    }
}
