//! Databases in other encodings than UTF-8: a character costs itself, never the row.

use bluenova_record::{PackRecord, Text};

use crate::{Database, cluster, deliver, delivered, record};

fn database(name: &str, encoding: &str) -> Database {
    let sql =
        format!("CREATE DATABASE {name} OWNER homeauto TEMPLATE template0 ENCODING '{encoding}'");
    cluster().client("postgres").batch_execute(&sql).unwrap();
    Database { name: name.to_owned() }
}

fn with_errors(seconds: i64, errors: &str) -> PackRecord {
    let mut record = record(seconds, 1);
    record.errors = Some(Text::new(errors));
    record
}

/// Delivers one row of each text, among rows without it, and checks what the database has.
fn check(name: &str, encoding: &str, texts: &[(&str, &str)]) {
    let database = database(name, encoding);
    let mut sink = database.sink();
    let rows: Vec<_> = (0..).zip(texts).map(|(n, (text, _))| with_errors(n, text)).collect();
    let expected: Vec<_> = (0..).zip(texts).map(|(n, (_, held))| with_errors(n, held)).collect();
    assert_eq!(deliver(&mut sink, &rows).unwrap(), delivered(texts.len() as u64, 0));
    assert_eq!(database.rows(), expected, "{encoding}");
    for row in &rows {
        sink.probe(row).unwrap();
        assert_eq!(deliver(&mut sink, std::slice::from_ref(row)).unwrap(), delivered(0, 1));
    }
    database.sink().probe(&rows[0]).unwrap();
    assert!(sink.is_connected());
}

#[test]
fn a_character_that_the_encoding_lacks_costs_itself() {
    check(
        "latin1",
        "LATIN1",
        &[("\u{FFFD}", "?"), ("plain", "plain"), ("Zoë \u{FFFD}€", "Zoë ??"), ("é", "é")],
    );
    check("eucjp", "EUC_JP", &[("電池 é\u{1F50B}", "電池 ??")].map(|(a, _)| (a, "電池 é?")));
}

#[test]
fn a_text_of_many_lacking_characters_costs_no_row() {
    let many: Vec<String> = (0..3)
        .map(|n| (0..20).filter_map(|i| char::from_u32(0x4E00 + n * 20 + i)).collect())
        .collect();
    let held = "?".repeat(20);
    let texts: Vec<_> = many.iter().map(|text| (text.as_str(), held.as_str())).collect();
    check("latin9", "LATIN9", &texts);
}

#[test]
fn a_limit_in_bytes_cuts_the_text() {
    let long = "ü".repeat(32);
    let cut = "ü".repeat(16);
    check(
        "ascii",
        "SQL_ASCII",
        &[(&long, &cut), (&format!("x{long}"), &format!("x{}", "ü".repeat(15)))],
    );
}
