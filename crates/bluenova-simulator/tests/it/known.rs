use bluenova_record::PackRecord;
use bluenova_simulator::{KnownBattery, PackTruth, Sensors, SocHabit, Weakness};

const DAY: usize = 86_400;

#[test]
fn samples_look_like_those_of_a_console_whatever_the_seed() {
    for seed in 0..8 {
        let truth = PackTruth::weak(seed, Weakness::ALL[seed as usize % 3]);
        let cell_count = truth.cells.len();
        let mut battery = KnownBattery::new(truth);
        let mut before = battery.time();
        for sample in battery.by_ref().take(DAY) {
            let context = format!("seed {seed}, {}", sample.insert_time_utc);
            let step = (sample.insert_time_utc - before).as_seconds_f64();
            assert!((0.9..1.1).contains(&step), "{context}: {step}");
            before = sample.insert_time_utc;
            check_values(&sample, cell_count, &context);
        }
    }
}

fn check_values(sample: &PackRecord, cell_count: usize, context: &str) {
    let cells: Vec<f32> = sample.cell_v.iter().flatten().copied().collect();
    assert_eq!(cells.len(), cell_count, "{context}");
    assert!(cells.iter().all(|v| (2.5..=3.65).contains(v)), "{context}: {cells:?}");
    for volts in cells.iter().chain(&sample.v_pack) {
        let mv = f64::from(*volts) * 1000.0;
        assert!((mv - mv.round()).abs() < 0.01, "{context}: {volts}");
        assert_eq!((mv.round() / 1000.0) as f32, *volts, "{context}");
    }
    let sum: f32 = cells.iter().sum();
    assert!((sum - sample.v_pack.unwrap()).abs() < 0.2, "{context}");
    let highest = cells.iter().copied().fold(0.0, f32::max);
    assert_eq!(sample.v_cell_max, Some(highest), "{context}");
    assert!((0..=100).contains(&sample.soc.unwrap()), "{context}: {:?}", sample.soc);
    let amps = sample.i_pack.unwrap();
    assert!(amps.abs() < 130.0 && sample.temp.unwrap() > -5, "{context}");
    assert_eq!(((f64::from(amps) * 100.0).round() / 100.0) as f32, amps, "{context}");
}

#[test]
fn the_same_truth_yields_the_same_samples() {
    let battery = |seed| KnownBattery::new(PackTruth::healthy(seed));
    assert!(battery(1).take(1000).eq(battery(1).take(1000)));
    assert!(!battery(1).take(1000).eq(battery(2).take(1000)));
}

#[test]
fn what_flows_changes_the_charge_of_each_cell_and_the_voltage_by_its_resistance() {
    let mut truth = PackTruth::healthy(3);
    truth.sensors = Sensors::exact(truth.cells.len());
    let mut battery = KnownBattery::new(truth);
    // Through a night, so that nothing is charged, and its loss, and balanced.
    let (before, mut steps) = (battery.cell_charge_ah(0).unwrap(), 0);
    let mut last: Option<PackRecord> = None;
    for _ in 0..4 * 3600 {
        let sample = battery.next().unwrap();
        if let Some(last) = last {
            let amps = sample.i_pack.unwrap() - last.i_pack.unwrap();
            let volts = sample.cell_v[0].unwrap() - last.cell_v[0].unwrap();
            if amps.abs() > 10.0 {
                let (seen, ohms) = (f64::from(volts / amps), battery.cell_ohms(0).unwrap());
                // A millivolt of either reading, and what relaxes within the second.
                assert!((seen - ohms).abs() < 0.05 * ohms + 0.001_1 / f64::from(amps.abs()));
                steps += 1;
            }
        }
        last = Some(sample);
    }
    let flows = battery.flows();
    let leaked = battery.truth().cells[0].leakage_ah_per_week / 42.0;
    let expected = before + flows.charge_in_ah - flows.charge_out_ah - leaked;
    assert!((battery.cell_charge_ah(0).unwrap() - expected).abs() < 0.001, "{expected}");
    assert!(steps > 5 && flows.charge_out_ah > 1.0, "{steps} {flows:?}");
}

#[test]
fn each_habit_of_the_firmware_is_seen_at_the_top() {
    let label = PackTruth::healthy(1).label_ah;
    for habit in [SocHabit::Right, SocHabit::Counts(1.1 * label), SocHabit::Sticks(label)] {
        let truth = PackTruth { soc_habit: habit, ..PackTruth::healthy(1) };
        let socs: Vec<i16> =
            KnownBattery::new(truth).take(4 * DAY).map(|sample| sample.soc.unwrap()).collect();
        let jump = socs.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(socs.contains(&100), "{habit:?}");
        match habit {
            SocHabit::Sticks(_) => assert_eq!(jump, Some(10)),
            SocHabit::Right => assert_eq!(jump, Some(1)),
            SocHabit::Counts(_) => assert!(jump >= Some(1)),
        }
    }
}

#[test]
fn a_cell_that_discharges_itself_falls_behind_the_others() {
    let mut truth = PackTruth::weak(4, Weakness::SelfDischarge);
    truth.balancing_amps = 0.0;
    let weak = usize::from(truth.defect.unwrap().cell - 1);
    let neighbour = (weak + 1) % truth.cells.len();
    let lost = truth.cells[weak].leakage_ah_per_week - truth.cells[neighbour].leakage_ah_per_week;
    let mut battery = KnownBattery::new(truth);
    let ahead = |battery: &KnownBattery| {
        battery.cell_charge_ah(neighbour).unwrap() - battery.cell_charge_ah(weak).unwrap()
    };
    let before = ahead(&battery);
    battery.by_ref().nth(7 * DAY - 1);
    assert!((ahead(&battery) - before - lost).abs() < 0.01, "{} {lost}", ahead(&battery));
    assert!((0.3..2.5).contains(&lost));
}
