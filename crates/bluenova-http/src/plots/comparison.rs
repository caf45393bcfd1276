//! `/api/plots`: a value of several batteries, a line each.

use std::ops::ControlFlow;
use std::time::Duration;

use bluenova_journal::{Reader, RowSelection, rows_passed};
use bluenova_plot::{Curve, FilledBuckets, Form, Legend, Panel, Picture, Side, Trace, micros};
use bluenova_record::{COLUMNS, Column, McuId, PackRecord, first_chars};
use bluenova_status::bank::power;
use time::UtcDateTime;

use super::ZERO;
use super::answer::Plots;
use super::request::PlotRequest;
use super::traces::spread_mv;
use crate::HistoryError;
use crate::query::Query;

/// Most batteries that are compared: as many as there are colours.
pub(crate) const MOST_BATTERIES: usize = 8;
/// Most characters of a name in the legend.
const NAME: usize = 24;

/// A value that batteries are compared by.
#[derive(Clone, Copy)]
struct Compared {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    least: f64,
    bounds: Option<(f64, f64)>,
    is_needed: fn(&str) -> bool,
    value: fn(&PackRecord) -> Option<f32>,
}

const SOC: Compared = Compared {
    id: "soc",
    title: "State of charge",
    unit: "%",
    least: 100.0,
    bounds: Some((0.0, 100.0)),
    is_needed: |name| name == "soc",
    value: |record| record.soc.map(f32::from),
};
const VALUES: [(&str, Compared); 5] = [
    ("soc", SOC),
    (
        "power",
        Compared {
            id: "power",
            title: "Power",
            unit: "W",
            least: 100.0,
            bounds: ZERO,
            is_needed: |name| matches!(name, "v_pack" | "i_pack"),
            value: |record| power(record).map(|watts| watts as f32),
        },
    ),
    (
        "voltage",
        Compared {
            id: "voltage",
            title: "Pack voltage",
            unit: "V",
            least: 0.2,
            bounds: None,
            is_needed: |name| name == "v_pack",
            value: |record| record.v_pack,
        },
    ),
    (
        "spread",
        Compared {
            id: "spread",
            title: "Highest cell above the lowest one",
            unit: "mV",
            least: 4.0,
            bounds: ZERO,
            is_needed: |name| name.starts_with("v_cell_") || name.starts_with("cell_v"),
            value: spread_mv,
        },
    ),
    (
        "temperature",
        Compared {
            id: "temperature",
            title: "Temperature",
            unit: "°C",
            least: 4.0,
            bounds: None,
            is_needed: |name| name == "temp",
            value: |record| record.temp.map(f32::from),
        },
    ),
];

/// The plot of a value of these batteries, each with its name.
///
/// Parameters are those of [`plots`](super::plots), and `value`: soc, power, voltage, spread or
/// temperature; soc by default. `of_all` is the number of batteries that have rows.
///
/// # Errors
/// A parameter is invalid, there are too many rows, or the journal can't be read.
pub(crate) fn comparison(
    journal: &Reader,
    batteries: &[(u32, String)],
    query: &[(String, String)],
    now: UtcDateTime,
    interval: Duration,
    of_all: usize,
) -> Result<Plots, HistoryError> {
    let parameters = [&PlotRequest::PARAMETERS[..], &["batteries", "value"]].concat();
    let query = Query::new(query, &parameters)?;
    let compared = query.choice("value", &VALUES, SOC)?;
    let ids: Vec<_> = batteries.iter().map(|(id, _)| *id).collect();
    let request = PlotRequest::new(query, journal, journal.oldest()?, now, interval)?;
    request.check_rows(interval, rows_passed(ids.len(), of_all))?;

    let buckets = request.buckets(request.interval);
    let mut filled = FilledBuckets::new(buckets);
    let pause = request.longest_pause(buckets);
    let mut traces: Vec<_> = ids.iter().map(|_| Trace::new(pause)).collect();
    let columns: Vec<_> = COLUMNS.iter().filter(|it| (compared.is_needed)(it.name)).collect();
    each_row(journal, &request, ids.clone(), &columns, |record| {
        if filled.count(record.insert_time_utc) {
            traces.iter_mut().for_each(Trace::start_bucket);
        }
        let trace = ids.iter().position(|id| *id == record.mcu_id);
        if let Some(trace) = trace.and_then(|at| traces.get_mut(at)) {
            trace.add(micros(record.insert_time_utc), (compared.value)(record));
        }
    })?;

    let names = batteries.iter().map(|(_, name)| short(name));
    let curves: Vec<_> = traces
        .iter()
        .zip(names)
        .enumerate()
        .map(|(i, (trace, name))| Curve::line(name, trace, request.palette.battery(i)))
        .map(|curve| Curve { form: Form::Line, ..curve })
        .collect();
    let Compared { id, title, unit, least, bounds, .. } = compared;
    let legend = curves.iter().map(Legend::of).collect();
    let left = Side { unit, colour: request.palette.text, least, bounds, curves };
    let panels = vec![Panel { height: 280, left, right: Side::empty() }];
    let mut plots = Plots::new(&request);
    plots.batteries = ids.into_iter().map(McuId).collect();
    plots.set_times(&filled);
    plots.draw(&Picture { id, title, legend, panels }, &request)?;
    Ok(plots)
}

/// Calls `each` with the rows of these batteries, as far as `columns` go, in the order of time.
pub(super) fn each_row(
    journal: &Reader,
    request: &PlotRequest,
    batteries: Vec<u32>,
    columns: &[&Column],
    mut each: impl FnMut(&PackRecord),
) -> Result<(), HistoryError> {
    if batteries.is_empty() {
        // To the journal none are all.
        return Ok(());
    }
    let selection = RowSelection { times: request.times.clone(), batteries, after: None };
    // Each row overwrites all columns that were read of the one before.
    let mut record = PackRecord::new(request.times.start, 0);
    journal.rows(&selection, columns, |time, mcu_id, values| {
        for (column, value) in columns.iter().zip(values) {
            // It can't fail: the journal has values of the column's type only.
            let _ = column.set(&mut record, *value);
        }
        (record.insert_time_utc, record.mcu_id) = (time, mcu_id);
        each(&record);
        ControlFlow::Continue(())
    })?;
    Ok(())
}

fn short(name: &str) -> String {
    let start = first_chars(name, NAME);
    if start.len() == name.len() { name.to_owned() } else { format!("{start}…") }
}
