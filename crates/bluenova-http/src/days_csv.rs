//! `/api/batteries/{battery}/days.csv`: the statistics of a battery's days as CSV.

use std::borrow::Cow;

use bluenova_insight::{CellExtremes, DayStatistics, Extremes};
use bluenova_journal::Reader;
use bluenova_record::CELLS;
use bluenova_status::Status;

use crate::HistoryError;
use crate::days::statistics;
use crate::serve::Response;

/// A column: its name, with the unit behind it, and its text for a day.
struct DayColumn {
    name: Cow<'static, str>,
    text: Box<dyn Fn(&DayStatistics) -> String>,
}

/// The ended days of a battery that `query` asks for, as for [`days`](crate::days::days), a line
/// each.
///
/// # Errors
/// A parameter is invalid, or the journal can't be read.
pub(crate) fn response(
    journal: &Reader,
    mcu_id: u32,
    status: &Status,
    query: &[(String, String)],
) -> Result<Response, HistoryError> {
    let days = statistics(journal, mcu_id, query)?;
    let columns = columns();
    let mut csv = String::new();
    line(&mut csv, columns.iter().map(|column| column.name.clone()));
    for day in &days {
        line(&mut csv, columns.iter().map(|column| (column.text)(day).into()));
    }
    let name = crate::csv::name_and_id(status, mcu_id);
    let disposition = format!("attachment; filename=\"{name}-days.csv\"");
    let response = Response::new(200, crate::csv::CONTENT_TYPE, csv.into_bytes());
    Ok(response.with("Content-Disposition", disposition))
}

/// No field has a character that needs quotes.
fn line<'a>(csv: &mut String, fields: impl Iterator<Item = Cow<'a, str>>) {
    for (i, field) in fields.enumerate() {
        if i > 0 {
            csv.push(',');
        }
        csv.push_str(&field);
    }
    csv.push('\n');
}

/// All columns, with the digits that a stored day has.
fn columns() -> Vec<DayColumn> {
    let mut columns = vec![
        column("date", |day| day.date.to_string()),
        column("length_s", |day| day.length_s.to_string()),
        column("sampled_s", |day| fixed::<0>(day.sampled_s)),
        column("from_rows_s", |day| fixed::<0>(day.from_rows_s)),
        column("first_s", |day| day.first_s.to_string()),
        column("last_s", |day| day.last_s.to_string()),
        column("samples", |day| day.samples.to_string()),
        column("energy_in_wh", |day| fixed::<0>(day.counters.energy_in_wh)),
        column("energy_out_wh", |day| fixed::<0>(day.counters.energy_out_wh)),
        column("charge_in_ah", |day| fixed::<1>(day.counters.charge_in_ah)),
        column("charge_out_ah", |day| fixed::<1>(day.counters.charge_out_ah)),
        column("capacity_ah", |day| known(day.capacity_ah.map(|it| fixed::<1>(it.value)))),
        column("capacity_plus_minus_ah", |day| {
            known(day.capacity_ah.map(|it| fixed::<1>(it.plus_minus)))
        }),
        column("full_cycles", |day| known(day.full_cycles)),
    ];
    columns.extend(low_and_high("soc_lowest_percent", "soc_highest_percent", |day| day.soc));
    columns.extend(low_and_high("pack_lowest_v", "pack_highest_v", |day| day.v_pack));
    columns.extend(low_and_high("current_lowest_a", "current_highest_a", |day| day.i_pack));
    columns.extend(low_and_high("power_lowest_w", "power_highest_w", |day| day.power_w));
    columns.extend(low_and_high("temperature_lowest_c", "temperature_highest_c", |day| day.temp));
    let names = ["lowest_cell_v", "lowest_cell", "highest_cell_v", "highest_cell"];
    columns.extend(of_cells(names, |day| day.cell_v));
    let names = ["coldest_cell_c", "coldest_cell", "warmest_cell_c", "warmest_cell"];
    columns.extend(of_cells(names, |day| day.cell_t));
    columns.extend(low_and_high("spread_lowest_mv", "spread_highest_mv", |day| day.spread_mv));
    columns.extend(low_and_high("rest_spread_lowest_mv", "rest_spread_highest_mv", |day| {
        day.rest_spread_mv
    }));
    columns.push(column("errors", |day| day.errors.to_string()));
    columns.push(column("frost_charge_s", |day| fixed::<0>(day.frost_charge_s)));
    columns.push(column("breaker_open_s", |day| fixed::<0>(day.breaker_open_s)));
    columns.extend(of_each_cell("resistance_mohm", |day| day.cells.resistance_mohm));
    columns.extend(of_each_cell("rest_mv", |day| day.cells.at_rest_mv));
    columns.extend(of_each_cell("charge_ah", |day| day.cells.charge_ah));
    columns
}

fn column(
    name: impl Into<Cow<'static, str>>,
    text: impl Fn(&DayStatistics) -> String + 'static,
) -> DayColumn {
    DayColumn { name: name.into(), text: Box::new(text) }
}

fn low_and_high(
    low: &'static str,
    high: &'static str,
    of: fn(&DayStatistics) -> Option<Extremes>,
) -> [DayColumn; 2] {
    [
        column(low, move |day| known(of(day).map(|it| it.low))),
        column(high, move |day| known(of(day).map(|it| it.high))),
    ]
}

fn of_cells(
    names: [&'static str; 4],
    of: fn(&DayStatistics) -> Option<CellExtremes>,
) -> [DayColumn; 4] {
    let [low, low_cell, high, high_cell] = names;
    [
        column(low, move |day| known(of(day).map(|it| it.low))),
        column(low_cell, move |day| known(of(day).map(|it| it.low_cell))),
        column(high, move |day| known(of(day).map(|it| it.high))),
        column(high_cell, move |day| known(of(day).map(|it| it.high_cell))),
    ]
}

/// A column for each cell, of as many cells as there may be.
fn of_each_cell(
    what: &str,
    of: fn(&DayStatistics) -> [Option<f32>; CELLS],
) -> impl Iterator<Item = DayColumn> {
    (0..CELLS).map(move |cell| {
        column(format!("cell_{:02}_{what}", cell + 1), move |day| known(of(day)[cell]))
    })
}

fn fixed<const DECIMALS: usize>(value: f64) -> String {
    format!("{value:.DECIMALS$}")
}

/// Nothing where it isn't known.
fn known(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
