//! What Grafana makes of a query before PostgreSQL gets it: the browser replaces variables, and
//! the data source macros, as `pkg/tsdb/grafana-postgresql-datasource/macros.go` does.

use time::{Duration, UtcDateTime};

/// What a dashboard is set to.
pub(crate) struct View<'a> {
    pub(crate) from: UtcDateTime,
    pub(crate) to: UtcDateTime,
    pub(crate) timezone: &'a str,
    pub(crate) batteries: &'a [u32],
    pub(crate) names: &'a str,
}

impl View<'_> {
    /// The query as PostgreSQL gets it.
    pub(crate) fn expand(&self, sql: &str) -> String {
        let batteries: Vec<String> = self.batteries.iter().map(u32::to_string).collect();
        let text = sql
            .replace("${battery:csv}", &batteries.join(","))
            .replace("${names:sqlstring}", &format!("'{}'", self.names.replace('\'', "''")))
            .replace("$__timezone", self.timezone)
            .replace("$__interval", &format!("{}s", self.interval().whole_seconds()));
        let text = self.macros(&text);
        assert!(!text.contains('$'), "an unknown variable or macro: {text}");
        text
    }

    /// Length of a bucket: a thousandth of the time range, rounded as Grafana rounds it, but no
    /// less than the dashboard's finest step.
    fn interval(&self) -> Duration {
        let wanted = (self.to - self.from) / 1000;
        let rounded = [(15, 10), (25, 20), (45, 30), (90, 60), (210, 120), (450, 300), (750, 600)]
            .into_iter()
            .chain([(1050, 900), (1500, 1200), (2700, 1800), (5400, 3600), (9000, 7200)])
            .chain([(16_200, 10_800), (32_400, 21_600), (86_400, 43_200)])
            .find(|(below, _)| wanted < Duration::seconds(*below))
            .map_or(86_400, |(_, rounded)| rounded);
        Duration::seconds(rounded).max(Duration::MINUTE)
    }

    /// Number of buckets in the time range.
    pub(crate) fn buckets(&self) -> usize {
        ((self.to - self.from).as_seconds_f64() / self.interval().as_seconds_f64()) as usize + 1
    }

    /// Replaces `$name(arguments)`; no argument may contain a parenthesis.
    fn macros(&self, text: &str) -> String {
        let mut parts = text.split("$__");
        let mut expanded = parts.next().unwrap().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('(').unwrap();
            let (arguments, rest) = rest.split_once(')').unwrap();
            let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
            // A comma behind it makes an alias of it, for dashboards of long ago.
            let name =
                if name == "timeGroup" && rest.starts_with(',') { "timeGroupAlias" } else { name };
            expanded.push_str(&self.evaluate(name, &arguments));
            expanded.push_str(rest);
        }
        expanded
    }

    fn evaluate(&self, name: &str, arguments: &[&str]) -> String {
        let [from, to] = [self.from, self.to].map(|time| {
            let (date, clock) = (time.date(), time.time());
            format!("'{date}T{:02}:{:02}:{:02}Z'", clock.hour(), clock.minute(), clock.second())
        });
        match (name, arguments) {
            ("timeFilter", [column]) => format!("{column} BETWEEN {from} AND {to}"),
            ("timeFrom", [""]) => from,
            ("timeTo", [""]) => to,
            ("timeGroup", [column, length, rest @ ..]) => {
                assert!(matches!(rest, [] | ["NULL"]), "{rest:?}");
                let seconds: u32 = length.strip_suffix('s').unwrap().parse().unwrap();
                format!("floor(extract(epoch from {column})/{seconds})*{seconds}")
            }
            ("timeGroupAlias", _) => {
                format!("{} AS \"time\"", self.evaluate("timeGroup", arguments))
            }
            _ => panic!("no such macro: {name}({arguments:?})"),
        }
    }
}
