//! The console's lines, in the order of the protocol's table. An entry holds everything about one
//! kind of line; a new kind is one more entry here, and a test.
//!
//! ```text
//! Name(value: Type) => {
//!     prefix:    what stands at the very start of the line, to the letter
//!     only_if:   a check of what follows the prefix; where it fails, the line is of another kind
//!     value:     parser of what follows; without one the prefix is the whole meaning
//!     print:     the values in the same form, for `Display`
//!     record:    how they go into the record
//!     malformed: what a malformed value changes in the record
//! }
//! ```
//!
//! Entries that begin with the same byte are tried in their order.

use core::fmt;

use crate::{
    AdcChannel, CellNumber, Decimal, Millivolts, ParseError,
    draft::{Draft, count, set_text},
    grammar, value,
    value::{
        cell, converter, decimal, digit_follows, first_word, mcu_id, millivolts, quoted, rest,
        whole,
    },
};

/// Parses one line of the console, without or with its line end.
///
/// A line counts only if a known prefix stands at its very start, to the letter; all others are
/// [`Line::Other`]. What follows the value, a unit or an escape sequence say, is ignored: that goes
/// for the fraction of a whole number too.
///
/// # Errors
/// A malformed value behind a known prefix.
///
/// ```
/// use bluenova_console::{Line, parse};
///
/// assert_eq!(parse("SOC: 63 %\r\n"), Ok(Line::StateOfCharge(63)));
/// assert_eq!(parse("balancing done"), Ok(Line::Other("balancing done")));
/// assert!(parse("SOC: ??").is_err());
/// ```
#[inline]
pub fn parse(line: &str) -> Result<Line<'_>, ParseError> {
    read(without_line_end(line), None)
}

/// Looks at the last byte first, since most lines come without their end.
#[inline(always)]
pub(crate) fn without_line_end(line: &str) -> &str {
    match line.as_bytes() {
        [.., b'\r' | b'\n'] => line.trim_end_matches(['\r', '\n']),
        _ => line,
    }
}

grammar::lines! {
    /// `MCU ID: 9F3C07B2`: serial number of the controller, 32 bits: who this battery is. All ones
    /// are no ID.
    McuId(id: u32) => {
        prefix: "MCU ID: ", value: mcu_id, print: "{id:08X}",
        record: |draft| draft.identify(id),
    }

    /// `--- PO PARAMS --- (i=3`: number of units in the bank.
    UnitCount(units: i16) => {
        prefix: "--- PO PARAMS --- (i=", value: whole, print: "{units}",
        record: |draft| draft.record.n_units = Some(units),
    }

    /// `after assignRank() --> own rank = 2`: this unit's rank in the bank.
    UnitRank(rank: i16) => {
        prefix: "after assignRank() --> own rank = ", value: whole, print: "{rank}",
        record: |draft| draft.record.unit_rank = Some(rank),
    }

    /// `CellCount: 16`: cells in series.
    CellCount(cells: i16) => {
        prefix: "CellCount: ", value: whole, print: "{cells}",
        record: |draft| draft.record.cell_count = Some(cells),
    }

    /// `C07) T: 21, V: 3311`: one cell's temperature and voltage. Where one of them is malformed,
    /// the other one is salvaged.
    Cell {
        /// Which cell.
        cell: CellNumber,
        /// Its temperature in °C.
        temperature: i16,
        /// Its voltage.
        voltage: Millivolts,
    } => {
        prefix: "C", only_if: digit_follows, value: cell,
        print: "{cell}) T: {temperature}, V: {voltage}",
        record: |draft| {
            draft.record.cell_t[cell.index()] = Some(temperature);
            draft.record.cell_v[cell.index()] = Some(voltage.volts());
        },
    }

    /// `Vpack: 53017`: pack voltage.
    PackVoltage(voltage: Millivolts) => {
        prefix: "Vpack: ", value: millivolts, print: "{voltage}",
        record: |draft| draft.record.v_pack = Some(voltage.volts()),
    }

    /// `Current: -41.75`: pack current in amperes; positive charges, negative discharges.
    PackCurrent(current: Decimal) => {
        prefix: "Current: ", value: decimal, print: "{current}",
        record: |draft| draft.record.i_pack = Some(current.to_f32()),
    }

    /// `Temp: 24`: pack temperature in °C.
    PackTemperature(temperature: i16) => {
        prefix: "Temp: ", value: whole, print: "{temperature}",
        record: |draft| draft.record.temp = Some(temperature),
    }

    /// `Vc_max: 3338`: highest cell voltage.
    CellVoltageMax(voltage: Millivolts) => {
        prefix: "Vc_max: ", value: millivolts, print: "{voltage}",
        record: |draft| draft.record.v_cell_max = Some(voltage.volts()),
    }

    /// `Vc_min: 3293`: lowest cell voltage.
    CellVoltageMin(voltage: Millivolts) => {
        prefix: "Vc_min: ", value: millivolts, print: "{voltage}",
        record: |draft| draft.record.v_cell_min = Some(voltage.volts()),
    }

    /// `SOC: 63`: state of charge in percent.
    StateOfCharge(percent: i16) => {
        prefix: "SOC: ", value: whole, print: "{percent}",
        record: |draft| draft.record.soc = Some(percent),
    }

    /// `SOH: 97.25`: state of health in percent.
    StateOfHealth(percent: Decimal) => {
        prefix: "SOH: ", value: decimal, print: "{percent}",
        record: |draft| draft.record.health = Some(percent.to_f32()),
    }

    /// `Errors: "NONE"`: the text between the quotes.
    Errors(text: &'a str) => {
        prefix: "Errors: ", value: quoted, print: "\"{text}\"",
        record: |draft| set_text(&mut draft.record.errors, text),
    }

    /// `System_State: NORMAL`: the rest of the line.
    SystemState(text: &'a str) => {
        prefix: "System_State: ", value: rest, print: "{text}",
        record: |draft| set_text(&mut draft.record.system_state, text),
    }

    /// `Breaker: CLOSED`: the rest of the line.
    Breaker(text: &'a str) => {
        prefix: "Breaker: ", value: rest, print: "{text}",
        record: |draft| set_text(&mut draft.record.breaker, text),
    }

    /// `Charge State: DISCHARGE (3)`: the first word behind the prefix.
    ChargeState(word: &'a str) => {
        prefix: "Charge State: ", value: first_word, print: "{word}",
        record: |draft| set_text(&mut draft.record.charge_state, word),
    }

    /// `Vp_adc: 52996`: pack voltage as the analogue-digital converter sees it.
    AdcPackVoltage(voltage: Millivolts) => {
        prefix: "Vp_adc: ", value: millivolts, print: "{voltage}",
        record: |draft| draft.record.adc_vp = Some(voltage.volts()),
    }

    /// `DEBUG: ADC[2]: 2002 = 1613.5`: one channel of the analogue-digital converter.
    Adc {
        /// Which channel.
        channel: AdcChannel,
        /// What the converter counted.
        raw: i32,
        /// What that is as a voltage.
        voltage: Millivolts,
    } => {
        prefix: "DEBUG: ADC[", only_if: digit_follows, value: converter,
        print: "{channel}]: {raw} = {voltage}",
        record: |draft| draft.record.adc[channel.index()] = Some(voltage.volts()),
    }

    /// `INFO: BAD CRC`: one bad frame on the cell bus.
    BadCrc => {
        prefix: "INFO: BAD CRC",
        record: |draft| count(&mut draft.record.bad_crc),
    }

    /// `INFO: cellcomms parse FAIL`: one unparsable frame on the cell bus.
    CellFrameUnparsable => {
        prefix: "INFO: cellcomms parse FAIL",
        record: |draft| count(&mut draft.record.parse_fail),
    }

    /// `DEBUG: REJECT BAD `: one cell reading that the firmware rejected.
    CellReadingRejected => {
        prefix: "DEBUG: REJECT BAD ",
        record: |draft| count(&mut draft.record.bad_vcell),
    }

    /// `DEBUG: CALC PACK_CHARGE, STORE IN FLASH`: announces the two energy lines.
    EnergyAnnounced => {
        prefix: "DEBUG: CALC PACK_CHARGE, STORE IN FLASH",
        record: |draft| draft.announce_energy(),
    }

    /// `Write EnergyOut: 812.5`: the first one behind the announcement is the energy out, the
    /// second one the energy in; the firmware prints the same label for both. Others mean nothing.
    /// Unit as the firmware has it.
    EnergyWritten(energy: Decimal) => {
        prefix: "Write EnergyOut: ", value: decimal, print: "{energy}",
        record: |draft| draft.energy_written(Some(energy.to_f32())),
        malformed: |draft| draft.energy_written(None),
    }
}
