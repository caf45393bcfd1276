//! The passport on a terminal, 80 characters wide.

use bluenova_insight::{CellFigures, CellTrends, Estimate, Trends};
use bluenova_record::Escaped;

use crate::{
    CellRange, EventSummary, Method, Passport, ValueRange, methods,
    number::{
        NOT_KNOWN, estimate, estimate_or_not, in_three_digits, kwh, length, percent, signed, time,
    },
};

/// Width of a line, and of the names at its beginning.
const WIDTH: usize = 80;
const NAMES: usize = 17;

/// Months in the table, the last ones.
const MONTHS: usize = 12;

impl Passport {
    /// The passport for a terminal: the essentials first, then cells, months and events, and last
    /// how each figure was got.
    pub fn text(&self) -> String {
        let mut out = String::new();
        out += &wrapped(&format!("Battery {}", Escaped(&self.identity)), 0);
        for (name, value) in self.essentials() {
            let value = wrapped(&Escaped(value).to_string(), NAMES);
            out += &format!("{name:<NAMES$}{}", value.trim_start());
        }
        let cells = table_of_cells(self, "cell", FIGURES.iter());
        let changes = table_of_cells(self, "change of cell", CHANGES.iter());
        let tables = [cells, changes, months(self), events(&self.events)];
        for table in tables.into_iter().flatten() {
            out += &format!("\n{}", table.text());
        }
        out += "\nHow each figure was got\n";
        for Method { figure, method } in &self.methods {
            out += &wrapped(&format!("{figure}: {method}"), 0);
        }
        out
    }

    /// The figures that come first: their names, and what they are.
    pub(crate) fn essentials(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("period", self.period_text()), ("known", self.known_text())];
        all.extend(self.build_text().map(|build| ("build", build)));
        let verdict = methods::verdict(&self.verdict);
        let names = std::iter::once("verdict").chain(std::iter::repeat(""));
        all.extend(names.zip(verdict));
        all.push(("capacity", self.capacity_text()));
        if let Some(celsius) = self.resistance_celsius {
            let celsius = signed(celsius, 0);
            all.push(("resistances", format!("as they are at {celsius} °C; less when warmer")));
        }
        all.push(("charged", energy(self.total.energy_in_wh, self.total.charge_in_ah)));
        all.push(("discharged", energy(self.total.energy_out_wh, self.total.charge_out_ah)));
        if let Some(part) = self.energy_uncertainty {
            let percent = in_three_digits(part * 100.0);
            all.push(("energies", format!("within {percent} %, but for what flowed in gaps")));
        }
        let cycles = self.full_cycles.map(in_three_digits);
        all.push(("full cycles", cycles.unwrap_or_else(|| NOT_KNOWN.to_owned())));
        all.extend(self.limits_text());
        if let Some(health) = self.identity.health_percent {
            all.push(("health", format!("{} %, by its firmware", signed(health.into(), 2))));
        }
        all
    }

    fn capacity_text(&self) -> String {
        let capacity = estimate_or_not(self.capacity_ah, "Ah");
        let Some(trend) = self.trends.capacity_percent_per_year else { return capacity };
        format!("{capacity}; changes by {} a year", estimate(trend, "%"))
    }

    /// The lowest and highest values that are known.
    fn limits_text(&self) -> Vec<(&'static str, String)> {
        let limits = &self.limits;
        let range = |range: ValueRange, unit: &str| {
            format!("{} to {} {unit}", signed(range.low.into(), 0), signed(range.high.into(), 0))
        };
        let temperature = limits.temperature_c.map(|it| range(it, "°C"));
        let of_cells = limits.cell_temperature_c.map(|CellRange { low, high, .. }| {
            format!("cells {}", range(ValueRange { low, high }, "°C"))
        });
        let temperature = joined([temperature, of_cells]);
        let current = limits.current_a.map(|it| {
            let amps = |amps: f32| signed(amps.max(0.0).into(), 0);
            format!("{} A charging, {} A discharging, at most", amps(it.high), amps(-it.low))
        });
        let cells = limits.cell_v.map(|CellRange { low, low_cell, high, high_cell }| {
            format!("{low:.3} V (cell {low_cell:02}) to {high:.3} V (cell {high_cell:02})")
        });
        let spread = limits.spread_mv.map(|it| format!("at most {:.0} mV apart", it.high));
        let at_rest = limits.spread_at_rest_mv.map(|it| format!("{:.0} mV at rest", it.high));
        let lasting = |seconds: f64| (seconds >= 1.0).then(|| length(seconds));
        let all = [
            ("state of charge", limits.soc_percent.map(|it| range(it, "%"))),
            ("temperature", temperature),
            ("current", current),
            ("cells", joined([cells, joined([spread, at_rest])])),
            ("in frost", lasting(limits.charged_in_frost_s).map(|it| format!("{it} charging"))),
            ("breaker", lasting(limits.breaker_open_s).map(|it| format!("{it} open"))),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn period_text(&self) -> String {
        let period = &self.period;
        let days = if period.days == 1 { "1 day" } else { &format!("{} days", period.days) };
        format!("{} to {} ({}), {days}", period.first, period.last, period.zone)
    }

    fn known_text(&self) -> String {
        let period = &self.period;
        let known = percent(period.completeness);
        let has_samples = self.statistics.iter().any(|day| day.sampled_s > 0.0);
        let share = if has_samples { "in part" } else { "rebuilt" };
        match period.days_rebuilt_from_rows {
            0 => format!("{known} of that time"),
            _ if period.days_known == 1 => format!("{known} of that time; {share} from rows"),
            rebuilt => format!(
                "{known} of that time; {rebuilt} of {} days rebuilt from rows",
                period.days_known
            ),
        }
    }

    fn build_text(&self) -> Option<String> {
        let identity = &self.identity;
        let cells = identity.cell_count.map(|count| format!("{count} cells in series"));
        let unit = match (identity.unit_rank, identity.n_units) {
            (Some(rank), Some(units)) => Some(format!("unit {rank} of {units}")),
            _ => None,
        };
        let parts: Vec<_> = cells.into_iter().chain(unit).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// Those of the two that there are, with a comma between them.
fn joined(parts: [Option<String>; 2]) -> Option<String> {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `23.1 kWh, 440 Ah`.
fn energy(watt_hours: f64, ampere_hours: f64) -> String {
    format!("{} kWh, {} Ah", kwh(watt_hours), in_three_digits(ampere_hours))
}

/// A table: the heads of its columns, and its rows.
pub(crate) struct Table {
    pub(crate) heads: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// How many columns, from the left, are words and not numbers.
    pub(crate) words: usize,
}

impl Table {
    fn text(&self) -> String {
        let chars = |cell: &String| cell.chars().count();
        let width = |at: usize| {
            let rows = self.rows.iter().filter_map(|row| row.get(at));
            rows.chain(self.heads.get(at)).map(chars).max().unwrap_or(0)
        };
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(at, cell)| {
                let width = width(at);
                if at < self.words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        std::iter::once(&self.heads).chain(&self.rows).map(line).collect()
    }
}

/// A column of a table of cells: its head, and the figure.
type CellColumn = (&'static str, fn(&CellFigures, &CellTrends) -> Option<Estimate>);

/// What the cells are like.
const FIGURES: [CellColumn; 6] = [
    ("resistance mΩ", |cell, _| cell.resistance_mohm),
    ("at rest mV", |cell, _| cell.at_rest_mv),
    ("full mV", |cell, _| cell.at_top_mv),
    ("empty mV", |cell, _| cell.at_bottom_mv),
    ("charge Ah", |cell, _| cell.charge_ah),
    ("a week Ah", |cell, _| cell.charge_ah_per_week),
];

/// How they change over the period.
const CHANGES: [CellColumn; 3] = [
    ("resistance mΩ a year", |_, trends| trends.resistance_mohm_per_year),
    ("at rest mV a week", |_, trends| trends.at_rest_mv_per_week),
    ("charge Ah a week", |_, trends| trends.charge_ah_per_week),
];

/// The figures of the cells, and how they change, for a wide page.
pub(crate) fn cells_and_changes(passport: &Passport) -> Option<Table> {
    table_of_cells(passport, "cell", FIGURES.iter().chain(&CHANGES))
}

/// A line for each cell, with its number; without columns that no cell has a figure for.
fn table_of_cells<'a>(
    passport: &Passport,
    head: &str,
    columns: impl Iterator<Item = &'a CellColumn>,
) -> Option<Table> {
    let Passport { cells, trends: Trends { cells: trends, .. }, .. } = passport;
    let cell = |at: usize| {
        let (figures, trends) = (cells.get(at).copied(), trends.get(at).copied());
        (figures.unwrap_or_default(), trends.unwrap_or_default())
    };
    let cells: Vec<_> = (0..cells.len().max(trends.len())).map(cell).collect();
    let is_known = |(_, figure): &&CellColumn| cells.iter().any(|(a, b)| figure(a, b).is_some());
    let columns: Vec<_> = columns.filter(is_known).collect();
    let heads = columns.iter().map(|(head, _)| (*head).to_owned());
    let row = |(number, (a, b)): (usize, &(CellFigures, CellTrends))| {
        let figures = columns.iter().map(|(_, figure)| figure(a, b).map_or("–".into(), compact));
        std::iter::once(format!("{number:02}")).chain(figures).collect()
    };
    (!columns.is_empty()).then(|| Table {
        heads: std::iter::once(head.to_owned()).chain(heads).collect(),
        rows: (1..).zip(&cells).map(row).collect(),
        words: 1,
    })
}

/// `0.34±0.03`, for a table.
fn compact(found: Estimate) -> String {
    let decimals = if found.plus_minus >= 3.0 {
        0
    } else if found.plus_minus >= 0.3 {
        1
    } else {
        2
    };
    format!("{}±{:.decimals$}", signed(found.value, decimals), found.plus_minus)
}

/// The energy of the last months.
pub(crate) fn months(passport: &Passport) -> Option<Table> {
    let months = &passport.months;
    let last = &months[months.len().saturating_sub(MONTHS)..];
    let heads = ["month", "days", "charged kWh", "discharged kWh", "charged Ah", "discharged Ah"];
    let row = |month: &crate::MonthEnergy| {
        let counters = month.counters;
        vec![
            month.month.clone(),
            month.days.to_string(),
            kwh(counters.energy_in_wh),
            kwh(counters.energy_out_wh),
            in_three_digits(counters.charge_in_ah),
            in_three_digits(counters.charge_out_ah),
        ]
    };
    (!last.is_empty()).then(|| Table {
        heads: heads.map(str::to_owned).to_vec(),
        rows: last.iter().map(row).collect(),
        words: 1,
    })
}

/// What happened.
pub(crate) fn events(events: &[EventSummary]) -> Option<Table> {
    let heads = ["event", "times", "in all", "first", "last"];
    let row = |event: &EventSummary| {
        let name = Escaped(&event.event).to_string();
        let name = match name.char_indices().nth(NAME_OF_EVENT) {
            Some((end, _)) => format!("{}…", &name[..end]),
            None => name,
        };
        let seconds = event.seconds.map_or("–".to_owned(), length);
        let day = |at: bluenova_record::Rfc3339| time(at.0)[..10].to_owned();
        vec![name, event.count.to_string(), seconds, day(event.first), day(event.last)]
    };
    (!events.is_empty()).then(|| Table {
        heads: heads.map(str::to_owned).to_vec(),
        rows: events.iter().map(row).collect(),
        words: 1,
    })
}

/// Characters of an event's name for which a line has room.
const NAME_OF_EVENT: usize = 32;

/// Text in lines of at most [`WIDTH`] characters, each but the first indented; a longer word has a
/// line of its own.
fn wrapped(text: &str, indent: usize) -> String {
    // A figure and its uncertainty stay together.
    let text = text.replace(" ± ", "\u{a0}±\u{a0}");
    let mut lines = String::new();
    let mut used = indent;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let chars = word.chars().count();
        if used + 1 + chars > WIDTH && used > indent {
            lines += &format!("\n{:indent$}{word}", "");
            used = indent + chars;
        } else {
            if used > indent {
                lines.push(' ');
                used += 1;
            }
            lines += word;
            used += chars;
        }
    }
    lines.push('\n');
    lines.replace('\u{a0}', " ")
}
