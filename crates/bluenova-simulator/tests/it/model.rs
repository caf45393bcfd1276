use std::{collections::HashSet, time::Duration};

use bluenova_console::{Decimal, Line, Millivolts, parse};
use bluenova_record::CELLS;
use bluenova_simulator::{Battery, Profile, Snapshot};
use time::UtcDateTime;

use crate::battery;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn volts(mv: Millivolts) -> f32 {
    mv.volts()
}

fn check_bounds(snapshot: &Snapshot, context: &str) {
    let cells = snapshot.cell_v.map(volts);
    let (lowest, highest) = (volts(snapshot.v_cell_min), volts(snapshot.v_cell_max));
    let sum: f32 = cells.iter().sum();
    let mean = sum / CELLS as f32;
    let pack = volts(snapshot.v_pack);
    assert!(cells.iter().all(|v| (2.5..=3.65).contains(v)), "{context}: {cells:?}");
    assert!(lowest <= mean + 1e-5 && mean <= highest + 1e-5, "{context}");
    assert!(cells.contains(&lowest) && cells.contains(&highest), "{context}");
    assert!((sum - pack).abs() < 0.1, "{context}: {sum} {pack}");
    assert!((pack - volts(snapshot.adc_vp)).abs() < 0.15, "{context}");
    assert!((0..=100).contains(&snapshot.soc), "{context}: SOC {}", snapshot.soc);
    assert!((80.0..=100.0).contains(&snapshot.health.to_f32()), "{context}");
    assert!(snapshot.i_pack.to_f32().abs() <= 111.0, "{context}: {}", snapshot.i_pack);
    for t in snapshot.cell_t.into_iter().chain([snapshot.temp]) {
        assert!((5..=45).contains(&t), "{context}: {t} °C");
    }
    for adc in snapshot.adc {
        assert!((0..=4095).contains(&adc.raw) && volts(adc.voltage) <= 3.3, "{context}: {adc:?}");
    }
}

/// One snapshot a minute, for three days.
fn three_days(mut battery: Battery) -> Vec<Snapshot> {
    let mut console = String::new();
    (0..3 * 24 * 60)
        .map(|_| {
            console.clear();
            battery.advance(MINUTE);
            battery.print_cycle(&mut console)
        })
        .collect()
}

#[test]
fn three_days_stay_in_bounds_whatever_the_seed_and_the_start() {
    for (seed, soc) in [(1, 55.0), (2, 0.0), (3, 100.0), (4, 10.0), (5, -7.0), (6, f64::NAN)] {
        let start = UtcDateTime::UNIX_EPOCH + Duration::from_secs(seed * 10_000_000);
        let days = three_days(Battery::new(Profile { soc, ..Profile::new(seed, start) }));
        let mut energy = (0.0, 0.0);
        for snapshot in &days {
            let context = format!("seed {seed}, {}", snapshot.time);
            check_bounds(snapshot, &context);
            if let (Some(charged), Some(discharged)) = (snapshot.energy_in, snapshot.energy_out) {
                let now = (charged.to_f32(), discharged.to_f32());
                assert!(energy.0 <= now.0 && energy.1 <= now.1, "{context}: {energy:?} {now:?}");
                energy = now;
            }
        }
    }
}

#[test]
fn a_day_has_charge_taper_rest_and_discharge() {
    for seed in [1, 5, 9, 42] {
        let days = three_days(battery(seed));
        let minutes = |word| days.iter().filter(|s| s.charge_state == word).count();
        assert!(minutes("CHARGE") > 300, "seed {seed}");
        assert!(minutes("DISCHARGE") > 1000, "seed {seed}");
        assert!(minutes("TAPER") > 10, "seed {seed}: {}", minutes("TAPER"));
        assert!(minutes("IDLE") > 60, "seed {seed}");
        let soc = || days.iter().map(|s| s.soc);
        assert!(soc().max() >= Some(99) && soc().min() < Some(50), "seed {seed}");
        for snapshot in &days {
            if snapshot.time.hour() < 6 {
                assert!(snapshot.i_pack.to_f32() < 0.5, "no sun at {}", snapshot.time);
            }
            if snapshot.charge_state == "TAPER" {
                assert!(volts(snapshot.v_cell_max) > 3.4, "near full at {}", snapshot.time);
            }
        }
    }
}

#[test]
fn the_seed_makes_the_battery() {
    let consoles = [7, 7, 8].map(|seed| {
        let mut battery = battery(seed);
        let mut console = String::new();
        for _ in 0..200 {
            battery.advance(SECOND);
            battery.print_cycle(&mut console);
        }
        console
    });
    assert!(consoles[0] == consoles[1]);
    assert!(consoles[0] != consoles[2]);
    assert_ne!(battery(7).profile().mcu_id, battery(8).profile().mcu_id);
}

#[test]
fn what_happens_does_not_depend_on_how_often_it_is_printed() {
    let [mut printed, mut quiet] = [battery(3), battery(3)];
    let mut console = String::new();
    for _ in 0..5000 {
        printed.advance(SECOND);
        printed.print_cycle(&mut console);
        quiet.advance(SECOND);
    }
    let both = [&mut printed, &mut quiet].map(|battery| {
        // By then both print their energies.
        battery.advance(MINUTE);
        let printed = battery.print_cycle(&mut console);
        (
            printed.time,
            printed.soc,
            printed.temp,
            printed.charge_state,
            printed.energy_in,
            printed.energy_out,
        )
    });
    assert_eq!(both[0], both[1]);
}

/// What a listener makes of the lines of one cycle.
fn parsed(console: &str, mut snapshot: Snapshot) -> Snapshot {
    // Whatever is not printed stays wrong.
    let nothing = Decimal::new(-1, 0).unwrap();
    let silent = Millivolts(nothing);
    snapshot.cell_v = [silent; CELLS];
    snapshot.cell_t = [-99; CELLS];
    (snapshot.v_pack, snapshot.adc_vp) = (silent, silent);
    (snapshot.v_cell_min, snapshot.v_cell_max) = (silent, silent);
    (snapshot.energy_in, snapshot.energy_out) = (None, None);
    (snapshot.i_pack, snapshot.health) = (nothing, nothing);
    (snapshot.bad_crc, snapshot.parse_fail, snapshot.bad_vcell) = (0, 0, 0);
    (snapshot.n_units, snapshot.unit_rank, snapshot.cell_count) = (-1, -1, -1);
    (snapshot.soc, snapshot.temp, snapshot.mcu_id) = (-1, -99, 0);
    let mut texts = [(); 4].map(|()| String::new());
    for line in console.lines() {
        match parse(line).unwrap() {
            Line::McuId(id) => snapshot.mcu_id = id,
            Line::UnitCount(n) => snapshot.n_units = n,
            Line::UnitRank(n) => snapshot.unit_rank = n,
            Line::CellCount(n) => snapshot.cell_count = n,
            Line::Cell { cell, temperature, voltage } => {
                snapshot.cell_t[cell.index()] = temperature;
                snapshot.cell_v[cell.index()] = voltage;
            }
            Line::PackVoltage(v) => snapshot.v_pack = v,
            Line::PackCurrent(i) => snapshot.i_pack = i,
            Line::PackTemperature(t) => snapshot.temp = t,
            Line::CellVoltageMax(v) => snapshot.v_cell_max = v,
            Line::CellVoltageMin(v) => snapshot.v_cell_min = v,
            Line::StateOfCharge(n) => snapshot.soc = n,
            Line::StateOfHealth(n) => snapshot.health = n,
            Line::Errors(text) => texts[0] = text.into(),
            Line::SystemState(text) => texts[1] = text.into(),
            Line::Breaker(text) => texts[2] = text.into(),
            Line::ChargeState(text) => texts[3] = text.into(),
            Line::AdcPackVoltage(v) => snapshot.adc_vp = v,
            Line::Adc { channel, raw, voltage } => {
                let adc = &mut snapshot.adc[channel.index()];
                assert_eq!((adc.raw, adc.voltage), (raw, voltage));
            }
            Line::BadCrc => snapshot.bad_crc += 1,
            Line::CellFrameUnparsable => snapshot.parse_fail += 1,
            Line::CellReadingRejected => snapshot.bad_vcell += 1,
            Line::EnergyAnnounced => assert_eq!(snapshot.energy_out, None),
            Line::EnergyWritten(n) if snapshot.energy_out.is_none() => {
                snapshot.energy_out = Some(n);
            }
            Line::EnergyWritten(n) => snapshot.energy_in = Some(n),
            Line::Other(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        texts,
        [snapshot.errors, snapshot.system_state, snapshot.breaker, snapshot.charge_state]
    );
    snapshot
}

#[test]
fn every_line_parses_to_the_value_that_was_printed() {
    let mut battery = battery(1);
    let mut kinds = HashSet::new();
    let mut console = String::new();
    let mut lines = 0;
    const CYCLES: usize = 3000;
    for cycle in 0..CYCLES {
        console.clear();
        battery.advance(SECOND);
        let printed = battery.print_cycle(&mut console);
        assert_eq!(parsed(&console, printed.clone()), printed);
        assert_eq!(printed.energy_in.is_some(), cycle % 60 == 0, "cycle {cycle}");
        for line in console.split_inclusive("\r\n") {
            let line = line.strip_suffix("\r\n").unwrap();
            let parsed = parse(line).unwrap();
            assert!(line.starts_with(&parsed.to_string()), "{line}");
            let kind = format!("{parsed:?}");
            kinds.insert(kind.split(['(', ' ']).next().unwrap().to_owned());
            lines += 1;
        }
    }
    assert_eq!(kinds.len(), 24, "every kind of line occurs: {kinds:?}");
    assert!((42..=48).contains(&(lines / CYCLES)), "{lines}");
}
