//! The alert rules.

use std::{fs, process::Command};

use serde_json::Value;
use time::{Duration, UtcDateTime, macros::utc_datetime};

use crate::{
    household::{self, Table},
    macros::View,
    repository,
};

#[test]
fn promtool_finds_that_the_rules_fire_when_they_should() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(repository("prometheus"))
            .output()
            .expect("promtool is in Debian's package prometheus, which ./test installs");
        assert!(output.status.success(), "{output:?}");
    }
}

/// Names and queries of the rules in a file for Grafana, in their order; `query` is the key of the
/// latter.
pub(crate) fn rules(file: &str, query: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(repository(&format!("grafana/{file}.yaml"))).unwrap();
    let values = |key: &str| {
        let lines = text.lines().map(str::trim_start);
        lines.filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect::<Vec<_>>()
    };
    // Of each rule's two models, the first is the query.
    let models = values("model: ").into_iter().step_by(2);
    let queries = models.map(|model| {
        let model: Value = serde_json::from_str(&model).unwrap();
        model[query].as_str().unwrap().to_owned()
    });
    values("title: ").into_iter().zip(queries).collect()
}

/// Those that need no Prometheus, on the month of the household.
#[test]
fn rules_for_the_table_fire_when_they_should() {
    let rules = rules("alerts-postgresql", "rawSql");
    let documented = fs::read_to_string(repository("docs/grafana.md")).unwrap();
    for (name, _) in &rules {
        assert!(documented.contains(&format!("`{name}`")), "{name} isn't in docs/grafana.md");
    }
    let mut client = household::reader();
    let mut firing = |to: UtcDateTime| {
        let view = View { from: to - Duration::DAY, to, timezone: "", batteries: &[], names: "" };
        let mut firing = vec![];
        for (name, sql) in &rules {
            let table = Table::of(&mut client, &view.expand(sql));
            let values = table.numbers("value");
            for ((row, battery), value) in table.rows.iter().zip(table.texts("battery")).zip(values)
            {
                // The value is the last column, and the label between is the cell, or a text.
                let detail =
                    row[1..row.len() - 1].iter().flatten().map(String::as_str).collect::<String>();
                firing.push(format!(
                    "{} {} {detail} {value:.0}",
                    &name["BlueNovaSql".len()..],
                    battery.unwrap()
                ));
            }
        }
        firing
    };
    // The empty one, all the time.
    let empty = "LowCharge 00000BAD  10";
    assert_eq!(firing(utc_datetime!(2026-09-05 08:00:30)), [empty]);
    assert_eq!(firing(utc_datetime!(2026-09-12 05:00:00)), ["Silent 9F3C07B2  18060", empty]);
    // A row an hour is no silence, and ten seconds after a change of the interval a gap of minutes
    // is one.
    assert!(firing(utc_datetime!(2026-10-24 12:59:00)).is_empty());
    assert!(firing(utc_datetime!(2026-10-27 00:09:00)).is_empty());
    assert_eq!(firing(utc_datetime!(2026-10-27 00:11:00)), ["Silent 00000008  660"]);
    // Removed for a day.
    assert_eq!(firing(utc_datetime!(2026-09-13 00:00:00) - Duration::SECOND), [empty]);
    let apart = "CellSpread 9F3C07B2 07 120";
    assert_eq!(firing(utc_datetime!(2026-09-25 09:00:00)), [empty, apart]);
    let error = "Errors 9F3C07B2 OVERVOLT 1";
    assert_eq!(firing(utc_datetime!(2026-09-25 10:05:00)), [error, empty, apart]);
    // While it is charged, and not while it is discharged.
    let (cold, frost) = (utc_datetime!(2026-09-28 08:00:00), "Frost 9F3C07B2 01 -1");
    let breaker = "Breaker 9F3C07B2 OPEN 1";
    assert_eq!(firing(cold), [breaker, empty, apart, frost]);
    assert_eq!(firing(cold + Duration::hours(6)), [breaker, empty, apart]);
}

/// The same queries, all of them tested and described. Grafana replaces what begins with `$` in a
/// text by environment variables, so there is only the one.
#[test]
fn grafana_has_the_same_rules() {
    let ours = fs::read_to_string(repository("prometheus/alerts.yml")).unwrap();
    let tested = fs::read_to_string(repository("prometheus/alerts_test.yml")).unwrap();
    let documented = fs::read_to_string(repository("docs/grafana.md")).unwrap();
    let rules = rules("alerts", "expr");
    let names = ours.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: "));
    assert_eq!(
        rules.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        names.collect::<Vec<_>>()
    );
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let all = squeezed(&ours);
    for (name, query) in &rules {
        assert!(all.contains(&squeezed(query)), "{name}: {query}");
        assert!(!query.contains('$'), "{name}: {query}");
        // With its texts, while it fires.
        let fires = format!("alertname: {name}\n");
        let mut cases = tested.split(&fires).skip(1);
        let fires = cases.any(|case| {
            let case = case.lines().take(5).map(str::trim_start).collect::<Vec<_>>();
            case[1] == "exp_alerts:" && case[4].starts_with("summary: ")
        });
        assert!(fires, "{name} doesn't fire in alerts_test.yml");
        assert!(documented.contains(&format!("`{name}`")), "{name} isn't in docs/grafana.md");
    }
    let grafana = fs::read_to_string(repository("grafana/alerts.yaml")).unwrap();
    let summaries = |text: &str| {
        let lines = text.lines().map(str::trim_start);
        lines.filter(|line| line.starts_with("summary: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    // The value of the query, which is A there.
    let ours = summaries(&ours.replace(".Value", ".Values.A.Value"));
    assert_eq!(summaries(&grafana), ours);
    assert!(ours.iter().filter(|text| text.contains(".Values.A.Value ")).count() > 8, "{ours:?}");
    let variables = grafana.matches('$').count();
    assert_eq!(variables, grafana.matches("datasourceUid: $BLUENOVA_PROMETHEUS").count());
}
