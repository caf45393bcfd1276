use bluenova_console::Interval;

#[path = "../../examples/console_to_csv.rs"]
mod example;

/// The named columns of each row.
fn rows(log: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let mut csv = vec![];
    example::convert(Interval::from_seconds(10).unwrap(), log.as_bytes(), &mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let at = columns.iter().map(|name| header.iter().position(|column| column == name).unwrap());
    let at: Vec<usize> = at.collect();
    lines.map(|row| at.iter().map(|&n| row[n].clone()).collect()).collect()
}

#[test]
fn a_log_with_times() {
    let log = "\
2026-11-22T16:50:01Z MCU ID: 9F3C07B2\r
2026-11-22T16:50:01.5Z SOC: 63\r
Errors: \"NONE\"\r
2026-11-22T17:50:12+01:00 SOC: ??\r
2026-11-22T16:50:13Z Vpack: 53017";
    let columns = ["insert_time_utc", "mcu_id", "soc", "v_pack", "errors"];
    assert_eq!(
        rows(log, &columns),
        [
            ["2026-11-22T16:50:10Z", "2671511474", "63", "", "\"NONE\""],
            ["2026-11-22T16:50:13Z", "2671511474", "", "53.017", ""],
        ]
    );
}

#[test]
fn a_log_without_times_goes_at_the_pace_of_a_battery() {
    let log = format!("MCU ID: 1\n{}", "SOC: 63\nnoise\n".repeat(450));
    let columns = ["insert_time_utc", "soc"];
    let rows = rows(&log, &columns);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0], ["1970-01-01T00:00:10Z", "63"]);
    assert_eq!(rows[1], ["1970-01-01T00:00:20Z", "63"]);
}
