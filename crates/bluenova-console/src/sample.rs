use bluenova_record::{PackRecord, Text};
use time::UtcDateTime;

use crate::{Line, draft::count};

/// Turns the lines of one battery into a sample per cycle of its console, about one a second: the
/// values that were printed together, and so were measured at nearly the same time.
///
/// Which lines a cycle has, and in which order, is not documented. A cycle begins where the MCU ID
/// is printed. Where that doesn't come in each cycle, it begins at a [`pause`](Self::pause), or
/// where the cells begin anew. Values of two cycles are never in one sample: what comes before the
/// first beginning is left out, and so is a cycle whose beginning was lost.
///
/// ```
/// use bluenova_console::{Assembler, Interval, Sampler};
/// use time::UtcDateTime;
///
/// let now = UtcDateTime::UNIX_EPOCH;
/// let mut assembler = Assembler::new(Interval::from_seconds(10).unwrap());
/// let mut sampler = Sampler::new();
/// let mut samples = vec![];
/// let mcu_id = "MCU ID: 9F3C07B2";
/// for line in ["SOC: 63", mcu_id, "Vpack: 53017", "Current: 12.5", mcu_id] {
///     let line = assembler.feed(line).unwrap();
///     samples.extend(sampler.take(&line, assembler.owner(), now));
/// }
/// let [sample] = &samples[..] else { panic!("{samples:?}") };
/// assert_eq!((sample.soc, sample.v_pack, sample.i_pack), (None, Some(53.017), Some(12.5)));
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    /// The cycle under way. Its time is that of its last value.
    record: PackRecord,
    has_values: bool,
    /// Its beginning wasn't seen, so that it may have values of two cycles.
    is_partial: bool,
    /// The cell that came last in it.
    last_cell: Option<usize>,
    /// Whether the MCU ID comes once in each cycle.
    is_marked_by_id: bool,
    /// Whether the cells have begun anew since the last MCU ID.
    is_id_overdue: bool,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    const EMPTY: PackRecord = PackRecord::new(UtcDateTime::UNIX_EPOCH, 0);

    /// A sampler for one connection to a battery.
    pub const fn new() -> Self {
        Self {
            record: Self::EMPTY,
            has_values: false,
            is_partial: true,
            last_cell: None,
            is_marked_by_id: true,
            is_id_overdue: false,
        }
    }

    /// Takes a line that came at `time`, and returns the sample that ends before it. `owner` is the
    /// battery's MCU ID; as long as it isn't known there are no samples.
    ///
    /// The firmware's own energies are not in it: they come once a minute or so.
    pub fn take(
        &mut self,
        line: &Line<'_>,
        owner: Option<u32>,
        time: UtcDateTime,
    ) -> Option<PackRecord> {
        let ended = match *line {
            Line::McuId(_) => {
                self.is_marked_by_id = !core::mem::take(&mut self.is_id_overdue);
                return self.end(owner);
            }
            Line::Cell { cell, .. } => self.cell_comes(cell.index(), owner),
            Line::PackCurrent(_) if self.is_unmarked_and_without_cells() => self.end(owner),
            _ => None,
        };
        if self.put(line) {
            self.record.insert_time_utc = time;
            self.has_values = true;
        }
        ended
    }

    /// No line has come for a tenth of a second or longer. Returns the sample that has ended.
    pub fn pause(&mut self, owner: Option<u32>) -> Option<PackRecord> {
        if self.is_marked_by_id || !self.has_values { None } else { self.end(owner) }
    }

    /// The cells begin anew: with the next cycle, or since the MCU ID between two was lost.
    fn cell_comes(&mut self, cell: usize, owner: Option<u32>) -> Option<PackRecord> {
        let begins_anew = match self.is_marked_by_id {
            true => self.record.cell_v[cell].is_some(),
            false => self.last_cell.is_some_and(|last| cell <= last),
        };
        let mut ended = None;
        if begins_anew {
            self.is_id_overdue = true;
            // What has come since the MCU ID that was lost can't be told apart any more.
            let is_mixed = core::mem::take(&mut self.is_marked_by_id);
            self.is_partial |= is_mixed;
            ended = self.end(owner);
            self.is_partial = is_mixed;
        }
        self.last_cell = Some(cell);
        ended
    }

    fn is_unmarked_and_without_cells(&self) -> bool {
        !self.is_marked_by_id && self.last_cell.is_none() && self.record.i_pack.is_some()
    }

    /// Ends the cycle under way; the next one begins.
    fn end(&mut self, owner: Option<u32>) -> Option<PackRecord> {
        let record = core::mem::replace(&mut self.record, Self::EMPTY);
        let has_values = core::mem::take(&mut self.has_values);
        let is_partial = core::mem::take(&mut self.is_partial);
        self.last_cell = None;
        let mcu_id = owner.filter(|_| has_values && !is_partial)?;
        Some(PackRecord { mcu_id, ..record })
    }

    /// Puts the values of a line into the record; returns whether it has some.
    fn put(&mut self, line: &Line<'_>) -> bool {
        let record = &mut self.record;
        match *line {
            Line::UnitCount(units) => record.n_units = Some(units),
            Line::UnitRank(rank) => record.unit_rank = Some(rank),
            Line::CellCount(cells) => record.cell_count = Some(cells),
            Line::Cell { cell, temperature, voltage } => {
                record.cell_t[cell.index()] = Some(temperature);
                record.cell_v[cell.index()] = Some(voltage.volts());
            }
            Line::PackVoltage(voltage) => record.v_pack = Some(voltage.volts()),
            Line::PackCurrent(current) => record.i_pack = Some(current.to_f32()),
            Line::PackTemperature(temperature) => record.temp = Some(temperature),
            Line::CellVoltageMax(voltage) => record.v_cell_max = Some(voltage.volts()),
            Line::CellVoltageMin(voltage) => record.v_cell_min = Some(voltage.volts()),
            Line::StateOfCharge(percent) => record.soc = Some(percent),
            Line::StateOfHealth(percent) => record.health = Some(percent.to_f32()),
            Line::Errors(text) => record.errors = Some(Text::new(text)),
            Line::SystemState(text) => record.system_state = Some(Text::new(text)),
            Line::Breaker(text) => record.breaker = Some(Text::new(text)),
            Line::ChargeState(word) => record.charge_state = Some(Text::new(word)),
            Line::AdcPackVoltage(voltage) => record.adc_vp = Some(voltage.volts()),
            Line::Adc { channel, voltage, .. } => {
                record.adc[channel.index()] = Some(voltage.volts());
            }
            Line::BadCrc => count(&mut record.bad_crc),
            Line::CellFrameUnparsable => count(&mut record.parse_fail),
            Line::CellReadingRejected => count(&mut record.bad_vcell),
            Line::McuId(_) | Line::EnergyAnnounced | Line::EnergyWritten(_) | Line::Other(_) => {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;

    use alloc::{format, string::String, vec::Vec};

    use time::Duration;

    use super::*;
    use crate::parse;

    /// The samples of a console that is written shortly: `ID`, `C2:1` and `I:1` are lines of the
    /// MCU ID, of a cell and of the current, the values of cycle 1; `~` is a pause. A sample is
    /// written in the same way.
    fn samples(console: &str) -> Vec<String> {
        let mut sampler = Sampler::new();
        let owner = Some(7);
        let mut now = UtcDateTime::UNIX_EPOCH;
        let mut samples = Vec::new();
        for word in console.split_whitespace() {
            now += Duration::SECOND;
            let (kind, cycle) = word.split_once(':').unwrap_or((word, "0"));
            let line = match kind {
                "~" => {
                    samples.extend(sampler.pause(owner));
                    continue;
                }
                "ID" => String::from("MCU ID: 7"),
                "I" => format!("Current: {cycle}"),
                "noise" => String::from("balancing"),
                cell => format!("{}) T: 1, V: {cycle}000", cell.replace('C', "C0")),
            };
            samples.extend(sampler.take(&parse(&line).unwrap(), owner, now));
        }
        samples.iter().map(short).collect()
    }

    fn short(sample: &PackRecord) -> String {
        let cells = sample.cell_v.iter().enumerate();
        let mut words: Vec<_> =
            cells.filter_map(|(i, volts)| Some(format!("C{}:{}", i + 1, (*volts)?))).collect();
        words.extend(sample.i_pack.map(|amps| format!("I:{amps}")));
        words.join(" ")
    }

    #[test]
    fn a_sample_has_the_values_of_one_cycle() {
        for (console, expected) in [
            ("", &[][..]),
            ("ID", &[]),
            // The MCU ID begins a cycle, whatever order the lines have.
            ("ID C1:1 C2:1 I:1 ID C1:2 C2:2 I:2 ID", &["C1:1 C2:1 I:1", "C1:2 C2:2 I:2"]),
            ("ID I:1 C2:1 C1:1 ID I:2 C2:2 C1:2 ID", &["C1:1 C2:1 I:1", "C1:2 C2:2 I:2"]),
            // A start in the middle.
            ("C2:1 I:1 ID C1:2 C2:2 I:2 ID", &["C1:2 C2:2 I:2"]),
            // A value that comes twice in a cycle, a pause in it, one that is missing, noise.
            ("ID C1:1 I:1 C2:1 I:1 ID", &["C1:1 C2:1 I:1"]),
            ("ID C1:1 ~ C2:1 I:1 ID", &["C1:1 C2:1 I:1"]),
            ("ID C1:1 noise C2:1 noise ID ID C1:2 ID", &["C1:1 C2:1", "C1:2"]),
            // The second MCU ID was lost: the two cycles can't be told apart.
            ("ID I:1 C1:1 C2:1 I:2 C1:2 C2:2 ID I:3 C1:3 ID", &["C1:3 I:3"]),
            ("ID C1:1 I:1 C1:2 I:2 ID C1:3 I:3 C1:4 ID C1:5 ID", &["C1:3 I:3", "C1:4", "C1:5"]),
        ] {
            assert_eq!(samples(console), expected, "{console}");
        }
    }

    #[test]
    fn without_the_mcu_id_a_cycle_begins_with_the_cells_or_after_a_pause() {
        for (console, expected) in [
            // It takes two cycles to see that no MCU ID comes.
            (
                "C2:1 I:1 C1:2 C2:2 I:2 C1:3 C2:3 I:3 C1:4 C2:4 I:4 C1:5",
                &["C1:3 C2:3 I:3", "C1:4 C2:4 I:4"][..],
            ),
            // One every few cycles.
            (
                "ID C1:1 I:1 C1:2 I:2 C1:3 I:3 ID C1:4 I:4 C1:5 I:5 C1:6",
                &["C1:3 I:3", "C1:4 I:4", "C1:5 I:5"],
            ),
            // Twice the current in a cycle.
            ("C1:1 I:1 I:1 C1:2 I:2 I:2 C1:3 I:3 I:3 C1:4", &["C1:3 I:3"]),
            // The pauses say what belongs together.
            ("I:1 C1:1 ~ I:2 C1:2 ~ I:3 C1:3 ~ I:4 C1:4 ~ ~ I:5 C1:5", &["C1:3 I:3", "C1:4 I:4"]),
        ] {
            assert_eq!(samples(console), expected, "{console}");
        }
    }

    #[test]
    fn a_sample_has_the_time_of_its_last_value_and_the_owner() {
        let (mut sampler, start) = (Sampler::new(), UtcDateTime::UNIX_EPOCH);
        let mut take = |line, owner, second| {
            let time = start + Duration::seconds(second);
            sampler.take(&parse(line).unwrap(), owner, time)
        };
        assert_eq!(take("MCU ID: 7", Some(7), 1), None);
        assert_eq!(take("SOC: 63", Some(7), 2), None);
        assert_eq!(take("balancing", Some(7), 3), None);
        let sample = take("MCU ID: 8", Some(7), 4).unwrap();
        assert_eq!((sample.insert_time_utc, sample.mcu_id), (start + Duration::seconds(2), 7));
        assert_eq!(sample.soc, Some(63));
        assert_eq!(take("SOC: 63", None, 5), None);
        assert_eq!(take("MCU ID: 8", None, 6), None, "nobody's");
    }
}
