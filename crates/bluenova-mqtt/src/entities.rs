//! The entities of Home Assistant: which values of a battery become which kind of entity.
//!
//! The words are Home Assistant's own:
//! <https://www.home-assistant.io/integrations/sensor.mqtt/>,
//! <https://www.home-assistant.io/integrations/binary_sensor.mqtt/>.

use bluenova_record::{CELLS, COLUMNS, Column, SqlType};

/// One entity, of a value in the state's JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entity {
    /// Name of the value in the JSON; it is the last part of the ids too.
    pub(crate) key: &'static str,
    /// Name for people, behind that of the device.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) role: Role,
}

/// The platform of an entity, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A measured number.
    Number {
        device_class: Option<&'static str>,
        unit: Option<&'static str>,
        /// Digits behind the point.
        precision: u8,
    },
    /// A number that no statistics are wanted of.
    Plain,
    /// A point in time.
    Time,
    /// A text in the firmware's words.
    Text,
    /// Yes or no: `on_if` is the value for which Home Assistant says "on".
    Binary { device_class: &'static str, on_if: bool },
}

/// Where Home Assistant shows an entity.
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
const MAIN: [(&str, &str, Kind); 16] = [
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
    ("errors_present", "Problem", Kind::Binary { device_class: "problem", on_if: true }),
    ("breaker_closed", "Breaker", Kind::Binary { device_class: "opening", on_if: false }),
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

/// Cells of a battery that reports this count: all that have columns if it is unknown or odd.
pub(crate) fn cells(count: Option<i16>) -> usize {
    count
        .and_then(|count| usize::try_from(count).ok())
        .filter(|n| (1..=CELLS).contains(n))
        .unwrap_or(CELLS)
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
