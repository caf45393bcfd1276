//! The kinds of lines, for the two comparators.

use bluenova_record::{PackRecord, Text};
use time::UtcDateTime;

/// The record that a comparator fills in.
#[derive(Clone, Debug)]
pub struct Draft {
    record: PackRecord,
    mcu_id: Option<u32>,
    /// Which of the two energies comes next, once they were announced.
    energies: u8,
}

impl Default for Draft {
    fn default() -> Self {
        let record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 0);
        Self { record, mcu_id: None, energies: 2 }
    }
}

impl Draft {
    /// The record, if an MCU ID came.
    pub fn finish(self, insert_time_utc: UtcDateTime) -> Option<PackRecord> {
        let mcu_id = self.mcu_id?;
        Some(PackRecord { insert_time_utc, mcu_id, ..self.record })
    }

    fn energy(&mut self, value: &str) {
        match self.energies {
            0 => self.record.energy_out = value.parse().ok(),
            1 => self.record.energy_in = value.parse().ok(),
            _ => return,
        }
        self.energies += 1;
    }
}

/// One kind of line.
pub(crate) struct LineKind {
    pub(crate) prefix: &'static str,
    /// A regular expression for the same, with a group for each value.
    pub(crate) pattern: &'static str,
    pub(crate) shape: ValueShape,
    pub(crate) put: fn(&mut Draft, Values<'_>),
}

/// Form of the value behind a prefix.
pub(crate) enum ValueShape {
    Nothing,
    /// So many numbers with other text between them.
    Numbers(usize),
    /// A number that begins at once, and two more.
    Cell,
    Word,
    Quoted,
    Rest,
}

pub(crate) type Values<'a> = [&'a str; 3];

macro_rules! kinds {
    ($($prefix:literal $pattern:literal $shape:expr, $put:expr;)*) => {
        [$(LineKind {
            prefix: $prefix,
            pattern: concat!("^", $pattern),
            shape: $shape,
            put: $put,
        }),*]
    };
}

/// In the order of the protocol.
#[rustfmt::skip]
pub(crate) static KINDS: [LineKind; 23] = kinds! {
    "MCU ID: " r"MCU ID: ([0-9A-Fa-f]+)"
        ValueShape::Word, |d, [v, ..]| d.mcu_id = u32::from_str_radix(v, 16).ok();
    "--- PO PARAMS --- (i=" r"--- PO PARAMS --- \(i=(-?[0-9]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.n_units = v.parse().ok();
    "after assignRank() --> own rank = " r"after assignRank\(\) --> own rank = (-?[0-9]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.unit_rank = v.parse().ok();
    "CellCount: " r"CellCount: (-?[0-9]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.cell_count = v.parse().ok();
    "C" r"C([0-9]{2})\) T: (-?[0-9]+), V: (-?[0-9.]+)"
        ValueShape::Cell, put_cell;
    "Vpack: " r"Vpack: (-?[0-9.]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.v_pack = volts(v);
    "Current: " r"Current: (-?[0-9.]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.i_pack = v.parse().ok();
    "Temp: " r"Temp: (-?[0-9]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.temp = v.parse().ok();
    "Vc_max: " r"Vc_max: (-?[0-9.]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.v_cell_max = volts(v);
    "Vc_min: " r"Vc_min: (-?[0-9.]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.v_cell_min = volts(v);
    "SOC: " r"SOC: (-?[0-9]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.soc = v.parse().ok();
    "SOH: " r"SOH: (-?[0-9.]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.health = v.parse().ok();
    "Errors: " r#"Errors: "([^"]*)""#
        ValueShape::Quoted, |d, [v, ..]| d.record.errors = Some(Text::new(v));
    "System_State: " r"System_State: (.*)"
        ValueShape::Rest, |d, [v, ..]| d.record.system_state = Some(Text::new(v));
    "Breaker: " r"Breaker: (.*)"
        ValueShape::Rest, |d, [v, ..]| d.record.breaker = Some(Text::new(v));
    "Charge State: " r"Charge State: ([^ ]*)"
        ValueShape::Word, |d, [v, ..]| d.record.charge_state = Some(Text::new(v));
    "Vp_adc: " r"Vp_adc: (-?[0-9.]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.record.adc_vp = volts(v);
    "DEBUG: ADC[" r"DEBUG: ADC\[([0-9]+)\]: (-?[0-9]+) = (-?[0-9.]+)"
        ValueShape::Numbers(3), put_adc;
    "INFO: BAD CRC" r"INFO: BAD CRC"
        ValueShape::Nothing, |d, _| d.record.bad_crc += 1;
    "INFO: cellcomms parse FAIL" r"INFO: cellcomms parse FAIL"
        ValueShape::Nothing, |d, _| d.record.parse_fail += 1;
    "DEBUG: REJECT BAD " r"DEBUG: REJECT BAD "
        ValueShape::Nothing, |d, _| d.record.bad_vcell += 1;
    "DEBUG: CALC PACK_CHARGE, STORE IN FLASH" r"DEBUG: CALC PACK_CHARGE, STORE IN FLASH"
        ValueShape::Nothing, |d, _| d.energies = 0;
    "Write EnergyOut: " r"Write EnergyOut: (-?[0-9.]+)"
        ValueShape::Numbers(1), |d, [v, ..]| d.energy(v);
};

fn put_cell(draft: &mut Draft, [number, temperature, voltage]: Values<'_>) {
    let Ok(number @ 1..=16) = number.parse::<usize>() else { return };
    draft.record.cell_t[number - 1] = temperature.parse().ok();
    draft.record.cell_v[number - 1] = volts(voltage);
}

fn put_adc(draft: &mut Draft, [channel, _raw, voltage]: Values<'_>) {
    if let Ok(channel @ 0..5) = channel.parse::<usize>() {
        draft.record.adc[channel] = volts(voltage);
    }
}

/// By way of an `f64`, so that the `f32` is the nearest.
fn volts(millivolts: &str) -> Option<f32> {
    millivolts.parse::<f64>().ok().map(|millivolts| (millivolts / 1000.0) as f32)
}
