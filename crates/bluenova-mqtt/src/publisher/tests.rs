use std::collections::BTreeSet;

use bluenova_status::{BatteryStatus, Newest, StorageStatus};
use bluenova_test_support::sample_row;
use serde_json::Value;
use time::macros::utc_datetime;

use super::*;

const START: UtcDateTime = utc_datetime!(2026-11-27 10:00:00);
const INTERVAL: Duration = Duration::from_secs(10);

/// What a broker and a journal are given.
#[derive(Default)]
struct Recorder {
    messages: Vec<Message>,
    remembered: BTreeMap<String, Announced>,
    /// Messages that it takes before it fails.
    room: Option<usize>,
}

impl Output for Recorder {
    type Error = ();

    fn publish(&mut self, message: Message) -> Result<(), ()> {
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(1).ok_or(())?;
        }
        if message.is_retained
            && !message.payload.is_empty()
            && !message.topic.contains("/listener/")
        {
            assert!(self.remembered.contains_key(&message.topic), "retained, not remembered");
        }
        self.messages.push(message);
        Ok(())
    }

    fn remember(&mut self, topic: &str, announced: &Announced) {
        self.remembered.insert(topic.to_owned(), announced.clone());
    }

    fn flush(&mut self) -> Result<(), ()> {
        Ok(())
    }

    fn forget(&mut self, topic: &str) {
        self.remembered.remove(topic).expect("only what was remembered is forgotten");
    }
}

/// A listener with a publisher.
struct Listener {
    started: Instant,
    /// Time since the start.
    time: Duration,
    interval: Duration,
    batteries: Vec<BatteryStatus>,
    publisher: Publisher,
    output: Recorder,
}

fn discovery(prefix: &str) -> Option<Discovery> {
    Some(Discovery::new(prefix, "1.2.3", INTERVAL))
}

impl Listener {
    fn new(addresses: &[&str]) -> Self {
        Self {
            started: Instant::now(),
            time: Duration::ZERO,
            interval: INTERVAL,
            batteries: addresses.iter().map(|address| battery(address)).collect(),
            publisher: Publisher::new(Topics::new("b", "L"), discovery("ha"), BTreeMap::new()),
            output: Recorder::default(),
        }
    }

    /// A new run of the program, with what the one before remembered.
    fn restart(&mut self, addresses: &[&str]) {
        self.restart_as(addresses, Topics::new("b", "L"), discovery("ha"));
    }

    fn restart_as(&mut self, addresses: &[&str], topics: Topics, discovery: Option<Discovery>) {
        self.publisher = Publisher::new(topics, discovery, self.output.remembered.clone());
        self.batteries = addresses.iter().map(|address| battery(address)).collect();
    }

    /// As many seconds pass.
    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.time += Duration::from_secs(seconds);
        self
    }

    /// A row of this battery comes, at the address with this index.
    fn row(&mut self, index: usize, mcu_id: u32) -> &mut Self {
        self.row_with(index, mcu_id, |_| ())
    }

    fn row_with(
        &mut self,
        index: usize,
        mcu_id: u32,
        fill: impl FnOnce(&mut PackRecord),
    ) -> &mut Self {
        let newest = self.values(mcu_id, fill);
        self.batteries[index].announced_mcu_id = Some(mcu_id);
        self.batteries[index].newest = Some(newest);
        self
    }

    fn values(&self, mcu_id: u32, fill: impl FnOnce(&mut PackRecord)) -> Newest {
        let mut record = sample_row(START + self.time, mcu_id);
        fill(&mut record);
        Newest { record, received: self.started + self.time }
    }

    fn try_publish(&mut self) -> Result<(), ()> {
        let status = Status {
            now: START + self.time,
            instant: self.started + self.time,
            started: self.started,
            interval: self.interval,
            batteries: self.batteries.clone(),
            storage: StorageStatus::default(),
            delivery: None,
        };
        self.publisher.publish(&status, &mut self.output)
    }

    /// The messages that are published now: topic, and what they are.
    fn published(&mut self) -> Vec<String> {
        self.try_publish().expect("there is room");
        std::mem::take(&mut self.output.messages).iter().map(summary).collect()
    }

    /// Topics that are remembered, and whether they are as removed ones.
    fn remembered(&self) -> Vec<(&str, bool)> {
        let remembered = self.output.remembered.iter();
        remembered.map(|(topic, device)| (topic.as_str(), device.is_removed)).collect()
    }

    /// Publishes until nothing is left to repeat.
    fn settle(&mut self) -> &mut Self {
        self.published();
        self.wait(5).published();
        assert_eq!(self.published(), [""; 0]);
        self
    }
}

fn battery(address: &str) -> BatteryStatus {
    BatteryStatus::new(address, format!("{address}:9000/ws/"))
}

fn summary(message: &Message) -> String {
    let Message { topic, payload, is_retained } = message;
    let payload = std::str::from_utf8(payload).unwrap();
    let content = match payload {
        "" => "removed",
        "online" | "offline" => payload,
        _ => {
            let _: Value = serde_json::from_str(payload).unwrap();
            "{…}"
        }
    };
    let passing = if topic.ends_with("/config") && !is_retained { " for a moment" } else { "" };
    assert_eq!(*is_retained || !passing.is_empty(), !topic.ends_with("/state"), "{topic}");
    format!("{topic} {content}{passing}")
}

#[test]
fn at_a_new_connection_all_is_published_and_the_listener_is_online_last() {
    let mut listener = Listener::new(&["first", "second", "third"]);
    listener.row(0, 1).row(1, 2).row(2, 3).settle();
    // The second battery falls silent; the third one isn't there after a restart.
    listener.restart(&["first", "second", "third"]);
    listener.row(1, 2).wait(31).row(0, 1);
    let expected = [
        "ha/device/bluenova_00000001/config {…}",
        "b/00000001/state {…}",
        "b/00000001/availability online",
        "b/00000002/availability offline",
        "ha/device/bluenova_bank_L/config {…}",
        "b/bank/L/state {…}",
        "b/bank/L/availability online",
        "b/00000003/availability offline",
        "b/listener/L/availability online",
    ];
    assert_eq!(listener.published(), expected);
    listener.publisher.connected();
    assert_eq!(listener.published(), expected);
}

#[test]
fn nothing_is_published_before_a_battery_has_sent_its_id() {
    let mut listener = Listener::new(&["first"]);
    assert_eq!(listener.published(), ["b/listener/L/availability online"]);
    listener.batteries[0].announced_mcu_id = Some(1);
    assert_eq!(listener.published(), ["b/00000001/availability offline"]);
}

#[test]
fn each_row_is_published_once_and_once_more_behind_the_announcement() {
    let mut listener = Listener::new(&["first"]);
    listener.row(0, 1).published();
    assert_eq!(listener.published(), [""; 0]);
    assert_eq!(listener.wait(4).published(), [""; 0]);
    let expected = ["b/00000001/state {…}", "b/listener/L/availability online"];
    assert_eq!(listener.wait(1).published(), expected);
    assert_eq!(listener.wait(4).published(), [""; 0]);
    assert_eq!(listener.wait(1).row(0, 1).published(), ["b/00000001/state {…}"]);
    assert_eq!(listener.published(), [""; 0]);
}

#[test]
fn a_battery_is_offline_while_it_is_stale() {
    let mut listener = Listener::new(&["first"]);
    listener.row(0, 1).settle();
    assert_eq!(listener.wait(25).published(), [""; 0]);
    assert_eq!(listener.wait(1).published(), ["b/00000001/availability offline"]);
    assert_eq!(listener.wait(60).published(), [""; 0]);
    listener.row(0, 1);
    assert_eq!(listener.published(), ["b/00000001/state {…}", "b/00000001/availability online"]);
}

#[test]
fn values_of_a_long_interval_under_way_are_published() {
    let mut listener = Listener::new(&["first"]);
    listener.interval = Duration::from_secs(600);
    listener.row(0, 1).settle();
    listener.wait(30);
    listener.batteries[0].under_way = Some(listener.values(1, |record| record.soc = Some(7)));
    listener.try_publish().unwrap();
    let [message] = &listener.output.messages[..] else { panic!("one message") };
    let state: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((message.topic.as_str(), &state["soc"]), ("b/00000001/state", &7.into()));
}

#[test]
fn values_between_rows_are_published_twice_a_minute() {
    for (interval, expected) in [
        (10, &[10, 20, 30, 40, 50, 60][..]),
        (30, &[30, 60]),
        (45, &[30, 45]),
        (60, &[30, 60]),
        (300, &[30, 60]),
    ] {
        let mut listener = Listener::new(&["first"]);
        listener.interval = Duration::from_secs(interval);
        listener.row(0, 1).settle();
        listener.publisher.home_assistant_started();
        listener.published();
        listener.wait(5).published();
        let begin = listener.time;
        let mut seconds = vec![];
        for second in 1..=60 {
            listener.wait(1);
            if second % interval == 0 {
                listener.row(0, 1);
            }
            // A sample comes every two seconds, after the row.
            if second % 2 == 0 {
                listener.batteries[0].under_way = Some(listener.values(1, |_| ()));
            }
            let published = listener.published();
            seconds.extend(published.iter().map(|_| (listener.time - begin).as_secs()));
        }
        assert_eq!(seconds, expected, "{interval} s");
    }
}

#[test]
fn values_of_another_battery_at_the_address_are_not_published_as_its_own() {
    let mut listener = Listener::new(&["first"]);
    listener.interval = Duration::from_secs(600);
    listener.row(0, 1).settle();
    listener.wait(30);
    // The other one has no row yet.
    listener.batteries[0].under_way = Some(listener.values(2, |_| ()));
    assert_eq!(listener.published(), [""; 0]);
    listener.batteries[0].announced_mcu_id = Some(2);
    assert_eq!(listener.published(), ["b/00000001/availability offline"]);
}

#[test]
fn after_a_start_of_home_assistant_devices_and_states_are_published_again() {
    let mut listener = Listener::new(&["first", "second"]);
    listener.row(0, 1).settle();
    listener.publisher.home_assistant_started();
    let expected = ["ha/device/bluenova_00000001/config {…}", "b/00000001/state {…}"];
    assert_eq!(listener.published(), expected);
    assert_eq!(listener.wait(5).published(), ["b/00000001/state {…}"]);
    assert_eq!(listener.published(), [""; 0]);
}

#[test]
fn a_battery_at_two_addresses_is_one() {
    let mut listener = Listener::new(&["first", "second"]);
    listener.published();
    // No bank, neither before nor after it is seen at the second address.
    let expected = [
        "ha/device/bluenova_00000001/config {…}",
        "b/00000001/state {…}",
        "b/00000001/availability online",
    ];
    assert_eq!(listener.row(0, 1).published(), expected);
    // Its row comes by the second one too, and is the same.
    let expected = ["ha/device/bluenova_00000001/config {…}", "b/00000001/state {…}"];
    listener.row(1, 1).settle();
    listener.publisher.connected();
    assert_eq!(listener.published()[..2], expected);
    listener.settle();
    listener.wait(10).row(0, 1);
    assert_eq!(listener.published(), ["b/00000001/state {…}"]);
    listener.row(1, 1);
    assert_eq!(listener.published(), [""; 0]);
    // One address is enough.
    listener.wait(30).row(1, 1);
    assert_eq!(listener.published(), ["b/00000001/state {…}"]);
}

#[test]
fn a_bank_appears_with_the_second_battery_and_goes_with_it() {
    let mut listener = Listener::new(&["first", "second"]);
    listener.row(0, 1).settle();
    let second = [
        "ha/device/bluenova_00000002/config {…}",
        "b/00000002/state {…}",
        "b/00000002/availability online",
        "ha/device/bluenova_bank_L/config {…}",
        "b/bank/L/state {…}",
        "b/bank/L/availability online",
    ];
    assert_eq!(listener.row(1, 2).published(), second);
    // Behind the announcement.
    assert_eq!(listener.wait(5).published(), ["b/00000002/state {…}", "b/bank/L/state {…}"]);
    // With one of them.
    assert_eq!(listener.row(0, 1).published(), ["b/00000001/state {…}", "b/bank/L/state {…}"]);
    // With none.
    let expected = [
        "b/00000001/availability offline",
        "b/00000002/availability offline",
        "b/bank/L/availability offline",
    ];
    assert_eq!(listener.wait(60).published(), expected);
    // The second battery leaves the command line.
    listener.batteries.pop();
    let mut expected = vec![
        "b/00000002/availability removed",
        "b/bank/L/availability removed",
        "ha/device/bluenova_00000002/config removed",
        "ha/device/bluenova_bank_L/config removed",
    ];
    let mut published = listener.published();
    published.sort();
    expected.sort();
    assert_eq!(published, expected);
    // And comes back.
    listener.batteries.push(battery("second"));
    assert_eq!(listener.row(1, 2).published(), second);
}

#[test]
fn a_bank_has_the_sums_of_what_is_fresh() {
    let mut listener = Listener::new(&["first", "second", "third", "silent"]);
    let power = |watts: f32| {
        move |record: &mut PackRecord| {
            (record.v_pack, record.i_pack) = (Some(1.0), Some(watts));
        }
    };
    listener.row_with(0, 1, power(1000.0)).wait(31);
    listener.row_with(1, 2, power(20.0)).row_with(2, 3, power(3.0));
    listener.try_publish().unwrap();
    let is_of_bank = |message: &&Message| message.topic == "b/bank/L/state";
    let state = listener.output.messages.iter().find(is_of_bank).unwrap();
    let state: Value = serde_json::from_slice(&state.payload).unwrap();
    assert_eq!(state["power_w"], 23.0);
    assert_eq!((&state["batteries"], &state["fresh"]), (&4.into(), &2.into()));
}

#[test]
fn a_bank_of_an_earlier_run_stays_while_its_batteries_are_not_seen_yet() {
    let mut listener = Listener::new(&["first", "second"]);
    listener.row(0, 1).row(1, 2).settle();
    listener.restart(&["first", "second"]);
    let expected = [
        "b/bank/L/availability offline",
        "b/00000001/availability offline",
        "b/00000002/availability offline",
        "b/listener/L/availability online",
    ];
    assert_eq!(listener.published(), expected);
}

#[test]
fn a_removed_battery_is_removed_by_the_next_start() {
    let mut listener = Listener::new(&["first", "second"]);
    listener.row(0, 1).row(1, 2).settle();
    listener.restart(&["second"]);
    let expected = [
        "b/00000001/availability removed",
        "b/bank/L/availability removed",
        "ha/device/bluenova_00000001/config removed",
        "ha/device/bluenova_bank_L/config removed",
        "b/00000002/availability offline",
        "b/listener/L/availability online",
    ];
    assert_eq!(listener.published(), expected);
    assert_eq!(
        listener.remembered(),
        [
            ("b/00000002/availability", false),
            ("ha/device/bluenova_00000001/config", true),
            ("ha/device/bluenova_00000002/config", false),
            ("ha/device/bluenova_bank_L/config", true),
        ]
    );
}

/// It removes what it has missed only when that was announced to it again.
#[test]
fn what_was_removed_is_removed_once_more_when_home_assistant_starts() {
    let mut listener = Listener::new(&["first", "second", "third"]);
    listener.row(0, 1).row(1, 2).row(2, 3).settle();
    listener.restart(&["second", "third"]);
    listener.row(0, 2).row(1, 3).settle();
    // The next run has still to do it.
    listener.restart(&["second", "third"]);
    listener.row(0, 2).row(1, 3).settle();
    listener.publisher.home_assistant_started();
    listener.try_publish().unwrap();
    let of_first = |message: &&Message| message.topic == "ha/device/bluenova_00000001/config";
    let bare = listener.output.messages.iter().find(of_first).unwrap();
    let bare: Value = serde_json::from_slice(&bare.payload).unwrap();
    assert_eq!(bare["device"]["identifiers"], serde_json::json!(["bluenova_00000001"]));
    assert_eq!(
        bare["components"]["soc"],
        serde_json::json!({ "platform": "sensor", "unique_id": "bluenova_00000001_soc" })
    );
    let published = listener.published();
    assert_eq!(
        published[published.len() - 2..],
        [
            "ha/device/bluenova_00000001/config {…} for a moment",
            "ha/device/bluenova_00000001/config removed",
        ]
    );
    assert!(listener.remembered().iter().all(|(_, is_removed)| !is_removed));
    listener.settle().publisher.home_assistant_started();
    assert!(listener.published().iter().all(|message| !message.contains("00000001")));
}

#[test]
fn a_device_that_was_removed_and_is_back_is_not_removed_again() {
    let mut listener = Listener::new(&["first"]);
    listener.row(0, 1).row(0, 2).settle();
    listener.row(0, 1).settle();
    listener.publisher.home_assistant_started();
    let removed = "ha/device/bluenova_00000002/config";
    let expected =
        ["ha/device/bluenova_00000001/config {…}".to_owned(), "b/00000001/state {…}".to_owned()];
    let published = listener.published();
    assert_eq!(published[..2], expected);
    assert!(published[2..].iter().all(|message| message.starts_with(removed)), "{published:?}");
}

#[test]
fn topics_of_other_prefixes_and_of_another_id_are_removed() {
    let mut listener = Listener::new(&["first", "second"]);
    listener.row(0, 1).row(1, 2).settle();
    // One of them is silent.
    listener.restart_as(&["first", "second"], Topics::new("c", "M"), discovery("home"));
    listener.row(0, 1);
    let published: BTreeSet<String> = listener.published().into_iter().collect();
    let expected = [
        "b/00000001/availability removed",
        "b/00000002/availability removed",
        "b/bank/L/availability removed",
        "c/00000001/availability online",
        "c/00000001/state {…}",
        "c/bank/M/availability online",
        "c/bank/M/state {…}",
        "c/listener/M/availability online",
        "ha/device/bluenova_00000001/config removed",
        "ha/device/bluenova_00000002/config removed",
        "ha/device/bluenova_bank_L/config removed",
        "home/device/bluenova_00000001/config {…}",
        "home/device/bluenova_bank_M/config {…}",
    ];
    assert_eq!(published, expected.map(ToOwned::to_owned).into());
    listener.row(1, 2).published();
    // They aren't announced to a Home Assistant that starts.
    listener.publisher.home_assistant_started();
    assert!(listener.published().iter().all(|message| !message.starts_with("ha/")));
    assert!(listener.remembered().iter().all(|(topic, _)| !topic.starts_with("ha/")));
}

/// As after an MCU ID that was garbled on its way.
#[test]
fn an_id_that_no_row_has_leaves_nothing_behind() {
    let mut listener = Listener::new(&["first"]);
    listener.batteries[0].announced_mcu_id = Some(7);
    assert_eq!(listener.published()[0], "b/00000007/availability offline");
    let published = listener.row(0, 1).published();
    assert_eq!(published.last().unwrap(), "b/00000007/availability removed");
    listener.settle();
    assert!(listener.remembered().iter().all(|(topic, _)| topic.contains("00000001")));
}

#[test]
fn without_discovery_a_silent_battery_is_offline_though_it_was_online_with_it() {
    let mut listener = Listener::new(&["first"]);
    listener.row(0, 1).settle();
    listener.restart_as(&["first"], Topics::new("b", "L"), None);
    let expected = [
        "ha/device/bluenova_00000001/config removed",
        "b/00000001/availability offline",
        "b/listener/L/availability online",
    ];
    assert_eq!(listener.published(), expected);
}

#[test]
fn the_listener_is_online_once_more_lest_a_late_last_will_stays() {
    let mut listener = Listener::new(&[]);
    assert_eq!(listener.published(), ["b/listener/L/availability online"]);
    assert_eq!(listener.wait(4).published(), [""; 0]);
    assert_eq!(listener.wait(1).published(), ["b/listener/L/availability online"]);
    assert_eq!(listener.wait(60).published(), [""; 0]);
}

#[test]
fn a_replaced_battery_is_removed_and_announced_again_when_it_returns() {
    let mut listener = Listener::new(&["first"]);
    listener.row(0, 1).settle();
    let replaced = |new: u32, old: u32| {
        [
            format!("ha/device/bluenova_{new:08X}/config {{…}}"),
            format!("b/{new:08X}/state {{…}}"),
            format!("b/{new:08X}/availability online"),
            format!("b/{old:08X}/availability removed"),
            format!("ha/device/bluenova_{old:08X}/config removed"),
        ]
    };
    assert_eq!(listener.row(0, 2).published(), replaced(2, 1));
    assert_eq!(listener.settle().row(0, 1).published(), replaced(1, 2));
}

#[test]
fn without_discovery_devices_are_removed_and_the_topics_stay() {
    let mut listener = Listener::new(&["first"]);
    listener.row(0, 1).settle();
    listener.restart_as(&["first"], Topics::new("b", "L"), None);
    let expected = [
        "b/00000001/state {…}",
        "b/00000001/availability online",
        "ha/device/bluenova_00000001/config removed",
        "b/listener/L/availability online",
    ];
    assert_eq!(listener.row(0, 1).published(), expected);
    listener.settle();
    // In the next run the battery is silent, and isn't online because it was so in this one.
    listener.restart_as(&["first"], Topics::new("b", "L"), None);
    let expected = ["b/00000001/availability offline", "b/listener/L/availability online"];
    assert_eq!(listener.published(), expected);
    // Then another one is in its place.
    listener.restart_as(&["first"], Topics::new("b", "L"), None);
    let expected = [
        "b/00000002/state {…}",
        "b/00000002/availability online",
        "b/00000001/availability removed",
        "b/listener/L/availability online",
    ];
    assert_eq!(listener.row(0, 2).published(), expected);
    let left = [("b/00000002/availability", false), ("ha/device/bluenova_00000001/config", true)];
    assert_eq!(listener.remembered(), left);
}

/// However many messages a broker takes before its connection breaks: on the next one it has all,
/// and what it has is remembered.
#[test]
fn after_an_error_in_the_middle_all_is_published_on_the_next_connection() {
    let set_up = || {
        let mut listener = Listener::new(&["first", "second", "third"]);
        listener.row(0, 1).row(1, 2).row(2, 3).settle();
        listener.restart(&["second", "fourth"]);
        listener.row(0, 2).row(1, 4);
        listener
    };
    let retained = |messages: &[Message]| {
        let mut retained = BTreeMap::new();
        for message in messages.iter().filter(|message| message.is_retained) {
            match message.payload.is_empty() {
                true => _ = retained.remove(&message.topic),
                false => _ = retained.insert(message.topic.clone(), message.payload.clone()),
            }
        }
        retained
    };
    let mut undisturbed = set_up();
    undisturbed.try_publish().unwrap();
    let all = undisturbed.output.messages;
    for room in 0..all.len() {
        let mut listener = set_up();
        listener.output.room = Some(room);
        listener.try_publish().unwrap_err();
        listener.output.room = None;
        listener.publisher.connected();
        listener.try_publish().unwrap();
        assert_eq!(retained(&listener.output.messages), retained(&all), "{room}");
        assert_eq!(listener.output.remembered, undisturbed.output.remembered, "{room}");
        let last = listener.output.messages.last().map(summary).unwrap();
        assert_eq!(last, "b/listener/L/availability online");
    }
}

#[test]
fn a_row_without_the_count_of_cells_or_with_a_lower_one_changes_nothing() {
    let mut listener = Listener::new(&["first"]);
    listener.row_with(0, 1, |record| record.cell_count = Some(4)).settle();
    for count in [None, Some(1)] {
        listener.wait(10).row_with(0, 1, |record| record.cell_count = count);
        assert_eq!(listener.published(), ["b/00000001/state {…}"]);
    }
    listener.publisher.connected();
    listener.try_publish().unwrap();
    let announcement: Value = serde_json::from_slice(&listener.output.messages[0].payload).unwrap();
    let components = announcement["components"].as_object().unwrap();
    assert!(components.contains_key("cell_04_v") && !components.contains_key("cell_05_v"));
}

#[test]
fn a_battery_with_another_name_or_address_is_announced_again() {
    let mut listener = Listener::new(&["first"]);
    listener.row(0, 1).settle();
    listener.batteries[0].name = "Garage".to_owned();
    let expected = ["ha/device/bluenova_00000001/config {…}"];
    assert_eq!(listener.published(), expected);
    listener.batteries[0].address = "10.0.0.3:9000/ws/".to_owned();
    assert_eq!(listener.published(), expected);
    let announced = &listener.output.remembered["ha/device/bluenova_00000001/config"];
    assert_eq!(announced.addresses, ["10.0.0.3:9000/ws/"]);
}

#[test]
fn names_that_a_person_has_given() {
    for (name, address, is_given) in [
        ("10.0.0.2", "10.0.0.2:9000/ws/", false),
        ("fd00::2", "[fd00::2]:9000/ws/", false),
        ("[fd00::2]", "[fd00::2]:9000/ws/", false),
        ("bat", "battery:9000/ws/", true),
        ("battery", "battery:9000/ws/", false),
        ("Garage", "10.0.0.2:9000/ws/", true),
    ] {
        let battery = BatteryStatus::new(name, address);
        let unit = Unit { batteries: vec![&battery], latest: None };
        assert_eq!(given_name(&unit).is_some(), is_given, "{name} at {address}");
    }
}

#[test]
fn topics_have_nothing_of_names_and_texts() {
    let mut listener = Listener::new(&["first", "second"]);
    for (battery, name) in listener.batteries.iter_mut().zip(["#", "a/+/\"b\" 🔋"]) {
        battery.name = name.to_owned();
    }
    let hostile = bluenova_record::Text::new("#/+/$\"\\{{ x }}");
    listener.row_with(0, 1, |record| record.errors = Some(hostile)).row(1, u32::MAX);
    listener.try_publish().unwrap();
    let topics: BTreeSet<_> =
        listener.output.messages.iter().map(|message| message.topic.as_str()).collect();
    let expected = [
        "b/00000001/availability",
        "b/00000001/state",
        "b/FFFFFFFF/availability",
        "b/FFFFFFFF/state",
        "b/bank/L/availability",
        "b/bank/L/state",
        "b/listener/L/availability",
        "ha/device/bluenova_00000001/config",
        "ha/device/bluenova_FFFFFFFF/config",
        "ha/device/bluenova_bank_L/config",
    ];
    assert_eq!(topics, expected.into());
}

#[test]
fn a_thousand_batteries_cost_what_is_new() {
    let addresses: Vec<String> = (0..1000).map(|n| format!("battery{n}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut listener = Listener::new(&addresses);
    for n in 0..1000 {
        listener.row(n, n as u32 + 1);
    }
    assert_eq!(listener.published().len(), 3 * 1001 + 1);
    listener.wait(5);
    assert_eq!(listener.published().len(), 1001 + 1);
    assert_eq!(listener.published().len(), 0);
    assert_eq!(listener.wait(5).row(7, 8).published().len(), 2);
}
