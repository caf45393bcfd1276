//! The console that the model prints, and the same as values.

use std::fmt::Write;

use bluenova_console::{AdcChannel, CellNumber, Decimal, Line, Millivolts};
use bluenova_record::{ADC_CHANNELS, CELLS};
use fastrand::Rng;
use time::{Duration, UtcDateTime};

use crate::{
    Battery,
    conditions::{Conditions, FROST_CELSIUS, LOW_CELL, LOW_CELL_MILLIVOLTS},
    texts,
};

/// How often the energy is stored, and printed on the occasion.
const ENERGY_EVERY: Duration = Duration::MINUTE;

/// Millivolts of the converter's reference, and what it counts for them.
const ADC_REFERENCE: f64 = 3300.0;
const ADC_FULL_SCALE: f64 = 4095.0;

/// Chances of the three kinds of error on the cell bus, in each cycle.
const BAD_CRC: f64 = 1.0 / 300.0;
const PARSE_FAIL: f64 = 1.0 / 900.0;
const REJECT: f64 = 1.0 / 700.0;

/// The values of one cycle of the console, exactly as they were printed.
///
/// The fields bear the names of the table's columns.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the protocol's table says what the fields mean")]
pub struct Snapshot {
    /// The time in the model.
    pub time: UtcDateTime,
    pub mcu_id: u32,
    pub n_units: i16,
    pub unit_rank: i16,
    pub cell_count: i16,
    /// Cell 01 is at index 0.
    pub cell_v: [Millivolts; CELLS],
    /// Cell 01 is at index 0.
    pub cell_t: [i16; CELLS],
    pub v_pack: Millivolts,
    pub i_pack: Decimal,
    pub temp: i16,
    pub v_cell_min: Millivolts,
    pub v_cell_max: Millivolts,
    pub soc: i16,
    pub health: Decimal,
    pub errors: &'static str,
    pub system_state: &'static str,
    pub breaker: &'static str,
    pub charge_state: &'static str,
    /// `None` where the cycle did not print it, which is in all but one a minute; the two come
    /// together.
    pub energy_in: Option<Decimal>,
    /// `None` where the cycle did not print it.
    pub energy_out: Option<Decimal>,
    pub adc_vp: Millivolts,
    pub adc: [AdcReading; ADC_CHANNELS],
    /// How often this cycle printed it.
    pub bad_crc: i16,
    /// How often this cycle printed it.
    pub parse_fail: i16,
    /// How often this cycle printed it.
    pub bad_vcell: i16,
}

/// What a channel of the analogue-digital converter counted, and what that is as a voltage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdcReading {
    /// The count, 0 to 4095.
    pub raw: i32,
    /// The voltage.
    pub voltage: Millivolts,
}

impl Battery {
    /// Prints one cycle of the console, about 45 lines, to the end of `console`. Each line ends in
    /// `\r\n`.
    ///
    /// No time passes: that is what [`advance`](Self::advance) is for.
    pub fn print_cycle(&mut self, console: &mut String) -> Snapshot {
        let snapshot = self.read_sensors();
        let mut printer = Printer { console, rng: &mut self.sensors };
        printer.print_identity(&snapshot);
        printer.print_cells(&snapshot);
        printer.print_pack(&snapshot);
        printer.print_converter(&snapshot);
        printer.print_energy(&snapshot);
        snapshot
    }

    fn read_sensors(&mut self) -> Snapshot {
        let amps = self.amps();
        let Conditions { has_errors, breaker_is_open, is_frozen, cell_is_low, .. } =
            self.conditions;
        // Indices, since measuring borrows the whole battery.
        let cell_mv: [i64; CELLS] = std::array::from_fn(|i| {
            let low = if cell_is_low && i == LOW_CELL { LOW_CELL_MILLIVOLTS } else { 0.0 };
            let volts = self.cells[i].volts(amps);
            self.measure(volts * 1000.0 - low, 0.5).round() as i64
        });
        let celsius: [f64; CELLS] = match is_frozen {
            true => [FROST_CELSIUS; CELLS],
            false => std::array::from_fn(|i| self.cells[i].celsius()),
        };
        let sum: i64 = cell_mv.iter().sum();
        let pack_mv = sum as f64 + self.line_drop() * 1000.0;
        let energy = self.energy_to_print();
        let current = self.measure(amps, 0.03);
        let adc_mv = self.measure(pack_mv * 0.9996, 6.0);
        Snapshot {
            time: self.time(),
            mcu_id: self.profile().mcu_id,
            n_units: self.profile().n_units,
            unit_rank: self.profile().unit_rank,
            cell_count: CELLS as i16,
            cell_v: cell_mv.map(|mv| Millivolts(decimal(mv as f64, 0))),
            cell_t: celsius.map(|t| self.measure(t, 0.1).round() as i16),
            v_pack: millivolts(pack_mv, 0),
            i_pack: decimal(current, 2),
            temp: (celsius.iter().sum::<f64>() / CELLS as f64).round() as i16,
            v_cell_min: Millivolts(decimal(cell_mv.iter().min().map_or(0.0, |&mv| mv as f64), 0)),
            v_cell_max: Millivolts(decimal(cell_mv.iter().max().map_or(0.0, |&mv| mv as f64), 0)),
            soc: (self.fill() * 100.0).round() as i16,
            health: decimal(self.health(), 2),
            errors: if has_errors { texts::ERRORS } else { texts::NO_ERRORS },
            system_state: texts::NORMAL,
            breaker: if breaker_is_open { texts::OPEN } else { texts::CLOSED },
            charge_state: self.charge_state().0,
            energy_in: energy.map(|(charged, _)| decimal(charged, 1)),
            energy_out: energy.map(|(_, discharged)| decimal(discharged, 1)),
            adc_vp: millivolts(adc_mv, 0),
            adc: self.read_converter(pack_mv, amps, celsius[0]),
            bad_crc: self.happens(BAD_CRC),
            parse_fail: self.happens(PARSE_FAIL),
            bad_vcell: self.happens(REJECT),
        }
    }

    /// The channels, as this battery has them: pack voltage behind a divider, current, board
    /// temperature, half the supply, a reference.
    fn read_converter(
        &mut self,
        pack_mv: f64,
        amps: f64,
        celsius: f64,
    ) -> [AdcReading; ADC_CHANNELS] {
        [pack_mv / 20.0, 1650.0 + 10.0 * amps, 500.0 + 10.0 * (celsius + 4.0), 1648.0, 2500.0].map(
            |mv| {
                let raw = (self.measure(mv, 0.6) * ADC_FULL_SCALE / ADC_REFERENCE).round();
                let raw = raw.clamp(0.0, ADC_FULL_SCALE);
                let voltage = millivolts(raw * ADC_REFERENCE / ADC_FULL_SCALE, 1);
                AdcReading { raw: raw as i32, voltage }
            },
        )
    }

    fn energy_to_print(&mut self) -> Option<(f64, f64)> {
        if self.energy_printed.is_some_and(|printed| self.time() - printed < ENERGY_EVERY) {
            return None;
        }
        self.energy_printed = Some(self.time());
        Some(self.energy())
    }

    fn happens(&mut self, chance: f64) -> i16 {
        i16::from(self.sensors.f64() < chance)
    }
}

/// Prints lines, and noise between them.
struct Printer<'a> {
    console: &'a mut String,
    rng: &'a mut Rng,
}

impl Printer<'_> {
    fn print_identity(&mut self, snapshot: &Snapshot) {
        self.noise();
        self.line(Line::McuId(snapshot.mcu_id));
        self.line_and(Line::UnitCount(snapshot.n_units), texts::UNIT_COUNT_TAIL);
        self.line(Line::UnitRank(snapshot.unit_rank));
        self.line(Line::CellCount(snapshot.cell_count));
        self.noise();
    }

    fn print_cells(&mut self, snapshot: &Snapshot) {
        let mut bus_errors = [
            (snapshot.bad_crc, Line::BadCrc, texts::BAD_CRC_TAIL),
            (snapshot.parse_fail, Line::CellFrameUnparsable, texts::PARSE_FAIL_TAIL),
            (snapshot.bad_vcell, Line::CellReadingRejected, texts::REJECT_TAIL),
        ]
        .map(|(times, line, tail)| (times, self.rng.usize(0..CELLS), line, tail));
        for cell in (1..=CELLS as u8).filter_map(CellNumber::new) {
            let index = cell.index();
            let (temperature, voltage) = (snapshot.cell_t[index], snapshot.cell_v[index]);
            self.line(Line::Cell { cell, temperature, voltage });
            for (times, at, line, tail) in &mut bus_errors {
                while *times > 0 && *at == index {
                    self.line_and(*line, tail);
                    *times -= 1;
                }
            }
            if index % 8 == 7 {
                self.noise();
            }
        }
    }

    fn print_pack(&mut self, snapshot: &Snapshot) {
        self.line(Line::PackVoltage(snapshot.v_pack));
        self.line(Line::PackCurrent(snapshot.i_pack));
        self.line(Line::PackTemperature(snapshot.temp));
        self.line(Line::CellVoltageMax(snapshot.v_cell_max));
        self.line(Line::CellVoltageMin(snapshot.v_cell_min));
        self.line(Line::StateOfCharge(snapshot.soc));
        self.line(Line::StateOfHealth(snapshot.health));
        self.noise();
        self.line(Line::Errors(snapshot.errors));
        self.line(Line::SystemState(snapshot.system_state));
        self.line(Line::Breaker(snapshot.breaker));
        let tail = [texts::IDLE, texts::CHARGE, texts::TAPER, texts::DISCHARGE]
            .into_iter()
            .find_map(|(word, tail)| (word == snapshot.charge_state).then_some(tail));
        self.line_and(Line::ChargeState(snapshot.charge_state), tail.unwrap_or_default());
    }

    fn print_converter(&mut self, snapshot: &Snapshot) {
        self.line(Line::AdcPackVoltage(snapshot.adc_vp));
        for channel in (0..ADC_CHANNELS as u8).filter_map(AdcChannel::new) {
            let AdcReading { raw, voltage } = snapshot.adc[channel.index()];
            self.line(Line::Adc { channel, raw, voltage });
        }
        self.noise();
        if self.rng.bool() {
            self.noise();
        }
    }

    fn print_energy(&mut self, snapshot: &Snapshot) {
        if let (Some(charged), Some(discharged)) = (snapshot.energy_in, snapshot.energy_out) {
            self.line(Line::EnergyAnnounced);
            self.line(Line::EnergyWritten(discharged));
            self.line(Line::EnergyWritten(charged));
        }
    }

    fn line(&mut self, line: Line<'_>) {
        self.line_and(line, "");
    }

    /// Prints `line` and the text behind its value; each `#` in that becomes a digit.
    fn line_and(&mut self, line: Line<'_>, tail: &str) {
        // Writing to a String can't fail.
        _ = write!(self.console, "{line}");
        for c in tail.chars() {
            self.console.push(if c == '#' { self.rng.digit(10) } else { c });
        }
        self.console.push_str("\r\n");
    }

    fn noise(&mut self) {
        let text = texts::NOISE[self.rng.usize(0..texts::NOISE.len())];
        self.line_and(Line::Other(""), text);
    }
}

fn millivolts(mv: f64, scale: u8) -> Millivolts {
    Millivolts(decimal(mv, scale))
}

/// `value` rounded to `scale` decimal places. What the model makes always fits; 0 for the rest.
fn decimal(value: f64, scale: u8) -> Decimal {
    const ZERO: Decimal = match Decimal::new(0, 0) {
        Some(zero) => zero,
        None => unreachable!(),
    };
    let digits = (value * 10_f64.powi(i32::from(scale))).round() as i64;
    Decimal::new(digits, scale).unwrap_or(ZERO)
}
