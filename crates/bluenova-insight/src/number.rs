//! Numbers in as few bytes of JSON as they need.

use bluenova_record::CELLS;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Counters, Estimate};

/// A number without `.0` where it is whole.
pub(crate) struct Short(pub(crate) f32);

impl Serialize for Short {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Up to 2^24 an f32 holds each whole number.
        if self.0.fract() == 0.0 && self.0.abs() <= 16_777_216.0 {
            serializer.serialize_i32(self.0 as i32)
        } else {
            serializer.serialize_f32(self.0)
        }
    }
}

/// Rounded to that many decimals.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10_f64.powi(decimals);
    (value * factor).round() / factor
}

/// Whole seconds.
pub(crate) fn whole<S: Serializer>(seconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // A cast saturates, and a day is short.
    serializer.serialize_u32(seconds.round() as u32)
}

/// Whole watt-hours, and ampere-hours with one decimal.
pub(crate) fn counters<S: Serializer>(
    counters: &Counters,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Rounded {
        energy_in_wh: i64,
        energy_out_wh: i64,
        charge_in_ah: f64,
        charge_out_ah: f64,
    }
    Rounded {
        energy_in_wh: counters.energy_in_wh.round() as i64,
        energy_out_wh: counters.energy_out_wh.round() as i64,
        charge_in_ah: rounded(counters.charge_in_ah, 1),
        charge_out_ah: rounded(counters.charge_out_ah, 1),
    }
    .serialize(serializer)
}

/// Two decimals, as long as there is a value.
pub(crate) fn two_decimals<S: Serializer>(
    value: &Option<f32>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.map(|value| Short(rounded(value.into(), 2) as f32)).serialize(serializer)
}

/// The values of the cells with that many decimals, up to the last cell that has one.
pub(crate) fn cells<const DECIMALS: i32, S: Serializer>(
    values: &[Option<f32>; CELLS],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let count = values.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let short = |value: f32| Short(rounded(value.into(), DECIMALS) as f32);
    serializer.collect_seq(values[..count].iter().map(|value| value.map(short)))
}

pub(crate) fn cells_back<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[Option<f32>; CELLS], D::Error> {
    let mut values = Vec::<Option<f32>>::deserialize(deserializer)?.into_iter();
    Ok(std::array::from_fn(|_| values.next().flatten()))
}

/// A number of cells; more than the table has columns for are an error.
pub(crate) fn cell_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let count = u8::deserialize(deserializer)?;
    match usize::from(count) <= CELLS {
        true => Ok(count),
        false => Err(de::Error::custom(format!("{count} is no number of cells"))),
    }
}

/// `[value, plus_minus]` with one decimal.
pub(crate) fn estimate<S: Serializer>(
    estimate: &Option<Estimate>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let pair = |Estimate { value, plus_minus }| [rounded(value, 1), rounded(plus_minus, 1)];
    estimate.map(pair).serialize(serializer)
}

pub(crate) fn estimate_back<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Estimate>, D::Error> {
    let pair = Option::<(f64, f64)>::deserialize(deserializer)?;
    Ok(pair.map(|(value, plus_minus)| Estimate { value, plus_minus }))
}
