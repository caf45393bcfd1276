//! The state of a battery and of a bank, as JSON.

use bluenova_record::{COLUMNS, PackRecord, Rfc3339, Value};
use bluenova_status::bank::{self, Share};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// The values of a battery: those of its row under the columns' names, and what follows from them
/// under the names that `/api/batteries` has. `null`: not known.
pub(crate) struct BatteryState<'a>(pub(crate) &'a PackRecord);

/// The names of what isn't a column.
pub(crate) const COMPUTED: [&str; 6] = [
    "power_w",
    "cell_spread_mv",
    "cell_lowest",
    "cell_highest",
    "errors_present",
    "breaker_closed",
];

impl Serialize for BatteryState<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.0;
        let mut map = serializer.serialize_map(None)?;
        for column in &COLUMNS {
            match column.get(record) {
                Some(Value::Timestamp(time)) => map.serialize_entry(column.name, &Rfc3339(time))?,
                Some(Value::BigInt(number)) => map.serialize_entry(column.name, &number)?,
                Some(Value::SmallInt(number)) => map.serialize_entry(column.name, &number)?,
                Some(Value::Real(number)) => map.serialize_entry(column.name, &number)?,
                Some(Value::Text(text)) => map.serialize_entry(column.name, text)?,
                None => map.serialize_entry(column.name, &())?,
            }
        }
        let cells = bank::cell_voltages(record);
        let [power, spread, lowest, highest, errors, breaker] = COMPUTED;
        map.serialize_entry(power, &bank::power(record).map(to_tenths))?;
        map.serialize_entry(spread, &cells.as_ref().map(|cells| to_tenths(cells.spread)))?;
        map.serialize_entry(lowest, &cells.as_ref().map(|cells| cells.lowest))?;
        map.serialize_entry(highest, &cells.as_ref().map(|cells| cells.highest))?;
        map.serialize_entry(errors, &record.errors.map(|_| bank::errors(record).is_some()))?;
        let is_closed = bank::breaker(record).map(|breaker| breaker == bank::CLOSED);
        map.serialize_entry(breaker, &is_closed)?;
        map.end()
    }
}

/// The values of all batteries of a listener together, from those whose values are fresh.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct BankState {
    batteries: usize,
    fresh: usize,
    power_w: Option<f64>,
    soc: Option<f64>,
}

impl BankState {
    pub(crate) fn new(batteries: usize, fresh: usize, sum: &Share) -> Self {
        Self {
            batteries,
            fresh,
            power_w: sum.power().map(to_tenths),
            soc: sum.state_of_charge().map(to_tenths),
        }
    }
}

/// No more digits than the measurement has.
fn to_tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
