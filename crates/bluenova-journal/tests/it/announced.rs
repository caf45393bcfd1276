//! What was announced by MQTT.

use std::collections::BTreeMap;

use bluenova_journal::{Announced, Journal, Retention};

use crate::{BATTERY, nth, open, patiently};

#[test]
fn announcements_are_noted_beside_the_writer_until_they_are_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = open(&path);
    let announced = Announced::open(&path).unwrap();
    announced.put("homeassistant/device/a/config", "first").unwrap();
    journal.append(&[nth(BATTERY, 0)]).unwrap();
    announced.put("homeassistant/device/b/config", "b").unwrap();
    announced.put("homeassistant/device/a/config", "second").unwrap();
    let noted = |topics: &[(&str, &str)]| -> BTreeMap<String, String> {
        topics
            .iter()
            .map(|(id, text)| (format!("homeassistant/device/{id}/config"), (*text).to_owned()))
            .collect()
    };
    assert_eq!(announced.all().unwrap(), noted(&[("a", "second"), ("b", "b")]));
    drop((journal, announced));

    drop(patiently(|| Journal::open(&path, Retention::default())).unwrap());
    let announced = Announced::open(&path).unwrap();
    announced.remove("homeassistant/device/a/config").unwrap();
    announced.remove("homeassistant/device/never/config").unwrap();
    assert_eq!(Announced::open(&path).unwrap().all().unwrap(), noted(&[("b", "b")]));
}

#[test]
fn without_a_journal_nothing_is_noted() {
    let directory = tempfile::tempdir().unwrap();
    Announced::open(&directory.path().join("journal")).unwrap_err();
}

#[test]
fn what_is_noted_already_needs_no_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let _journal = open(&path);
    let announced = Announced::open(&path).unwrap();
    announced.put("homeassistant/device/a/config", "a").unwrap();
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    announced.put("homeassistant/device/a/config", "a").unwrap();
}
