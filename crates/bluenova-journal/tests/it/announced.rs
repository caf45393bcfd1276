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

/// Journals that are named by the program, as those of a listener that is given other options.
#[test]
fn announcements_of_other_journals_are_taken_over_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = |n: u8| directory.path().join(format!("journal-{n:016x}.sqlite"));
    let journals = [1, 2, 3, 4].map(|n| open(&path(n)));
    for (n, texts) in [
        (1, vec![("a", "new")]),
        (2, vec![("a", "old"), ("b", "old")]),
        (3, vec![("c", "not ours")]),
    ] {
        let announced = Announced::open(&path(n)).unwrap();
        texts.iter().for_each(|(topic, text)| announced.put(topic, text).unwrap());
    }
    Announced::open(&path(4)).unwrap().put("d", "old").unwrap();
    let [own, second, third, in_use] = journals;
    drop((second, third));
    let announced = Announced::open(&path(1)).unwrap();
    patiently(|| announced.take_over(&path(1), |texts| texts.values().any(|text| text == "old")))
        .unwrap();
    let noted = |n| Vec::from_iter(Announced::open(&path(n)).unwrap().all().unwrap());
    let text = |topic: &str, text: &str| (topic.to_owned(), text.to_owned());
    assert_eq!(noted(1), [text("a", "new"), text("b", "old")]);
    assert_eq!(noted(2), []);
    assert_eq!(noted(3), [text("c", "not ours")]);
    assert_eq!(noted(4), [text("d", "old")], "a process has it open");
    drop((own, in_use));
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
