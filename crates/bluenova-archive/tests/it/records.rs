//! Records of the first listener, whole and damaged.

use bluenova_archive::{Damage, NO_MCU_ID};
use bluenova_record::PackRecord;
use time::macros::utc_datetime;

use crate::read;

/// A whole record. No line of it has the same value twice.
const RECORD: [&str; 4] = [
    " == Write record: Time: 1795744691, MCU ID 9F3C07B2, NumUnit 2, MyRank 1, CellCount 16, \
     Vpack 52.471, Ipack -53.7, Temp 23, Vmin_cell 3.271, Vmax_cell 3.290, SOC 60, Health 98.250, \
     Errors 'NONE', State 'NORMAL', Breaker 'CLOSED', Charge 'DISCHARGE'",
    " -- ADCvp 52.451, ADC0 0.809, ADC1 1.614, ADC2 2.420, ADC3 3.225, ADC4 4.031, Bad CRC 3, \
     ParseFail 0, Bad Vcell 1, EnergyIn 902.150, EnergyOut 813.400",
    " -- Volt: 3.201 3.202 3.203 3.204 3.205 3.206 3.207 3.208 3.209 3.210 3.211 3.212 3.213 3.214 \
     3.215 3.216",
    " -- Temp: 23    24    25    22    21    20    19    18    17    16    15    14    13    12    \
     11    10    ",
];

fn log(lines: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut log = vec![];
    for line in lines {
        log.extend_from_slice(b"2026/11/27 03:58:11 ");
        log.extend_from_slice(line.as_ref());
        log.push(b'\n');
    }
    log
}

fn whole() -> PackRecord {
    let (records, damage) = read(&log(&RECORD));
    assert_eq!((records.len(), damage), (1, vec![]));
    records[0].1.clone()
}

#[test]
fn a_whole_record() {
    let record = whole();
    assert_eq!(record.insert_time_utc, utc_datetime!(2026-11-27 01:58:11));
    assert_eq!(record.mcu_id, 0x9F3C_07B2);
    assert_eq!((record.n_units, record.unit_rank, record.cell_count), (Some(2), Some(1), Some(16)));
    assert_eq!((record.v_pack, record.i_pack, record.temp), (Some(52.471), Some(-53.7), Some(23)));
    assert_eq!((record.v_cell_min, record.v_cell_max), (Some(3.271), Some(3.29)));
    assert_eq!((record.soc, record.health), (Some(60), Some(98.25)));
    assert_eq!(record.errors.as_deref(), Some("NONE"));
    assert_eq!(record.system_state.as_deref(), Some("NORMAL"));
    assert_eq!(record.breaker.as_deref(), Some("CLOSED"));
    assert_eq!(record.charge_state.as_deref(), Some("DISCHARGE"));
    assert_eq!(record.adc_vp, Some(52.451));
    assert_eq!(record.adc, [0.809, 1.614, 2.42, 3.225, 4.031].map(Some));
    assert_eq!((record.bad_crc, record.parse_fail, record.bad_vcell), (3, 0, 1));
    assert_eq!((record.energy_in, record.energy_out), (Some(902.15), Some(813.4)));
    assert_eq!((record.cell_v[0], record.cell_v[15]), (Some(3.201), Some(3.216)));
    assert_eq!((record.cell_t[0], record.cell_t[15]), (Some(23), Some(10)));
}

/// Reads the record with `old` in one of its lines replaced by `new`, which has to do what `change`
/// does to the whole one.
#[track_caller]
fn check(old: &str, new: &[u8], damage: &[Damage], change: impl Fn(&mut PackRecord)) {
    let lines = RECORD.map(|line| match line.split_once(old) {
        Some((before, behind)) => [before.as_bytes(), new, behind.as_bytes()].concat(),
        None => line.as_bytes().to_vec(),
    });
    assert_ne!(lines.each_ref().map(Vec::as_slice), RECORD.map(str::as_bytes), "no {old:?}");
    let (records, found) = read(&log(&lines));
    let found: Vec<_> = found.into_iter().map(|(_, damage)| damage).collect();
    assert_eq!(found, damage);
    let mut expected = whole();
    change(&mut expected);
    assert_eq!(records.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), [expected]);
}

#[test]
fn absent_values_are_null() {
    check("NumUnit 2", b"NumUnit -1", &[], |record| record.n_units = None);
    check("Temp 23", b"Temp -1", &[], |record| record.temp = None);
    check("Temp 23", b"Temp -5", &[], |record| record.temp = Some(-5));
    check("Vpack 52.471", b"Vpack nan", &[], |record| record.v_pack = None);
    check("Ipack -53.7", b"Ipack -nan", &[], |record| record.i_pack = None);
    check("Ipack -53.7", b"Ipack -1.0", &[], |record| record.i_pack = Some(-1.0));
    check("EnergyOut 813.400", b"EnergyOut nan", &[], |record| record.energy_out = None);
    check("3.202", b"nan", &[], |record| record.cell_v[1] = None);
    check("24    ", b"-1    ", &[], |record| record.cell_t[1] = None);
    check("9F3C07B2", b"FFFFFFFF", &[], |record| record.mcu_id = NO_MCU_ID);
}

#[test]
fn absent_texts_are_null_whatever_follows_their_first_byte() {
    check("'NONE'", b"'\xFF'", &[], |record| record.errors = None);
    check("'NORMAL'", b"'\xFFit's\n\n\", it's', State 'x'", &[], |record| {
        record.system_state = None;
    });
    check("'DISCHARGE'", b"'\xFF\xFF', Breaker 'x\n', Charge 'y'", &[], |record| {
        record.charge_state = None;
    });
    check("'NONE'", b"'\xFF', State 'x'", &[], |record| record.errors = None);
    let rest: &[u8] = b"\xFF\xFF\n03:58 ', State '\xFE";
    let all = [b"Errors '", rest, b"', State '", rest, b"', Breaker '", rest, b"', Charge '", rest];
    let all = [&all.concat(), &b"'"[..]].concat();
    let texts = "Errors 'NONE', State 'NORMAL', Breaker 'CLOSED', Charge 'DISCHARGE'";
    check(texts, &all, &[], |record| {
        record.errors = None;
        (record.system_state, record.breaker, record.charge_state) = (None, None, None);
    });
}

#[test]
fn texts_have_no_line_ends_and_may_have_quotes() {
    check("'NORMAL', Breaker 'CLOSED'", b"'NORMAL\r\n', Breaker 'CLOSED\r\n'", &[], |_| {});
    check("'NONE'", b"''", &[], |record| record.errors = Some(bluenova_record::Text::new("")));
    check("'NONE'", b"'it's 'X', y'", &[], |record| {
        record.errors = Some(bluenova_record::Text::new("it's 'X', y"));
    });
}

#[test]
fn damage_costs_the_value_that_it_is_in() {
    let value = |name| [Damage::Value(name)];
    check("SOC 60", b"SOC 6?", &value("SOC"), |record| record.soc = None);
    check("SOC 60", b"SOC 60000", &value("SOC"), |record| record.soc = None);
    check("SOC 60", b"SOC ", &value("SOC"), |record| record.soc = None);
    // The end of a voltage, which would be one of 203 V.
    check("3.203", b"203", &value("Volt"), |record| record.cell_v[2] = None);
    // A name that can't be read takes the value in front of it along.
    let values = [Damage::Value("State"), Damage::Value("Breaker")];
    check("', Breaker", b"', Bre?ker", &values, |record| {
        (record.system_state, record.breaker) = (None, None);
    });
    check("SOC 60", b"SOC\0\0\0", &[Damage::Value("SOC"), Damage::Value("Vmax_cell")], |record| {
        (record.v_cell_max, record.soc) = (None, None);
    });
}

#[test]
fn lines_without_a_start_or_an_end() {
    let cut = |lines: &[&str], end: usize| {
        let log = log(lines);
        read(&log[..log.len() - end])
    };
    // The file ends within the last value of the first line.
    let (records, damage) = cut(&RECORD[..1], 5);
    assert_eq!(records[0].1.breaker.as_deref(), Some("CLOSED"));
    assert_eq!(records[0].1.charge_state, None);
    assert_eq!(damage, [(1, Damage::Value("Charge")), (1, Damage::RecordLines)]);
    // Within a voltage, which would be another one.
    let (records, damage) = cut(&RECORD[..3], 2);
    assert_eq!((records[0].1.cell_v[14], records[0].1.cell_v[15]), (Some(3.215), None));
    assert_eq!(damage, [(3, Damage::Value("Volt")), (1, Damage::RecordLines)]);
    // The file begins within a record.
    let (records, damage) = cut(&RECORD[1..], 0);
    assert_eq!((records.len(), damage), (0, vec![(1, Damage::RecordStart)]));
    // Within the key.
    let (records, damage) = cut(&[" == Write record: Time: 1795744691, MCU ID 9F3C07B2"], 3);
    assert_eq!((records.len(), damage), (0, vec![(1, Damage::RecordKey)]));
}

#[test]
fn other_lines_between_those_of_a_record_do_no_harm() {
    let [first, converter, volt, temp] = RECORD;
    let lines = [first, "RX: SOC: 61", converter, "PostgreSQL database connection OK", volt, temp];
    let (records, damage) = read(&log(&lines));
    assert_eq!((records, damage), (vec![(1, whole())], vec![]));
}

#[test]
fn a_record_that_was_begun_within_a_line_is_read() {
    let [first, converter, volt, temp] = RECORD;
    let begun = format!("{}2026/11/27 03:58:11 {first}", &volt[..25]);
    let lines = [first, converter, &begun, converter, volt, temp];
    let (records, damage) = read(&log(&lines));
    assert_eq!(records.len(), 2);
    assert_eq!(records[1], (3, whole()));
    assert_eq!(records[0].1.cell_v[..3], [Some(3.201), Some(3.202), None]);
    assert_eq!(damage, [(3, Damage::Value("Volt")), (1, Damage::RecordLines)]);
}

#[test]
fn lines_behind_a_hole_are_of_another_record() {
    // Ten seconds later, or an hour and ten seconds.
    for later in ["03:58:21", "04:58:21"] {
        let log = String::from_utf8(log(&RECORD)).unwrap();
        let lines: Vec<_> = log.split_inclusive('\n').collect();
        for kept in 1..4 {
            let behind = lines[kept..].concat().replace("03:58:11", later);
            let (records, damage) = read((lines[..kept].concat() + &behind).as_bytes());
            assert_eq!(records, read(lines[..kept].concat().as_bytes()).0, "{kept}");
            let start = (kept as u64 + 1, Damage::RecordStart);
            assert_eq!(damage, [start, (1, Damage::RecordLines)]);
        }
    }
    // The voltages of the next record are in the place of those of the first.
    let [first, converter, volt, temp] = RECORD;
    let (records, damage) = read(&log(&[first, temp, volt, converter]));
    assert_eq!(records[0].1.cell_v, [None; 16]);
    assert_eq!(damage, [(1, Damage::RecordLines), (3, Damage::RecordStart)]);
    // Summer time begins, or a second passes.
    for later in ["04:58:11", "03:58:12"] {
        let text = String::from_utf8(log(&RECORD)).unwrap();
        let (before, behind) = text.split_at(text.find(" -- Volt").unwrap() - 19);
        let (records, damage) =
            read((before.to_owned() + &behind.replace("03:58:11", later)).as_bytes());
        assert_eq!((records, damage), (vec![(1, whole())], vec![]));
    }
}

#[test]
fn bytes_of_a_crash_cost_what_they_overwrote() {
    let [first, converter, volt, temp] = RECORD;
    let mut nuls = vec![0; 100_000];
    nuls.extend(log(&RECORD));
    let (records, damage) = read(&nuls);
    assert_eq!(records, [(1, whole())]);
    assert_eq!(damage[0], (1, Damage::CutLine));

    let half = [&volt.as_bytes()[..24], &[0; 50]].concat();
    let lines = [first.as_bytes(), converter.as_bytes(), &half, temp.as_bytes()];
    let (records, damage) = read(&log(&lines));
    assert_eq!(records[0].1.cell_v[..3], [Some(3.201), Some(3.202), None]);
    assert_eq!(damage, [(3, Damage::Value("Volt"))]);
}
