//! The dashboard and the alert rules on a real Prometheus that scrapes a real listener.

use std::{collections::BTreeSet, fs};

use bluenova_test_support::{Prometheus, get, wait_until};
use serde_json::Value;

use crate::{
    alerts, dashboard, repository,
    support::{Home, Listener, TIME_LIMIT, named, shared_cluster, talking_battery},
};

/// Panels that take hours or days before they show something.
const LATER: [&str; 5] =
    ["Capacity", "Charge against the median", "Internal resistance", "Time to go", "Weak cells"];

/// Metrics that do, and that of errors, of which no battery has any.
const LATER_METRICS: [&str; 9] = [
    "battery_problem_info",
    "capacity_coulombs",
    "cell_imbalance_coulombs",
    "cell_imbalance_per_week_coulombs",
    "cell_imbalance_per_week_plus_minus_coulombs",
    "cell_resistance_ohms",
    "cell_weak",
    "time_to_empty_seconds",
    "time_to_full_seconds",
];

/// Alerts of an address where there is no battery.
const OF_SHED: [&str; 2] = ["BlueNovaBatterySilent", "BlueNovaNotConnected"];

/// Alerts of the two batteries, by a limit that no battery keeps.
const OF_BOTH: &str = "BlueNovaLowCharge";

#[test]
fn every_query_finds_the_metrics_of_a_listener() {
    let batteries = [talking_battery(1), talking_battery(2)];
    let [attic, cellar] = [(&batteries[0], "attic"), (&batteries[1], "the \"cellar\" (old)")]
        .map(|(server, name)| named(name, server.local_addr()));
    let cluster = shared_cluster();
    cluster.create_database("metrics");
    let (home, url) = (Home::new(), cluster.url("metrics"));
    let [database, user] = [["-d", &url], ["-u", cluster.user()]];
    let [attic, cellar, shed] = [["-b", &attic], ["-b", &cellar], ["-b", "shed=127.0.0.1:1"]];
    let page = ["-i", "1", "--http", "127.0.0.1:0", "--limit", "low-charge=100"];
    let arguments = [&attic[..], &cellar, &shed, &database, &user, &page].concat();
    let mut listener = home.listen(&arguments);
    let address = page_of(&mut listener);
    let prometheus = Prometheus::start(address);
    // Rates take two scrapes of a row each.
    wait_until("all have been scraped", TIME_LIMIT, || {
        let silent = prometheus.query("count(bluenova_battery_silent == 1)");
        let rows =
            prometheus.query("min(increase(bluenova_rows_recorded_total{name!=\"shed\"}[1h]))");
        let delivered = prometheus.query("bluenova_rows_delivered_total > 4");
        silent.as_deref() == Some("1")
            && rows.is_some_and(|rows| rows != "0")
            && delivered.is_some()
    });

    let json = dashboard::read("prometheus");
    let names = names_of_variable(&prometheus, &json);
    assert_eq!(names, ["attic", "shed", "the \"cellar\" (old)"]);
    let queries = dashboard::queries(&json);
    assert!(queries.len() > 20, "{}", queries.len());
    for query in &queries {
        let text = query.target["expr"].as_str().unwrap();
        let all = prometheus.series(&expand(text, &names));
        let of = format!("{}: {text}", query.title);
        assert!(!all.is_empty() || LATER.contains(&query.title.as_str()), "{of}: nothing");
        let legend = query.target["legendFormat"].as_str().unwrap();
        for label in legend.split("{{").skip(1).map(|part| part.split("}}").next().unwrap()) {
            assert!(
                all.iter().all(|series| series["metric"].get(label).is_some()),
                "{of}: {label}"
            );
        }
        if text.contains("$battery") {
            let one = prometheus.series(&expand(text, &names[..1]));
            assert!(one.iter().all(|series| series["metric"]["name"] == "attic"), "{of}: {one:?}");
            assert_eq!(one.is_empty(), all.is_empty(), "{of}");
        }
    }

    for (name, query) in alerts::rules("alerts", "expr") {
        let firing = prometheus.series(&query);
        let of_shed = firing.iter().filter(|series| series["metric"]["name"] == "shed").count();
        assert_eq!(of_shed, usize::from(OF_SHED.contains(&name.as_str())), "{name}: {firing:?}");
        let of_both = if name == OF_BOTH { 2 } else { 0 };
        assert_eq!(firing.len(), of_shed + of_both, "{name}: {firing:?}");
        // Grafana takes any number for a firing alert.
        let values = firing.iter().map(|series| series["value"][1].as_str().unwrap());
        assert!(values.map(|it| it.parse::<f64>().unwrap()).all(f64::is_finite), "{name}");
    }
    metrics_are_there(&get(address, "/metrics", TIME_LIMIT).body);
    listener.stop();
}

/// The listener's metrics have all names that dashboard and rules have, but those that take long.
fn metrics_are_there(metrics: &str) {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE bluenova_"));
    let there: BTreeSet<&str> = lines.map(|line| line.split(' ').next().unwrap()).collect();
    let mut missing = used_metrics();
    // On a busy machine two minutes may have passed, after which times to go are known.
    missing.retain(|name| !there.contains(name.as_str()) && !LATER_METRICS.contains(&&**name));
    assert_eq!(missing, BTreeSet::new());
}

fn page_of(listener: &mut Listener) -> std::net::SocketAddr {
    let line = listener.wait_for("page at ");
    let (_, address) = line.split_once("http://").unwrap();
    address.trim_end().trim_end_matches('/').parse().unwrap()
}

/// What Grafana offers for the variable: `label_values(metric, label)`.
fn names_of_variable(prometheus: &Prometheus, dashboard: &Value) -> Vec<String> {
    let variable = dashboard::variable(dashboard, "battery").unwrap();
    let query = variable["query"]["query"].as_str().unwrap();
    let arguments = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
    let (metric, label) = arguments.split_once(", ").unwrap();
    prometheus.label_values(metric, label)
}

/// A choice of several is a regular expression in quotes, its special characters escaped twice.
fn expand(query: &str, names: &[String]) -> String {
    let escaped = names.iter().map(|name| {
        let escape = |c: char| match c {
            '"' => "\\\"".to_owned(),
            '\\' | '^' | '$' | '*' | '+' | '?' | '.' | '(' | ')' | '|' | '[' | ']' | '{' | '}' => {
                format!("\\\\{c}")
            }
            c => c.to_string(),
        };
        name.chars().map(escape).collect::<String>()
    });
    let escaped: Vec<_> = escaped.collect();
    query.replace("$battery", &format!("({})", escaped.join("|"))).replace("$__rate_interval", "1m")
}

/// Those of hours or days can't be waited for: they are at least documented ones, and a test of
/// the crate `bluenova-http` compares what is documented with what there is.
#[test]
fn every_metric_is_documented() {
    let documented = fs::read_to_string(repository("docs/http.md")).unwrap();
    for name in used_metrics() {
        assert!(documented.contains(&format!("`{name}`")), "{name}");
    }
}

/// Names of the metrics in queries of the dashboard and the rules, without `bluenova_`.
fn used_metrics() -> BTreeSet<String> {
    let rules = fs::read_to_string(repository("prometheus/alerts.yml")).unwrap();
    let mut used = BTreeSet::new();
    let queries = dashboard::queries(&dashboard::read("prometheus"));
    let texts = queries.iter().map(|query| query.target["expr"].as_str().unwrap());
    for text in texts.chain([rules.as_str()]) {
        for part in text.split("bluenova_").skip(1) {
            let end =
                part.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(part.len());
            used.insert(part[..end].to_owned());
        }
    }
    assert!(used.len() > 20, "{used:?}");
    used
}
