//! A day with all its fields, for programs that read it.

use serde::{Serialize, Serializer};
use time::Date;

use crate::{
    CellExtremes, CellsOfDay, Counters, DayStatistics, Estimate, Extremes, calendar::date_text,
    number,
};

/// The fields of [`DayStatistics`], none of which is left out; rounded as they are stored.
#[derive(Serialize)]
#[serde(remote = "DayStatistics")]
struct WholeDay {
    #[serde(with = "date_text")]
    date: Date,
    length_s: u32,
    #[serde(serialize_with = "number::whole")]
    sampled_s: f64,
    #[serde(serialize_with = "number::whole")]
    from_rows_s: f64,
    first_s: u32,
    last_s: u32,
    samples: u32,
    #[serde(flatten, serialize_with = "number::counters")]
    counters: Counters,
    #[serde(serialize_with = "number::estimate")]
    capacity_ah: Option<Estimate>,
    #[serde(serialize_with = "number::two_decimals")]
    full_cycles: Option<f32>,
    soc: Option<Extremes>,
    v_pack: Option<Extremes>,
    i_pack: Option<Extremes>,
    power_w: Option<Extremes>,
    temp: Option<Extremes>,
    cell_v: Option<CellExtremes>,
    cell_t: Option<CellExtremes>,
    spread_mv: Option<Extremes>,
    rest_spread_mv: Option<Extremes>,
    errors: u8,
    #[serde(serialize_with = "number::whole")]
    frost_charge_s: f64,
    #[serde(serialize_with = "number::whole")]
    breaker_open_s: f64,
    cells: CellsOfDay,
}

/// A reference, since what serde makes of a `remote` type is a function.
#[derive(Serialize)]
struct Shown<'a>(#[serde(serialize_with = "serialize")] &'a DayStatistics);

impl DayStatistics {
    /// The day as it is shown to programs: also what is zero, usual or not known (`null`), which
    /// the day's own JSON, the one to store, leaves out. Lists of cells are there where a value is
    /// known.
    pub fn whole(&self) -> impl Serialize {
        Shown(self)
    }
}

/// For a day in something that is shown.
pub(crate) fn serialize<S: Serializer>(
    day: &DayStatistics,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    WholeDay::serialize(day, serializer)
}
