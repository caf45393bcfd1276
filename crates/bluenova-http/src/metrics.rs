//! `/metrics`: the status in Prometheus' text format, by the crate `prometheus`.

use bluenova_insight::{CellFigures, Figures, Goal};
use bluenova_record::{McuId, PackRecord, not_closed};
use bluenova_status::bank::{self, Unit};
use bluenova_status::{BatteryStatus, ConnectionState, Evidence, Problem, Status};
use prometheus::core::Collector;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{
    CounterVec, Encoder, Error, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder,
};

/// Content type of the [`exposition`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics.
///
/// The registry is a new one each time, so that no series of a battery outlives its values.
///
/// # Errors
/// A metric has no valid name, or two labels of one name, which a test rules out.
pub(crate) fn exposition(status: &Status) -> Result<Vec<u8>, Error> {
    let mut metrics = Metrics { registry: registry()?, text: vec![] };
    let units = bank::units(status);
    let fresh: Vec<FreshBattery<'_>> = units
        .iter()
        .filter_map(|unit| unit.fresh(status).map(|record| FreshBattery::new(unit, record)))
        .collect();
    metrics.batteries(&fresh)?;
    metrics.cells(&fresh)?;
    metrics.texts(&fresh)?;
    metrics.problems(&units, status)?;
    metrics.figures(&fresh)?;
    metrics.cell_figures(&fresh)?;
    metrics.cell_bus(&fresh)?;
    metrics.silent(&units, status)?;
    metrics.connections(status)?;
    metrics.storage(status)?;
    Ok(metrics.text)
}

struct Metrics {
    registry: Registry,
    text: Vec<u8>,
}

/// What the names of all metrics begin with.
const PREFIX: &str = "bluenova";

fn registry() -> Result<Registry, Error> {
    Registry::new_custom(Some(PREFIX.into()), None)
}

/// A battery that isn't stale, with its newest row.
struct FreshBattery<'a> {
    unit: &'a Unit<'a>,
    id: String,
    /// All of its names: it has one series of each metric, however many addresses it has.
    names: String,
    record: &'a PackRecord,
}

impl<'a> FreshBattery<'a> {
    fn new(unit: &'a Unit<'a>, record: &'a PackRecord) -> Self {
        Self { unit, id: McuId(record.mcu_id).to_string(), names: unit.names(), record }
    }

    /// Values of the labels that all of its metrics have, [`BATTERY`].
    fn labels(&self) -> [&str; 2] {
        [&self.id, &self.names]
    }

    /// A series of a gauge that has a label with a number, besides those labels.
    fn numbered(&self, label: &str, number: &str, value: f64) -> Metric {
        let labels = [("battery", &*self.id), (label, number), ("name", &*self.names)];
        let labels = labels.map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value.to_owned());
            label
        });
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(labels.into());
        metric.set_gauge(gauge);
        metric
    }
}

/// Labels that all metrics of a battery have.
const BATTERY: [&str; 2] = ["battery", "name"];

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
        bank::breaker(r).map(|breaker| f64::from(not_closed(breaker).is_none()))
    }),
    ("errors_present", "Whether the battery reports errors.", |r| {
        r.errors.map(|_| f64::from(r.errors_present().is_some()))
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
        Some(unix_seconds(r))
    }),
];

/// A metric out of what the samples say of a battery: name, help, value in base units.
type FigureMetric = (&'static str, &'static str, fn(&Figures) -> Option<f64>);

const SECONDS_PER_HOUR: f64 = 3600.0;

/// They never fall.
const COUNTERS: [FigureMetric; 4] = [
    ("energy_in_joules_total", "Energy charged, counted at the terminals.", |figures| {
        Some(figures.counters.energy_in_wh * SECONDS_PER_HOUR)
    }),
    ("energy_out_joules_total", "Energy discharged, counted at the terminals.", |figures| {
        Some(figures.counters.energy_out_wh * SECONDS_PER_HOUR)
    }),
    ("charge_in_coulombs_total", "Charge that went in; 3600 are an ampere-hour.", |figures| {
        Some(figures.counters.charge_in_ah * SECONDS_PER_HOUR)
    }),
    ("charge_out_coulombs_total", "Charge that went out; 3600 are an ampere-hour.", |figures| {
        Some(figures.counters.charge_out_ah * SECONDS_PER_HOUR)
    }),
];

const FIGURES: [FigureMetric; 4] = [
    ("capacity_coulombs", "Usable capacity, estimated; 3600 are an ampere-hour.", |figures| {
        figures.capacity_ah.map(|capacity| capacity.value * SECONDS_PER_HOUR)
    }),
    (
        "capacity_plus_minus_coulombs",
        "In 95 of 100 cases the capacity is within the estimate plus or minus this.",
        |figures| figures.capacity_ah.map(|capacity| capacity.plus_minus * SECONDS_PER_HOUR),
    ),
    ("time_to_empty_seconds", "Time until the battery is empty at its present load.", |figures| {
        time_to(Goal::Empty, figures)
    }),
    ("time_to_full_seconds", "Time until the battery is full at its present current.", |figures| {
        time_to(Goal::Full, figures)
    }),
];

/// A metric out of what is known of a cell: name, help, value in base units.
type CellMetric = (&'static str, &'static str, fn(&CellFigures) -> Option<f64>);

const CELL_FIGURES: [CellMetric; 4] = [
    ("cell_resistance_ohms", "Internal resistance of a cell, estimated.", |cell| {
        cell.resistance_mohm.map(|known| known.value / 1000.0)
    }),
    (
        "cell_imbalance_coulombs",
        "Charge that a full cell holds above the median of its pack, estimated.",
        |cell| cell.charge_ah.map(|known| known.value * SECONDS_PER_HOUR),
    ),
    (
        "cell_imbalance_per_week_coulombs",
        "How that charge changes in a week, estimated; it falls in a cell that loses charge.",
        |cell| cell.charge_ah_per_week.map(|known| known.value * SECONDS_PER_HOUR),
    ),
    (
        "cell_imbalance_per_week_plus_minus_coulombs",
        "In 95 of 100 cases that change is within the estimate plus or minus this.",
        |cell| cell.charge_ah_per_week.map(|known| known.plus_minus * SECONDS_PER_HOUR),
    ),
];

fn time_to(goal: Goal, figures: &Figures) -> Option<f64> {
    figures.time_to_go.filter(|to_go| to_go.goal == goal).map(|to_go| to_go.seconds)
}

impl Metrics {
    /// Writes what is registered, and forgets it: of thousands of batteries, all metrics together
    /// take many times the memory of their text.
    fn write(&mut self) -> Result<(), Error> {
        TextEncoder::new().encode(&self.registry.gather(), &mut self.text)?;
        self.registry = registry()?;
        Ok(())
    }

    fn batteries(&mut self, fresh: &[FreshBattery<'_>]) -> Result<(), Error> {
        for (name, help, value) in BATTERY_METRICS {
            let gauge = self.gauge(name, help, &BATTERY)?;
            for battery in fresh {
                if let Some(value) = value(battery.record) {
                    gauge.get_metric_with_label_values(&battery.labels())?.set(value);
                }
            }
            self.write()?;
        }
        Ok(())
    }

    fn cells(&mut self, fresh: &[FreshBattery<'_>]) -> Result<(), Error> {
        // Numbered as in the columns: cells from 01, channels from 0.
        let cell = |i| format!("{:02}", i + 1);
        self.each(fresh, "cell_voltage_volts", "Voltage of a cell.", "cell", cell, |record| {
            record.cell_v.map(|volts| volts.map(real))
        })?;
        let celsius = "Temperature of a cell.";
        self.each(fresh, "cell_temperature_celsius", celsius, "cell", cell, |record| {
            record.cell_t.map(|t| t.map(f64::from))
        })?;
        let adc = "Voltage on a channel of the battery's analogue-digital converter.";
        let channel = |i: usize| i.to_string();
        self.each(fresh, "adc_voltage_volts", adc, "channel", channel, |record| {
            record.adc.map(|v| v.map(real))
        })
    }

    /// A gauge for each of a battery's values that is known. The third label is `label`, and has
    /// what `number` makes of the value's index.
    fn each<const N: usize>(
        &mut self,
        fresh: &[FreshBattery<'_>],
        name: &str,
        help: &str,
        label: &str,
        number: impl Fn(usize) -> String,
        values: impl Fn(&PackRecord) -> [Option<f64>; N],
    ) -> Result<(), Error> {
        let series = fresh.iter().flat_map(|battery| {
            let values = values(battery.record).into_iter().enumerate();
            values.filter_map(|(i, value)| Some(battery.numbered(label, &number(i), value?)))
        });
        let series = series.collect();
        self.write_series(name, help, series)
    }

    /// Writes the series of a gauge, of which each battery has many. They go to the encoder as they
    /// are: the registry, which is made for metrics that live on, would copy and sort them.
    fn write_series(&mut self, name: &str, help: &str, series: Vec<Metric>) -> Result<(), Error> {
        if series.is_empty() {
            return Ok(());
        }
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(series);
        TextEncoder::new().encode(&[family], &mut self.text)
    }

    /// Texts are in labels, with the value 1.
    fn texts(&mut self, fresh: &[FreshBattery<'_>]) -> Result<(), Error> {
        let state = self.gauge(
            "state_info",
            "The states that the battery reports, in its own words.",
            &["battery", "name", "errors", "system_state", "breaker", "charge_state"],
        )?;
        let names = self.gauge("battery_info", "Each name of the battery.", &BATTERY)?;
        for FreshBattery { unit, id, names: all_names, record } in fresh {
            let texts = [
                id,
                all_names,
                record.errors.as_deref().unwrap_or_default(),
                record.system_state.as_deref().unwrap_or_default(),
                record.breaker.as_deref().unwrap_or_default(),
                record.charge_state.as_deref().unwrap_or_default(),
            ];
            state.get_metric_with_label_values(&texts)?.set(1.0);
            for BatteryStatus { name, .. } in &unit.batteries {
                names.get_metric_with_label_values(&[id, name])?.set(1.0);
            }
        }
        self.write()
    }

    /// A problem is a series that is there while it lasts. It begins and ends with the samples, as
    /// everywhere: a row may come ten minutes later.
    fn problems(&mut self, units: &[Unit<'_>], status: &Status) -> Result<(), Error> {
        let problems = self.gauge(
            "battery_problem",
            "What is wrong with the battery, and how serious that is; the value is 1.",
            &["battery", "name", "limit", "severity"],
        )?;
        let values = self.gauge(
            "battery_problem_value",
            "The last value that was beyond a limit, in the limit's unit.",
            &["battery", "name", "limit", "severity", "cell"],
        )?;
        let infos = self.gauge(
            "battery_problem_info",
            "What the battery says, in its own words, where that is a problem; the value is 1.",
            &["battery", "name", "limit", "severity", "words"],
        )?;
        let begun = self.counter(
            "battery_problems_total",
            "Times that a red problem of the battery's values has begun.",
            &["battery", "name", "limit"],
        )?;
        for unit in units.iter().filter(|unit| unit.fresh_values(status).is_some()) {
            let id = unit.mcu_id().map(|id| McuId(id).to_string()).unwrap_or_default();
            let (id, names) = (id.as_str(), &*unit.names());
            for (limit, times) in unit.red_problems_begun() {
                begun.get_metric_with_label_values(&[id, names, limit])?.inc_by(times);
            }
            for Problem { name: limit, severity, evidence, .. } in unit.problems(status) {
                let severity = severity.name();
                problems.get_metric_with_label_values(&[id, names, limit, severity])?.set(1.0);
                match evidence {
                    Evidence::Value { value, cell } => {
                        let cell = cell.map(|cell| format!("{cell:02}")).unwrap_or_default();
                        let labels = [id, names, limit, severity, &cell];
                        values.get_metric_with_label_values(&labels)?.set(value);
                    }
                    Evidence::Words(words) => {
                        let labels = [id, names, limit, severity, &words];
                        infos.get_metric_with_label_values(&labels)?.set(1.0);
                    }
                    Evidence::Rows => {}
                }
            }
        }
        self.write()
    }

    fn figures(&mut self, fresh: &[FreshBattery<'_>]) -> Result<(), Error> {
        let figures =
            || fresh.iter().filter_map(|battery| Some((battery.labels(), battery.unit.figures()?)));
        for (name, help, value) in COUNTERS {
            let counter = self.registered(CounterVec::new(Opts::new(name, help), &BATTERY)?)?;
            for (labels, figures) in figures() {
                if let Some(value) = value(figures) {
                    counter.get_metric_with_label_values(&labels)?.inc_by(value);
                }
            }
            self.write()?;
        }
        for (name, help, value) in FIGURES {
            let gauge = self.gauge(name, help, &BATTERY)?;
            for (labels, figures) in figures() {
                if let Some(value) = value(figures) {
                    gauge.get_metric_with_label_values(&labels)?.set(value);
                }
            }
            self.write()?;
        }
        Ok(())
    }

    fn cell_figures(&mut self, fresh: &[FreshBattery<'_>]) -> Result<(), Error> {
        let cells = || {
            let figures = fresh.iter().filter_map(|it| Some((it, it.unit.figures()?)));
            figures.flat_map(|(battery, figures)| {
                let cells = (1_u8..).zip(&figures.cells);
                cells.map(move |(number, cell)| (battery, figures, number, cell))
            })
        };
        for (name, help, value) in CELL_FIGURES {
            let series = cells().filter_map(|(battery, _, number, cell)| {
                Some(battery.numbered("cell", &format!("{number:02}"), value(cell)?))
            });
            self.write_series(name, help, series.collect())?;
        }
        let help = "Whether a cell is weak against the others of its pack.";
        let series = cells().filter_map(|(battery, figures, number, _)| {
            let is_weak = figures.verdict.weak_cells()?.any(|weak| weak.cell == number);
            Some(battery.numbered("cell", &format!("{number:02}"), f64::from(is_weak)))
        });
        self.write_series("cell_weak", help, series.collect())
    }

    fn cell_bus(&mut self, fresh: &[FreshBattery<'_>]) -> Result<(), Error> {
        let bad_crc =
            self.counter("bad_crc_total", "Bad frames on the bus of the cells.", &BATTERY)?;
        let parse_fail = self.counter(
            "parse_fail_total",
            "Unparsable frames on the bus of the cells.",
            &BATTERY,
        )?;
        let bad_vcell =
            self.counter("bad_vcell_total", "Cell values that the firmware rejected.", &BATTERY)?;
        for battery in fresh {
            let labels = battery.labels();
            for BatteryStatus { cell_bus, .. } in &battery.unit.batteries {
                bad_crc.get_metric_with_label_values(&labels)?.inc_by(cell_bus.bad_crc);
                parse_fail.get_metric_with_label_values(&labels)?.inc_by(cell_bus.parse_fail);
                bad_vcell.get_metric_with_label_values(&labels)?.inc_by(cell_bus.bad_vcell);
            }
        }
        self.write()
    }

    /// Of every battery of the command line, those without an MCU ID or a fresh row too, so that an
    /// alert needs no memory of a battery, and ends when the battery is removed.
    fn silent(&mut self, units: &[Unit<'_>], status: &Status) -> Result<(), Error> {
        let gauge = self.gauge(
            "battery_silent",
            "Whether the battery has had no row for three intervals, at none of its addresses.",
            &BATTERY,
        )?;
        let last_row = self.gauge(
            "battery_last_row_timestamp_seconds",
            "End of the interval of the battery's last row since the start, at any address.",
            &BATTERY,
        )?;
        for unit in units {
            let id = unit.mcu_id().map(|id| McuId(id).to_string()).unwrap_or_default();
            let labels = [&*id, &*unit.names()];
            let silent = unit.fresh(status).is_none() && unit.first_row_due_in(status).is_none();
            gauge.get_metric_with_label_values(&labels)?.set(f64::from(silent));
            if let Some(latest) = unit.latest {
                last_row.get_metric_with_label_values(&labels)?.set(unix_seconds(latest.record));
            }
        }
        self.write()
    }

    /// These have the name for a label: a battery that was never connected has no MCU ID yet.
    fn connections(&mut self, status: &Status) -> Result<(), Error> {
        let connected = self.gauge("connected", "Whether the battery is connected.", &["name"])?;
        let redials =
            self.counter("redials_total", "Times that the battery was dialled again.", &["name"])?;
        let malformed = self.counter(
            "malformed_lines_total",
            "Lines of a known kind that could not be parsed.",
            &["name"],
        )?;
        let rows = self.counter("rows_recorded_total", "Rows that were stored.", &["name"])?;
        for battery in &status.batteries {
            let name = [&battery.name];
            let up = f64::from(battery.connection == ConnectionState::Up);
            connected.get_metric_with_label_values(&name)?.set(up);
            redials.get_metric_with_label_values(&name)?.inc_by(battery.redials());
            malformed.get_metric_with_label_values(&name)?.inc_by(battery.malformed_lines);
            rows.get_metric_with_label_values(&name)?.inc_by(battery.rows);
        }
        self.write()
    }

    fn storage(&mut self, status: &Status) -> Result<(), Error> {
        let delivery = status.delivery.as_ref();
        let number = |count: Option<u64>| count.map(|count| count as f64);
        for (name, help, value) in [
            (
                "rows_only_in_memory",
                "Rows in memory only, which end with the process.",
                number(Some(status.storage.only_in_memory)),
            ),
            (
                "rows_waiting",
                "Rows in the journal that wait for delivery.",
                number(delivery.map(|delivery| delivery.waiting)),
            ),
            (
                "rows_set_aside",
                "Rows that the database rejected.",
                number(delivery.and_then(|delivery| delivery.set_aside)),
            ),
            (
                "rows_retried",
                "Rows that wait for a partition of the table, and are retried.",
                number(delivery.and_then(|delivery| delivery.retried)),
            ),
            (
                "problems",
                "Number of problems; /healthz says what they are.",
                Some(status.problems().len() as f64),
            ),
            (
                "delivery_stuck",
                "Whether rows have waited for longer than three intervals.",
                delivery.map(|d| f64::from(status.is_stuck(d))),
            ),
        ] {
            let gauge = self.gauge(name, help, &[])?;
            if let Some(value) = value {
                gauge.get_metric_with_label_values::<&str>(&[])?.set(value);
            }
        }
        let delivered =
            self.counter("rows_delivered_total", "Rows that the database acknowledged.", &[])?;
        if let Some(delivery) = delivery {
            delivered.get_metric_with_label_values::<&str>(&[])?.inc_by(delivery.delivered);
        }
        let build = self.gauge("build_info", "The version of the listener.", &["version"])?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1.0);
        self.write()
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, Error> {
        self.registered(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn registered<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, Error> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// The end of its interval, in the microseconds that rows have: a number has no room for more.
fn unix_seconds(record: &PackRecord) -> f64 {
    (record.insert_time_utc.unix_timestamp_nanos() / 1000) as f64 / 1e6
}

/// The decimal number that the battery sent, of which the `f32` is the nearest one.
fn real(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
