use bluenova_console::{Assembler, Interval, Line, NoOwner};
use bluenova_record::{PackRecord, Text};
use time::{Duration, UtcDateTime, macros::utc_datetime};

const START: UtcDateTime = utc_datetime!(2026-11-22 16:50:00);
const ID: u32 = 0x9F3C_07B2;

fn at(seconds: f64) -> UtcDateTime {
    START + Duration::seconds_f64(seconds)
}

/// An assembler of ten-second intervals whose battery has just sent its MCU ID.
fn identified() -> Assembler {
    let mut assembler = unidentified();
    feed(&mut assembler, &["MCU ID: 9F3C07B2"]);
    assembler
}

fn unidentified() -> Assembler {
    let mut assembler = Assembler::new(Interval::from_seconds(10).unwrap());
    assert_eq!(assembler.tick(at(0.5)), None);
    assembler
}

fn feed(assembler: &mut Assembler, lines: &[&str]) {
    for line in lines {
        let _ = assembler.feed(line);
    }
}

fn row(assembler: &mut Assembler, now: f64) -> PackRecord {
    assembler.tick(at(now)).expect("a row is due").expect("it has an owner")
}

/// What one interval of these lines gives, beyond time and owner.
fn interval_of(lines: &[&str]) -> PackRecord {
    let mut assembler = identified();
    feed(&mut assembler, lines);
    row(&mut assembler, 10.0)
}

fn empty(seconds: f64) -> PackRecord {
    PackRecord::new(at(seconds), ID)
}

#[test]
fn every_field_has_its_line() {
    let mut expected = PackRecord {
        n_units: Some(3),
        unit_rank: Some(2),
        cell_count: Some(16),
        v_pack: Some(53.017),
        i_pack: Some(-41.75),
        temp: Some(-4),
        v_cell_max: Some(3.338),
        v_cell_min: Some(3.293),
        soc: Some(63),
        health: Some(97.25),
        errors: Some(Text::new("NONE")),
        system_state: Some(Text::new("NORMAL")),
        breaker: Some(Text::new("CLOSED")),
        charge_state: Some(Text::new("DISCHARGE")),
        energy_out: Some(812.5),
        energy_in: Some(900.25),
        adc_vp: Some(52.996),
        bad_crc: 2,
        parse_fail: 1,
        bad_vcell: 3,
        ..empty(10.0)
    };
    expected.cell_t[0] = Some(-9);
    expected.cell_v[0] = Some(3.3115);
    expected.cell_t[15] = Some(21);
    expected.cell_v[15] = Some(3.311);
    expected.adc[4] = Some(1.6135);
    let lines = [
        "--- PO PARAMS --- (i=3)",
        "after assignRank() --> own rank = 2",
        "CellCount: 16",
        "C01) T: -9, V: 3311.5",
        "C16) T: 21, V: 3311",
        "Vpack: 53017",
        "Current: -41.75",
        "Temp: -4",
        "Vc_max: 3338",
        "Vc_min: 3293",
        "SOC: 63",
        "SOH: 97.25",
        "Errors: \"NONE\"",
        "System_State: NORMAL",
        "Breaker: CLOSED",
        "Charge State: DISCHARGE (3)",
        "Vp_adc: 52996",
        "DEBUG: ADC[4]: 2002 = 1613.5",
        "INFO: BAD CRC",
        "INFO: BAD CRC 2",
        "INFO: cellcomms parse FAIL",
        "DEBUG: REJECT BAD 1",
        "DEBUG: REJECT BAD 2",
        "DEBUG: REJECT BAD 3",
        "DEBUG: CALC PACK_CHARGE, STORE IN FLASH",
        "Write EnergyOut: 812.5",
        "Write EnergyOut: 900.25",
        "noise",
    ];
    assert_eq!(interval_of(&lines), expected);
}

#[test]
fn the_latest_value_counts_and_a_malformed_one_is_none() {
    assert_eq!(interval_of(&["SOC: 63", "SOC: 64"]).soc, Some(64));
    assert_eq!(interval_of(&["SOC: 63", "SOC: ??"]).soc, Some(63));
    assert_eq!(interval_of(&["SOC: ??"]), empty(10.0));
    assert_eq!(interval_of(&["SOC: 99999"]).soc, None);
    let half = interval_of(&["C07) T: ??, V: 3311", "C08) T: 21, V: ?"]);
    assert_eq!((half.cell_t[6], half.cell_v[6]), (None, Some(3.311)));
    assert_eq!((half.cell_t[7], half.cell_v[7]), (Some(21), None));
}

#[test]
fn nothing_but_energy_and_identity_outlives_its_interval() {
    let mut assembler = identified();
    feed(&mut assembler, &["SOC: 63", "INFO: BAD CRC", "DEBUG: CALC PACK_CHARGE, STORE IN FLASH"]);
    feed(&mut assembler, &["Write EnergyOut: 1", "Write EnergyOut: 2"]);
    row(&mut assembler, 10.0);
    feed(&mut assembler, &["Temp: 20"]);
    let second = row(&mut assembler, 20.0);
    let energies = PackRecord { energy_out: Some(1.0), energy_in: Some(2.0), ..empty(20.0) };
    assert_eq!(second, PackRecord { temp: Some(20), ..energies });
}

#[test]
fn energies_are_taken_as_announced() {
    const ANNOUNCED: &str = "DEBUG: CALC PACK_CHARGE, STORE IN FLASH";
    let energies = |lines: &[&str]| {
        let record = interval_of(lines);
        (record.energy_out, record.energy_in)
    };
    let (one, two, three) = ("Write EnergyOut: 1", "Write EnergyOut: 2", "Write EnergyOut: 3");
    assert_eq!(energies(&[one, two]), (None, None));
    assert_eq!(energies(&[ANNOUNCED, one]), (Some(1.0), None));
    assert_eq!(energies(&[ANNOUNCED, one, "SOC: 1", two, three]), (Some(1.0), Some(2.0)));
    assert_eq!(energies(&[ANNOUNCED, one, ANNOUNCED, two, three]), (Some(2.0), Some(3.0)));
    // The malformed one is the first one all the same: the second must not count as it.
    assert_eq!(energies(&[ANNOUNCED, "Write EnergyOut: ?", two]), (None, Some(2.0)));
    assert_eq!(energies(&[ANNOUNCED, one, "Write EnergyOut: ?", three]), (Some(1.0), None));
}

#[test]
fn a_row_needs_an_owner() {
    let mut assembler = unidentified();
    feed(&mut assembler, &["SOC: 63"]);
    assert_eq!(assembler.tick(at(10.0)), Some(Err(NoOwner)));
    feed(&mut assembler, &["SOC: 64", "MCU ID: 9F3C07B2"]);
    assert_eq!(row(&mut assembler, 20.0).soc, Some(64));
    assert_eq!(assembler.owner(), Some(ID));
}

#[test]
fn the_owner_cannot_change_within_a_connection() {
    let mut assembler = identified();
    assert_eq!(assembler.feed("MCU ID: 9F3C07B3"), Ok(Line::McuId(0x9F3C_07B3)));
    feed(&mut assembler, &["MCU ID: 9F3C07B2", "MCU ID: 9F3C07B3"]);
    assert_eq!(row(&mut assembler, 10.0).mcu_id, ID);
}

#[test]
fn a_first_mcu_id_that_was_garbled_does_not_stay() {
    let mut assembler = unidentified();
    feed(&mut assembler, &["MCU ID: 9F", "SOC: 63", "MCU ID: 9F3C07B2", "MCU ID: 9F3C07B2"]);
    assert_eq!(row(&mut assembler, 10.0), PackRecord { soc: Some(63), ..empty(10.0) });
}

#[test]
fn a_garbled_mcu_id_stays_only_until_that_of_the_connection_before_comes() {
    let mut assembler = identified();
    assembler.disconnected();
    // A connection that has said none in between changes nothing.
    assembler.disconnected();
    feed(&mut assembler, &["MCU ID: 9F", "SOC: 63", "MCU ID: 9F3C07B2"]);
    assert_eq!(row(&mut assembler, 10.0), PackRecord { soc: Some(63), ..empty(10.0) });
    // Of another battery, the first counts at once, and a garbled one in between is none.
    assembler.disconnected();
    feed(&mut assembler, &["MCU ID: 1", "MCU ID: 9F3C07B", "MCU ID: 1"]);
    assert_eq!(row(&mut assembler, 20.0).mcu_id, 1);
}

#[test]
fn an_interval_without_known_lines_has_no_row() {
    let mut assembler = identified();
    row(&mut assembler, 10.0);
    feed(&mut assembler, &["noise", ""]);
    assert_eq!(assembler.tick(at(20.0)), None);
    feed(&mut assembler, &["INFO: BAD CRC"]);
    assert_eq!(row(&mut assembler, 30.0), PackRecord { bad_crc: 1, ..empty(30.0) });
}

#[test]
fn intervals_end_at_their_multiples() {
    for (seconds, from, end) in [
        (10, START, utc_datetime!(2026-11-22 16:50:10)),
        (10, utc_datetime!(2026-11-22 16:50:09.999), utc_datetime!(2026-11-22 16:50:10)),
        (60, START, utc_datetime!(2026-11-22 16:51:00)),
        (1, utc_datetime!(2026-11-22 16:50:09.2), utc_datetime!(2026-11-22 16:50:10)),
        (86_400, START, utc_datetime!(2026-11-23 00:00:00)),
    ] {
        let mut assembler = Assembler::new(Interval::from_seconds(seconds).unwrap());
        assert_eq!(assembler.tick(from), None);
        feed(&mut assembler, &["MCU ID: 1"]);
        assert_eq!(assembler.tick(end - Duration::MICROSECOND), None);
        let record = assembler.tick(end + Duration::MILLISECOND).unwrap().unwrap();
        assert_eq!(record.insert_time_utc, end);
    }
    assert_eq!(Interval::from_seconds(0), None);
    assert_eq!(Interval::from_seconds(86_401), None);
}

#[test]
fn a_clock_that_jumps_ends_the_interval_under_its_own_stamp() {
    let mut ahead = identified();
    assert_eq!(row(&mut ahead, 86_400.5).insert_time_utc, at(10.0));
    feed(&mut ahead, &["SOC: 1"]);
    assert_eq!(row(&mut ahead, 86_410.0).insert_time_utc, at(86_410.0));

    let mut back = identified();
    assert_eq!(row(&mut back, -3600.0).insert_time_utc, at(10.0));
    feed(&mut back, &["SOC: 1"]);
    assert_eq!(row(&mut back, -3590.0).insert_time_utc, at(-3590.0));

    let mut slightly_back = identified();
    assert_eq!(slightly_back.tick(at(-3.0)), None);
    assert_eq!(row(&mut slightly_back, 10.0).insert_time_utc, at(10.0));
}

#[test]
fn two_connections_of_one_interval_make_one_row() {
    const ANNOUNCED: &str = "DEBUG: CALC PACK_CHARGE, STORE IN FLASH";
    let mut assembler = identified();
    feed(&mut assembler, &[ANNOUNCED, "Write EnergyOut: 1", "Write EnergyOut: 2"]);
    row(&mut assembler, 10.0);
    feed(&mut assembler, &["SOC: 63", "Temp: 20", "INFO: BAD CRC", ANNOUNCED]);
    assembler.disconnected();
    assert_eq!(assembler.owner(), None);
    feed(&mut assembler, &["MCU ID: 9F3C07B2", "SOC: 64", "INFO: BAD CRC", "Write EnergyOut: 9"]);
    // The energies were of the lost connection, and so was the announcement.
    let expected = PackRecord { soc: Some(64), temp: Some(20), bad_crc: 2, ..empty(20.0) };
    assert_eq!(row(&mut assembler, 20.0), expected);
    assert_eq!(assembler.tick(at(20.0)), None);
}

#[test]
fn a_lost_connection_does_not_cost_its_values() {
    let mut assembler = identified();
    feed(&mut assembler, &["SOC: 63"]);
    assembler.disconnected();
    // No MCU ID has come on the new connection.
    feed(&mut assembler, &["SOC: 99"]);
    assert_eq!(row(&mut assembler, 10.0), PackRecord { soc: Some(63), ..empty(10.0) });
    assert_eq!(assembler.tick(at(20.0)), None);
}

#[test]
fn another_battery_at_the_same_address_has_a_row_of_its_own() {
    let mut assembler = identified();
    feed(&mut assembler, &["SOC: 63"]);
    assembler.disconnected();
    feed(&mut assembler, &["MCU ID: 1", "SOC: 20"]);
    let first = row(&mut assembler, 10.0);
    let second = row(&mut assembler, 10.0);
    assert_eq!((first.mcu_id, first.soc), (ID, Some(63)));
    assert_eq!((second.mcu_id, second.soc), (1, Some(20)));
    assert_eq!(second.insert_time_utc, at(10.0));
    assert_eq!(assembler.tick(at(10.0)), None);
}

#[test]
fn a_third_battery_in_one_interval_loses_none() {
    let mut assembler = identified();
    assembler.disconnected();
    feed(&mut assembler, &["MCU ID: 1"]);
    assembler.disconnected();
    let mut owners = vec![row(&mut assembler, 5.0).mcu_id];
    feed(&mut assembler, &["MCU ID: 2"]);
    owners.push(row(&mut assembler, 10.0).mcu_id);
    owners.push(row(&mut assembler, 10.0).mcu_id);
    assert_eq!(owners, [ID, 1, 2]);
}

#[test]
fn the_interval_under_way_is_stamped_with_the_end_of_the_program() {
    let mut assembler = identified();
    feed(&mut assembler, &["SOC: 63"]);
    let now = at(3.25) + Duration::nanoseconds(1_234);
    let record = assembler.finish(now).unwrap().unwrap();
    assert_eq!(record.insert_time_utc, at(3.25) + Duration::MICROSECOND);
    assert_eq!(record.soc, Some(63));
    assert_eq!(assembler.finish(at(4.0)), None);
}

#[test]
fn counters_stay_at_the_largest_number_that_fits() {
    let mut assembler = identified();
    for _ in 0..40_000 {
        feed(&mut assembler, &["INFO: BAD CRC"]);
    }
    assert_eq!(row(&mut assembler, 10.0).bad_crc, i16::MAX);
}
