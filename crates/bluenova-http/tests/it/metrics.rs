use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bluenova_insight::{
    CellFigures, CellWeakness, Estimate, Figures, Goal, Insight, TimeToGo, UtcDays, Verdict,
    WeakCell,
};
use bluenova_record::{PackRecord, Text};
use bluenova_status::ConnectionState;
use bluenova_test_support::{Answer, wait_until};
use serde_json::Value;

use crate::support::{Listener, NORTH, NOW, get, record};

#[test]
fn base_units_and_labels() {
    let mut listener = Listener::start();
    listener.journal.append(&[record(NORTH)]).unwrap();
    let Answer { status, head, body: text } = listener.get("/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    for line in [
        "# TYPE bluenova_pack_voltage_volts gauge",
        "bluenova_pack_voltage_volts{battery=\"9F3C07B2\"} 53.017",
        "bluenova_pack_current_amperes{battery=\"9F3C07B2\"} -41.75",
        "bluenova_pack_temperature_celsius{battery=\"00000BAD\"} -3",
        "bluenova_state_of_charge_ratio{battery=\"9F3C07B2\"} 0.63",
        "bluenova_state_of_health_ratio{battery=\"9F3C07B2\"} 0.9725",
        "bluenova_cell_voltage_volts{battery=\"9F3C07B2\",cell=\"07\"} 3.338",
        "bluenova_cell_temperature_celsius{battery=\"9F3C07B2\",cell=\"07\"} 21",
        "bluenova_last_sample_timestamp_seconds{battery=\"9F3C07B2\"} 1795377600",
        "bluenova_breaker_closed{battery=\"9F3C07B2\"} 1",
        "bluenova_errors_present{battery=\"9F3C07B2\"} 0",
        "bluenova_bad_crc_total{battery=\"9F3C07B2\"} 5",
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
        let cell = CellFigures { resistance_mohm: known(0.5), ..CellFigures::default() };
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
        ("energy_in_joules_total{battery=\"9F3C07B2\"}", 0.0),
        ("energy_out_joules_total{battery=\"9F3C07B2\"}", 18_000.0),
        ("charge_out_coulombs_total{battery=\"9F3C07B2\"}", 360.0),
        ("capacity_coulombs{battery=\"9F3C07B2\"}", 360_000.0),
        ("capacity_plus_minus_coulombs{battery=\"9F3C07B2\"}", 3600.0),
        ("time_to_empty_seconds{battery=\"9F3C07B2\"}", 3000.0),
        ("cell_resistance_ohms{battery=\"9F3C07B2\",cell=\"02\"}", 0.0005),
        ("cell_weak{battery=\"9F3C07B2\",cell=\"01\"}", 0.0),
        ("cell_weak{battery=\"9F3C07B2\",cell=\"02\"}", 1.0),
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
    assert!(!text.contains("9F3C07B2"), "{text}");
    assert!(text.contains("battery=\"00000BAD\""), "{text}");
    assert!(text.contains("bluenova_connected{name=\"north\"} 0\n"), "{text}");
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
    let cell = "bluenova_cell_voltage_volts{battery=\"9F3C07B2\",cell=\"07\"}";
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

/// A Prometheus that scrapes one address twice a second.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
                 scrape_configs: [{{job_name: bluenova, \
                 static_configs: [{{targets: ['{target}']}}]}}]\n"
            ),
        )
        .unwrap();
        // It can't choose a port by itself; this one was free a moment ago.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .expect("Debian's package prometheus is needed, which ./test installs");
        let prometheus = Self { process, address, _directory: directory };
        wait_until("Prometheus listens", Duration::from_secs(60), || {
            std::net::TcpStream::connect(address).is_ok()
        });
        prometheus
    }

    /// The value of the one series that `query` finds.
    fn query(&self, query: &str) -> Option<String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let body = get(self.address, &format!("/api/v1/query?query={encoded}")).body;
        let answer: Value = serde_json::from_str(&body).ok()?;
        Some(answer["data"]["result"][0]["value"][1].as_str()?.to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
