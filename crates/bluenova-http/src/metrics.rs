//! `/metrics`: the status in Prometheus' text format.
//!
//! It is written as it goes, since a registry takes ten times as much memory as the text: with
//! thousands of batteries there are hundreds of thousands of series.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use bluenova_record::PackRecord;

use crate::bank::{self, Unit};
use crate::mcu_id::McuId;
use crate::{CellBus, ConnectionState, Status};

/// Content type of the [`exposition`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics.
pub(crate) fn exposition(status: &Status) -> String {
    let units = bank::units(status);
    let fresh: Vec<(&Unit<'_>, String, &PackRecord)> = units
        .iter()
        .filter_map(|unit| unit.fresh(status).map(|record| (unit, record)))
        .map(|(unit, record)| (unit, McuId(record.mcu_id).to_string(), record))
        .collect();
    let mut text = String::new();
    batteries(&mut text, &fresh);
    cells(&mut text, &fresh);
    texts(&mut text, &fresh);
    cell_bus(&mut text, &fresh);
    connections(&mut text, status);
    storage(&mut text, status);
    text
}

/// Fresh batteries, each with its MCU ID and its newest row.
type Fresh<'a> = [(&'a Unit<'a>, String, &'a PackRecord)];

/// A metric with one value per battery: name, help, value in base units.
type BatteryMetric = (&'static str, &'static str, fn(&PackRecord) -> Option<f64>);

const BATTERY_METRICS: [BatteryMetric; 17] = [
    ("pack_voltage_volts", "Voltage of the pack.", |r| r.v_pack.map(real)),
    ("pack_current_amperes", "Current of the pack; positive charges.", |r| r.i_pack.map(real)),
    ("pack_power_watts", "Power of the pack; positive charges.", bank::power),
    ("pack_temperature_celsius", "Temperature of the pack.", |r| r.temp.map(f64::from)),
    ("pack_adc_voltage_volts", "Voltage of the pack, measured by its converter.", |r| {
        r.adc_vp.map(real)
    }),
    ("cell_voltage_min_volts", "Voltage of the lowest cell, as reported.", |r| {
        r.v_cell_min.map(real)
    }),
    ("cell_voltage_max_volts", "Voltage of the highest cell, as reported.", |r| {
        r.v_cell_max.map(real)
    }),
    ("state_of_charge_ratio", "State of charge.", |r| {
        r.soc.map(|percent| f64::from(percent) / 100.0)
    }),
    ("state_of_health_ratio", "State of health.", |r| {
        r.health.map(|percent| real(percent) / 100.0)
    }),
    ("breaker_closed", "Whether the breaker is reported as CLOSED.", |r| {
        bank::breaker(r).map(|breaker| f64::from(breaker == bank::CLOSED))
    }),
    ("errors_present", "Whether the battery reports errors.", |r| {
        r.errors.map(|_| f64::from(bank::errors(r).is_some()))
    }),
    ("bank_units", "Units in the battery's bank.", |r| r.n_units.map(f64::from)),
    ("bank_unit_rank", "Rank of the battery in its bank.", |r| r.unit_rank.map(f64::from)),
    ("pack_cells", "Cells in series.", |r| r.cell_count.map(f64::from)),
    ("reported_energy_in", "Energy charged so far, in the firmware's unit.", |r| {
        r.energy_in.map(real)
    }),
    ("reported_energy_out", "Energy discharged so far, in the firmware's unit.", |r| {
        r.energy_out.map(real)
    }),
    ("last_sample_timestamp_seconds", "End of the interval of the values.", |r| {
        Some(r.insert_time_utc.unix_timestamp_nanos() as f64 / 1e9)
    }),
];

fn batteries(text: &mut String, fresh: &Fresh<'_>) {
    for (name, help, value) in BATTERY_METRICS {
        let mut gauge = Metric::gauge(text, name, help);
        for (_, battery, record) in fresh {
            gauge.put(&[("battery", battery)], value(record));
        }
    }
}

fn cells(text: &mut String, fresh: &Fresh<'_>) {
    // Numbered as in the columns: cells from 01, channels from 0.
    let cell = |index| format!("{:02}", index + 1);
    let mut volts = Metric::gauge(text, "cell_voltage_volts", "Voltage of a cell.");
    for (_, battery, record) in fresh {
        volts.put_each(battery, "cell", record.cell_v, cell);
    }
    let mut celsius = Metric::gauge(text, "cell_temperature_celsius", "Temperature of a cell.");
    for (_, battery, record) in fresh {
        celsius.put_each(battery, "cell", record.cell_t, cell);
    }
    let help = "Voltage on a channel of the battery's analogue-digital converter.";
    let mut adc = Metric::gauge(text, "adc_voltage_volts", help);
    for (_, battery, record) in fresh {
        adc.put_each(battery, "channel", record.adc, |index| index.to_string());
    }
}

/// Texts are in labels, with the value 1.
fn texts(text: &mut String, fresh: &Fresh<'_>) {
    let help = "The states that the battery reports, in its own words.";
    let mut state = Metric::gauge(text, "state_info", help);
    for (_, battery, record) in fresh {
        let labels = [
            ("battery", battery.as_str()),
            ("errors", record.errors.as_deref().unwrap_or_default()),
            ("system_state", record.system_state.as_deref().unwrap_or_default()),
            ("breaker", record.breaker.as_deref().unwrap_or_default()),
            ("charge_state", record.charge_state.as_deref().unwrap_or_default()),
        ];
        state.put(&labels, Some(1));
    }
    let mut info = Metric::gauge(text, "battery_info", "Name of the battery.");
    for (unit, battery, _) in fresh {
        let mut names: Vec<&str> = unit.batteries.iter().map(|it| it.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            info.put(&[("battery", battery), ("name", name)], Some(1));
        }
    }
}

/// A counter of what the firmware counts: name, help, value.
type CellBusMetric = (&'static str, &'static str, fn(&CellBus) -> u64);

const CELL_BUS_METRICS: [CellBusMetric; 3] = [
    ("bad_crc_total", "Bad frames on the bus of the cells.", |bus| bus.bad_crc),
    ("parse_fail_total", "Unparsable frames on the bus of the cells.", |bus| bus.parse_fail),
    ("bad_vcell_total", "Cell values that the firmware rejected.", |bus| bus.bad_vcell),
];

fn cell_bus(text: &mut String, fresh: &Fresh<'_>) {
    for (name, help, value) in CELL_BUS_METRICS {
        let mut counter = Metric::counter(text, name, help);
        for (unit, battery, _) in fresh {
            let sum: u64 = unit.batteries.iter().map(|it| value(&it.cell_bus)).sum();
            counter.put(&[("battery", battery)], Some(sum));
        }
    }
}

/// These have the name for a label: a battery that was never connected has no MCU ID yet.
fn connections(text: &mut String, status: &Status) {
    // Connected, redials, malformed lines, rows; batteries of one name are counted together.
    let mut names: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
    for battery in &status.batteries {
        let sums = names.entry(&battery.name).or_default();
        sums[0] = sums[0].max((battery.connection == ConnectionState::Up).into());
        sums[1] += battery.redials();
        sums[2] += battery.malformed_lines;
        sums[3] += battery.rows;
    }
    let put = |at: usize, mut metric: Metric<'_>| {
        names.iter().for_each(|(name, sums)| metric.put(&[("name", name)], Some(sums[at])));
    };
    put(0, Metric::gauge(text, "connected", "Whether the battery is connected."));
    put(1, Metric::counter(text, "redials_total", "Times that the battery was dialled again."));
    let help = "Lines of a known kind that could not be parsed.";
    put(2, Metric::counter(text, "malformed_lines_total", help));
    put(3, Metric::counter(text, "rows_recorded_total", "Rows that were stored."));
}

fn storage(text: &mut String, status: &Status) {
    let delivery = status.delivery.as_ref();
    for (name, help, value) in [
        (
            "rows_only_in_memory",
            "Rows in memory only, which end with the process.",
            Some(status.storage.only_in_memory),
        ),
        (
            "rows_waiting",
            "Rows in the journal that wait for delivery.",
            delivery.map(|delivery| delivery.waiting),
        ),
        (
            "rows_set_aside",
            "Rows that the database rejected.",
            delivery.and_then(|delivery| delivery.set_aside),
        ),
        (
            "rows_retried",
            "Rows that wait for a partition of the table, and are retried.",
            delivery.and_then(|delivery| delivery.retried),
        ),
        (
            "problems",
            "Number of problems; /healthz says what they are.",
            Some(status.problems().len() as u64),
        ),
        (
            "delivery_stuck",
            "Whether rows have waited for longer than three intervals.",
            delivery.map(|delivery| status.is_stuck(delivery).into()),
        ),
    ] {
        Metric::gauge(text, name, help).put(&[], value);
    }
    let help = "Rows that the database acknowledged.";
    let mut delivered = Metric::counter(text, "rows_delivered_total", help);
    delivered.put(&[], delivery.map(|delivery| delivery.delivered));
    let mut build = Metric::gauge(text, "build_info", "The version of the listener.");
    build.put(&[("version", env!("CARGO_PKG_VERSION"))], Some(1));
}

/// The lines of one metric. One without any value is left out.
struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    has_begun: bool,
}

impl<'a> Metric<'a> {
    fn gauge(text: &'a mut String, name: &'static str, help: &'static str) -> Self {
        Self { text, name, kind: "gauge", help, has_begun: false }
    }

    fn counter(text: &'a mut String, name: &'static str, help: &'static str) -> Self {
        Self { text, name, kind: "counter", help, has_begun: false }
    }

    /// Adds a value, if it is known.
    fn put(&mut self, labels: &[(&str, &str)], value: Option<impl Display>) {
        let Some(value) = value else { return };
        let Self { text, name, kind, help, .. } = self;
        // Writing to a String can't fail.
        if !std::mem::replace(&mut self.has_begun, true) {
            _ = write!(text, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n");
        }
        _ = write!(text, "{PREFIX}{name}");
        for (index, (label, value)) in labels.iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            _ = write!(text, "{label}=\"");
            push_escaped(text, value);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        _ = writeln!(text, " {value}");
    }

    /// Adds each of a battery's values that is known, with `number` of its index.
    fn put_each<T: Display, const N: usize>(
        &mut self,
        battery: &str,
        label: &str,
        values: [Option<T>; N],
        number: impl Fn(usize) -> String,
    ) {
        for (index, value) in values.into_iter().enumerate() {
            self.put(&[("battery", battery), (label, &number(index))], value);
        }
    }
}

/// What the names of all metrics begin with.
const PREFIX: &str = "bluenova_";

/// Adds the value of a label, which may be any text.
fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// The decimal number that the battery sent, of which the `f32` is the nearest one.
fn real(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
