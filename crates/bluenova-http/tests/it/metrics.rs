use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use bluenova_insight::{
    CellFigures, CellWeakness, Estimate, Figures, Goal, Insight, TimeToGo, UtcDays, Verdict,
    WeakCell,
};
use bluenova_record::{PackRecord, Text};
use bluenova_status::ConnectionState;
use bluenova_test_support::{Answer, Prometheus, wait_until};

use crate::support::{Listener, NORTH, NOW, record};

#[test]
fn base_units_and_labels() {
    let mut listener = Listener::start();
    listener.journal.append(&[record(NORTH)]).unwrap();
    let Answer { status, head, body: text } = listener.get("/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    for line in [
        "# TYPE bluenova_pack_voltage_volts gauge",
        "bluenova_pack_voltage_volts{battery=\"9F3C07B2\",name=\"north\"} 53.017",
        "bluenova_pack_current_amperes{battery=\"9F3C07B2\",name=\"north\"} -41.75",
        "bluenova_pack_temperature_celsius{battery=\"00000BAD\",name=\"south\"} -3",
        "bluenova_state_of_charge_ratio{battery=\"9F3C07B2\",name=\"north\"} 0.63",
        "bluenova_state_of_health_ratio{battery=\"9F3C07B2\",name=\"north\"} 0.9725",
        "bluenova_cell_voltage_volts{battery=\"9F3C07B2\",cell=\"07\",name=\"north\"} 3.338",
        "bluenova_cell_temperature_celsius{battery=\"9F3C07B2\",cell=\"07\",name=\"north\"} 21",
        "bluenova_last_sample_timestamp_seconds{battery=\"9F3C07B2\",name=\"north\"} 1795377600",
        "bluenova_breaker_closed{battery=\"9F3C07B2\",name=\"north\"} 1",
        "bluenova_errors_present{battery=\"9F3C07B2\",name=\"north\"} 0",
        "bluenova_bad_crc_total{battery=\"9F3C07B2\",name=\"north\"} 5",
        "bluenova_battery_info{battery=\"9F3C07B2\",name=\"north\"} 1",
        "bluenova_connected{name=\"north\"} 1",
        "bluenova_redials_total{name=\"north\"} 2",
        "bluenova_malformed_lines_total{name=\"north\"} 3",
        "bluenova_rows_recorded_total{name=\"north\"} 4",
        "bluenova_rows_delivered_total 7",
        "bluenova_rows_waiting 1",
        "bluenova_rows_set_aside 0",
        "bluenova_rows_only_in_memory 0",
        "bluenova_delivery_stuck 0",
    ] {
        assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
    }
    // A cell without a value has no series.
    assert!(!text.contains("cell=\"02\""), "{text}");
}

fn add_figures(listener: &Listener) {
    listener.change(|status| {
        let mut insight = Insight::new(NORTH);
        for second in 0..=10 {
            let mut sample = PackRecord::new(NOW - Duration::from_secs(10 - second), NORTH);
            (sample.v_pack, sample.i_pack) = (Some(50.0), Some(-36.0));
            insight.sample(&sample, &UtcDays);
        }
        let known = |value| Some(Estimate { value, plus_minus: 1.0 });
        let cell = CellFigures {
            resistance_mohm: known(0.5),
            charge_ah: known(-2.0),
            charge_ah_per_week: known(-0.25),
            ..CellFigures::default()
        };
        let figures = Figures {
            capacity_ah: known(100.0),
            time_to_go: Some(TimeToGo {
                goal: Goal::Empty,
                seconds: 3000.0,
                plus_minus_s: 300.0,
                with_usual_capacity: false,
            }),
            cells: vec![cell; 2],
            // The first cell only needs balancing.
            verdict: Verdict::Weak(vec![
                weak_cell(2, CellWeakness::HighResistance { times_median: 2.0 }),
                weak_cell(1, CellWeakness::LowCharge { ah_lacking: 9.0 }),
            ]),
            ..insight.figures().unwrap()
        };
        status.batteries[0].figures = Some(figures.into());
    });
}

fn weak_cell(cell: u8, weakness: CellWeakness) -> WeakCell {
    WeakCell { cell, weakness, days: 10, evidence: String::new() }
}

#[test]
fn what_the_samples_say_is_in_base_units() {
    let listener = Listener::start();
    assert!(!listener.get("/metrics").body.contains("_joules_total{"));
    add_figures(&listener);
    let text = listener.get("/metrics").body;
    for (name, expected) in [
        ("energy_in_joules_total{battery=\"9F3C07B2\",name=\"north\"}", 0.0),
        ("energy_out_joules_total{battery=\"9F3C07B2\",name=\"north\"}", 18_000.0),
        ("charge_out_coulombs_total{battery=\"9F3C07B2\",name=\"north\"}", 360.0),
        ("capacity_coulombs{battery=\"9F3C07B2\",name=\"north\"}", 360_000.0),
        ("capacity_plus_minus_coulombs{battery=\"9F3C07B2\",name=\"north\"}", 3600.0),
        ("time_to_empty_seconds{battery=\"9F3C07B2\",name=\"north\"}", 3000.0),
        ("cell_resistance_ohms{battery=\"9F3C07B2\",cell=\"02\",name=\"north\"}", 0.0005),
        ("cell_imbalance_coulombs{battery=\"9F3C07B2\",cell=\"02\",name=\"north\"}", -7200.0),
        (
            "cell_imbalance_per_week_coulombs{battery=\"9F3C07B2\",cell=\"02\",name=\"north\"}",
            -900.0,
        ),
        (
            "cell_imbalance_per_week_plus_minus_coulombs\
             {battery=\"9F3C07B2\",cell=\"02\",name=\"north\"}",
            3600.0,
        ),
        ("cell_weak{battery=\"9F3C07B2\",cell=\"01\",name=\"north\"}", 0.0),
        ("cell_weak{battery=\"9F3C07B2\",cell=\"02\",name=\"north\"}", 1.0),
    ] {
        let start = format!("bluenova_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&start)).expect(name);
        assert!((value.parse::<f64>().unwrap() - expected).abs() < 1e-6, "{name}: {value}");
    }
    assert!(!text.contains("time_to_full_seconds{"), "{text}");
    assert!(text.contains("# TYPE bluenova_energy_in_joules_total counter\n"), "{text}");
    check(&listener);
}

#[test]
fn a_stale_battery_has_no_series() {
    let listener = Listener::start();
    listener.set_age(0, 31_000);
    listener.change(|status| status.batteries[0].connection = ConnectionState::Down { why: None });
    let text = listener.get("/metrics").body;
    let silent = "bluenova_battery_silent{battery=\"9F3C07B2\",name=\"north\"} 1";
    let of_north: Vec<&str> = text.lines().filter(|line| line.contains("9F3C07B2")).collect();
    let last_row = "bluenova_battery_last_row_timestamp_seconds\
                    {battery=\"9F3C07B2\",name=\"north\"} 1795377573.25";
    assert_eq!(of_north, [last_row, silent], "{text}");
    let south = "bluenova_battery_silent{battery=\"00000BAD\",name=\"south\"} 0\n";
    assert!(text.contains(south), "{text}");
    assert!(text.contains("bluenova_connected{name=\"north\"} 0\n"), "{text}");
}

/// An alert for silence follows from one scrape: not right after the start, when the battery
/// may be as well as before, and never for a battery that was removed.
#[test]
fn silence_is_said_of_every_battery_of_the_command_line() {
    let listener = Listener::start();
    let lines = || {
        let text = listener.get("/metrics").body;
        let of_silence = text.lines().filter(|line| line.starts_with("bluenova_battery_silent{"));
        of_silence.map(str::to_owned).collect::<Vec<_>>()
    };
    // One that has never sent its MCU ID has its name alone.
    listener.change(|status| {
        status.batteries[1].newest = None;
        status.batteries[1].announced_mcu_id = None;
        status.started = status.instant;
    });
    let north = "bluenova_battery_silent{battery=\"9F3C07B2\",name=\"north\"} 0";
    assert_eq!(lines(), ["bluenova_battery_silent{battery=\"\",name=\"south\"} 0", north]);
    listener.change(|status| status.started = status.instant - Duration::from_secs(3600));
    assert_eq!(lines(), ["bluenova_battery_silent{battery=\"\",name=\"south\"} 1", north]);
    listener.change(|status| status.batteries.truncate(1));
    assert_eq!(lines(), [north]);
}

/// Each series is there once, under all the names, so that Prometheus adds nothing up twice.
#[test]
fn a_battery_of_two_addresses_is_one_series() {
    let listener = Listener::start();
    listener.change(|status| status.batteries[1].newest = status.batteries[0].newest.clone());
    let text = listener.get("/metrics").body;
    let both = "{battery=\"9F3C07B2\",name=\"north = south\"}";
    let volts: Vec<&str> = text.lines().filter(|it| it.contains("pack_voltage_volts{")).collect();
    assert_eq!(volts, [format!("bluenova_pack_voltage_volts{both} 53.017")], "{text}");
    assert!(text.contains(&format!("bluenova_battery_silent{both} 0\n")), "{text}");
    for name in ["north", "south"] {
        let info = format!("bluenova_battery_info{{battery=\"9F3C07B2\",name=\"{name}\"}} 1\n");
        assert!(text.contains(&info), "{text}");
    }
    // One address that falls silent doesn't make the battery silent.
    listener.set_age(1, 31_000);
    let text = listener.get("/metrics").body;
    assert!(text.contains(&format!("bluenova_battery_silent{both} 0\n")), "{text}");
}

/// What is wrong begins with the samples and has its value, before the first row and between two.
#[test]
fn problems_follow_the_samples() {
    let listener = Listener::start();
    listener.change(|status| {
        let mut sample = record(NORTH);
        sample.soc = Some(9);
        sample.temp = Some(60);
        sample.errors = Some(Text::new("CELL_OV"));
        let (north, now) = (&mut status.batteries[0], status.instant);
        north.newest = None;
        north.announced_mcu_id = Some(NORTH);
        for second in [4, 2, 0] {
            north.sampled(sample.clone(), now - Duration::from_secs(second));
        }
        (status.started, status.interval) = (now, Duration::from_secs(600));
    });
    let of_north = || {
        let text = listener.get("/metrics").body;
        let lines = text.lines().filter_map(|line| line.strip_prefix("bluenova_battery_problem"));
        let lines = lines.filter(|line| line.contains("9F3C07B2") && !line.ends_with(" 0"));
        lines.map(|line| line.replace("battery=\"9F3C07B2\",", "")).collect::<Vec<_>>()
    };
    let red = "limit=\"errors\",name=\"north\",severity=\"red\"";
    let amber = "limit=\"low-charge\",name=\"north\",severity=\"amber\"";
    let begun = ["s_total{limit=\"errors\",name=\"north\"} 1".to_owned()];
    let mut expected = vec![
        format!("{{{red}}} 1"),
        format!("{{{amber}}} 1"),
        format!("_info{{{red},words=\"CELL_OV\"}} 1"),
        format!("_value{{cell=\"\",{amber}}} 9"),
    ];
    expected.extend(begun.clone());
    assert_eq!(of_north(), expected);
    check(&listener);
    // It has been over before anyone asked: the count shows it.
    listener.change(|status| {
        for second in [4, 2, 0] {
            let now = status.instant + Duration::from_secs(10 - second);
            status.batteries[0].sampled(record(NORTH), now);
        }
        status.instant += Duration::from_secs(10);
    });
    assert_eq!(of_north(), begun);
}

/// Texts from a battery and the command line, and one battery under two addresses.
#[test]
fn promtool_finds_nothing_wrong() {
    let mut listener = Listener::start();
    listener.journal.append(&[record(NORTH)]).unwrap();
    check(&listener);
    listener.change(|status| {
        let newest = status.batteries[0].newest.as_mut().unwrap();
        newest.record.errors = Some(Text::new("a \"quote\" \\ and {x=\"1\"}\nb"));
        status.batteries[0].name = "böse \"} 1\\".into();
        status.batteries[1].newest = status.batteries[0].newest.clone();
    });
    check(&listener);
    listener.change(|status| {
        status.batteries.clear();
        status.delivery = None;
    });
    check(&listener);
}

fn check(listener: &Listener) {
    let text = listener.get("/metrics").body;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in Debian's package prometheus, which ./test installs");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}\n{text}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}\n{text}");
}

#[test]
fn prometheus_scrapes_it() {
    let listener = Listener::start();
    let prometheus = Prometheus::start(listener.address());
    let cell = "bluenova_cell_voltage_volts{battery=\"9F3C07B2\",cell=\"07\",name=\"north\"}";
    wait_until("Prometheus has the cell", Duration::from_secs(60), || {
        prometheus.query(cell).as_deref() == Some("3.338")
    });
    assert_eq!(prometheus.query("up").as_deref(), Some("1"));
    assert_eq!(prometheus.query("sum(bluenova_rows_recorded_total)").as_deref(), Some("8"));

    // A battery that goes stale is gone, not frozen.
    listener.set_age(0, 31_000);
    wait_until("Prometheus has let go of it", Duration::from_secs(60), || {
        prometheus.query(cell).is_none()
    });
}
