//! The entities of Home Assistant: which values of a battery become which kind of entity.
//!
//! Platforms, classes and units are Home Assistant's own words:
//! <https://www.home-assistant.io/integrations/sensor.mqtt/>,
//! <https://www.home-assistant.io/integrations/binary_sensor.mqtt/>.

use bluenova_record::{CELLS, COLUMNS, Column, SqlType};

/// An entity: one value of the state's JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entity {
    /// Name of the value in the JSON, and last part of the ids.
    pub(crate) key: &'static str,
    /// Name that Home Assistant shows behind that of the device.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) role: Role,
}

/// Platform of an entity, and the fields that it has on this platform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A measured number.
    Number {
        device_class: Option<&'static str>,
        unit: Option<&'static str>,
        /// Digits behind the point.
        precision: u8,
    },
    /// A counter that never falls.
    Total { device_class: &'static str, unit: &'static str, precision: u8 },
    /// A number without statistics.
    Plain,
    /// A point in time.
    Time,
    /// A text in the firmware's words.
    Text,
    /// Yes, which is "on" in Home Assistant, or no.
    Binary { device_class: &'static str },
}

/// Part of the device's page on which Home Assistant shows an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Among the device's values.
    Main,
    /// Among the diagnostics, and only for those who enable it.
    Detail,
}

impl Kind {
    const fn number(device_class: &'static str, unit: &'static str, precision: u8) -> Self {
        Self::Number { device_class: Some(device_class), unit: Some(unit), precision }
    }

    const fn volts(precision: u8) -> Self {
        Self::number("voltage", "V", precision)
    }

    const CELSIUS: Self = Self::number("temperature", "°C", 0);
    const PERCENT: Self = Self::Number { device_class: None, unit: Some("%"), precision: 1 };
    /// As Home Assistant's energy dashboard takes it.
    const KWH: Self = Self::Total { device_class: "energy", unit: "kWh", precision: 1 };
    const COUNT: Self = Self::Number { device_class: None, unit: None, precision: 0 };

    /// Home Assistant's name of the platform.
    pub(crate) fn platform(self) -> &'static str {
        match self {
            Self::Binary { .. } => "binary_sensor",
            _ => "sensor",
        }
    }
}

/// The values that people look at, in the order of the state's JSON. All others are details.
const MAIN: [(&str, &str, Kind); 24] = [
    ("v_pack", "Voltage", Kind::volts(2)),
    ("i_pack", "Current", Kind::number("current", "A", 2)),
    ("temp", "Temperature", Kind::CELSIUS),
    ("v_cell_min", "Lowest cell voltage", Kind::volts(3)),
    ("v_cell_max", "Highest cell voltage", Kind::volts(3)),
    ("soc", "State of charge", Kind::number("battery", "%", 0)),
    ("health", "State of health", Kind::PERCENT),
    ("errors", "Errors", Kind::Text),
    ("system_state", "System state", Kind::Text),
    ("charge_state", "Charge state", Kind::Text),
    ("power_w", "Power", Kind::number("power", "W", 0)),
    ("cell_spread_mv", "Cell spread", Kind::number("voltage", "mV", 0)),
    ("cell_lowest", "Lowest cell", Kind::Plain),
    ("cell_highest", "Highest cell", Kind::Plain),
    ("errors_present", "Problem", Kind::Binary { device_class: "problem" }),
    ("breaker_open", "Breaker", Kind::Binary { device_class: "opening" }),
    ("energy_in_kwh", "Energy charged", Kind::KWH),
    ("energy_out_kwh", "Energy discharged", Kind::KWH),
    ("time_to_empty_h", "Time to empty", Kind::number("duration", "h", 1)),
    ("time_to_full_h", "Time to full", Kind::number("duration", "h", 1)),
    (
        "capacity_ah",
        "Capacity",
        Kind::Number { device_class: None, unit: Some("Ah"), precision: 1 },
    ),
    ("weak_cell_present", "Weak cell", Kind::Binary { device_class: "problem" }),
    ("weak_cells", "Weak cells", Kind::Text),
    ("severity", "Severity", Kind::Text),
];

/// The entities of a battery with so many cells.
pub(crate) fn battery(cells: usize) -> Vec<Entity> {
    let main = MAIN.iter().map(|(key, name, kind)| Entity {
        key,
        name: (*name).to_owned(),
        kind: *kind,
        role: Role::Main,
    });
    let is_main = |column: &Column| MAIN.iter().any(|(key, ..)| *key == column.name);
    let columns = COLUMNS.iter().filter(|column| !is_main(column) && has_cell(column, cells));
    main.chain(columns.filter_map(detail)).collect()
}

/// The entities of a bank.
pub(crate) fn bank() -> Vec<Entity> {
    [
        ("soc", "State of charge", Kind::number("battery", "%", 1), Role::Main),
        ("power_w", "Power", Kind::number("power", "W", 0), Role::Main),
        ("batteries", "Batteries", Kind::Plain, Role::Detail),
        ("fresh", "Batteries with fresh values", Kind::Plain, Role::Main),
    ]
    .map(|(key, name, kind, role)| Entity { key, name: name.to_owned(), kind, role })
    .into()
}

/// Cells of a battery that reports this count; `None` if it is unknown or impossible.
pub(crate) fn cells(count: Option<i16>) -> Option<usize> {
    count.and_then(|count| usize::try_from(count).ok()).filter(|n| (1..=CELLS).contains(n))
}

/// Whether a column is about none of the cells that a battery lacks.
fn has_cell(column: &Column, cells: usize) -> bool {
    let number = column.name.strip_prefix("cell_").and_then(|rest| rest.get(..2));
    number.and_then(|number| number.parse().ok()).is_none_or(|number: usize| number <= cells)
}

/// The entity of a column that isn't one of the main values; the MCU ID has none, for it is the
/// device's serial number.
fn detail(column: &Column) -> Option<Entity> {
    let kind = match (column.sql, column.unit) {
        _ if column.name == "mcu_id" => return None,
        (SqlType::Timestamp, _) => Kind::Time,
        (SqlType::Varchar(_), _) => Kind::Text,
        (_, "V") => Kind::volts(3),
        (_, "°C") => Kind::CELSIUS,
        (_, "1") => Kind::COUNT,
        _ => Kind::Plain,
    };
    let mut letters = column.meaning.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    let name = first.unwrap_or_default() + letters.as_str();
    Some(Entity { key: column.name, name, kind, role: Role::Detail })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::state::COMPUTED;

    #[test]
    fn every_value_has_an_entity() {
        let entities = battery(CELLS);
        let keys: HashSet<_> = entities.iter().map(|entity| entity.key).collect();
        let columns = COLUMNS.iter().map(|column| column.name);
        let values: HashSet<_> = columns.chain(COMPUTED).filter(|name| *name != "mcu_id").collect();
        assert_eq!(keys, values);
        assert_eq!(entities.len(), keys.len());
    }

    #[test]
    fn names_are_unique_and_fit_for_people() {
        for entities in [battery(CELLS), bank()] {
            let names: HashSet<_> = entities.iter().map(|entity| &entity.name).collect();
            assert_eq!(names.len(), entities.len());
            for name in names {
                assert!(name.starts_with(char::is_uppercase) && name.len() <= 60, "{name}");
            }
        }
    }

    #[test]
    fn cells_that_a_battery_lacks_have_no_entity() {
        let cells = |n| battery(n).iter().filter(|it| it.key.starts_with("cell_0")).count();
        assert_eq!((cells(1), cells(4), cells(9), cells(16)), (2, 8, 18, 18));
        let keys: Vec<_> = battery(4).iter().map(|entity| entity.key).collect();
        assert!(keys.contains(&"cell_04_v") && !keys.contains(&"cell_05_v"));
        assert!(keys.contains(&"cell_spread_mv"));
    }

    #[test]
    fn counts_of_cells() {
        for (count, expected) in [
            (None, None),
            (Some(-1), None),
            (Some(0), None),
            (Some(1), Some(1)),
            (Some(16), Some(16)),
            (Some(17), None),
        ] {
            assert_eq!(cells(count), expected, "{count:?}");
        }
    }
}
