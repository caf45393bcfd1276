use bluenova_record::{PackRecord, Text};
use time::UtcDateTime;

use crate::{Salvage, value::Fault};

/// The record of the interval under way, and what this connection keeps beyond it.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Its time and owner are set when it is complete.
    pub(crate) record: PackRecord,
    /// Whether a known line came in this interval.
    pub(crate) has_lines: bool,
    pub(crate) owner: Option<u32>,
    /// Another MCU ID, seen last.
    other_id: Option<u32>,
    /// The MCU ID of the connection before.
    id_before: Option<u32>,
    energy_out: Option<f32>,
    energy_in: Option<f32>,
    next_energy: NextEnergy,
}

/// Which energy the next line of one means.
#[derive(Clone, Copy, Debug)]
enum NextEnergy {
    Unannounced,
    Out,
    In,
}

impl Draft {
    const EMPTY: PackRecord = PackRecord::new(UtcDateTime::UNIX_EPOCH, 0);

    pub(crate) const NEW: Self = Self {
        record: Self::EMPTY,
        has_lines: false,
        owner: None,
        other_id: None,
        id_before: None,
        energy_out: None,
        energy_in: None,
        next_energy: NextEnergy::Unannounced,
    };

    /// That of the next connection to the same address.
    pub(crate) fn of_next_connection(&self) -> Self {
        Self { id_before: self.owner.or(self.id_before), ..Self::NEW }
    }

    /// The record of the interval, if a known line came in it.
    pub(crate) fn take_record(&mut self) -> Option<PackRecord> {
        let mut record = core::mem::replace(&mut self.record, Self::EMPTY);
        record.energy_out = record.energy_out.or(self.energy_out);
        record.energy_in = record.energy_in.or(self.energy_in);
        core::mem::take(&mut self.has_lines).then_some(record)
    }

    /// Takes what is left of a malformed line.
    #[cold]
    pub(crate) fn salvage(&mut self, fault: &Fault) {
        self.has_lines = true;
        match fault.salvage {
            Some(Salvage::CellTemperature { cell, temperature }) => {
                self.record.cell_t[cell.index()] = Some(temperature);
            }
            Some(Salvage::CellVoltage { cell, voltage }) => {
                self.record.cell_v[cell.index()] = Some(voltage.volts());
            }
            None => {}
        }
    }

    /// The ID cannot change within a connection, so that another one is a garbled one. But it may
    /// have been the first one that was garbled: of two that differ the one counts that comes twice
    /// running, or that the connection before had.
    ///
    /// The first one counts at once, all the same. To wait until it comes again would cost a row of
    /// a short interval, and all rows of a firmware that prints it once.
    pub(crate) fn identify(&mut self, id: u32) {
        let is_known = self.owner.is_none_or(|owner| owner == id) || self.id_before == Some(id);
        if is_known || self.other_id == Some(id) {
            self.owner = Some(id);
            self.other_id = None;
        } else {
            self.other_id = Some(id);
        }
    }

    pub(crate) fn announce_energy(&mut self) {
        self.next_energy = NextEnergy::Out;
    }

    /// `None` is a malformed line: it is the one that was due all the same.
    pub(crate) fn energy_written(&mut self, energy: Option<f32>) {
        let (kept, field, next) = match self.next_energy {
            NextEnergy::Unannounced => return,
            NextEnergy::Out => (&mut self.energy_out, &mut self.record.energy_out, NextEnergy::In),
            NextEnergy::In => {
                (&mut self.energy_in, &mut self.record.energy_in, NextEnergy::Unannounced)
            }
        };
        *kept = energy.or(*kept);
        *field = energy.or(*field);
        self.next_energy = next;
    }
}

/// Counts up; a count that the column can't hold stays at the largest that it can.
pub(crate) fn count(field: &mut i16) {
    *field = field.saturating_add(1);
}

/// Sets a text field; a battery repeats the same words many times in an interval.
#[inline(always)]
pub(crate) fn set_text<const CHARS: usize>(field: &mut Option<Text<CHARS>>, text: &str) {
    #[cold]
    #[inline(never)]
    fn put<const CHARS: usize>(field: &mut Option<Text<CHARS>>, text: &str) {
        *field = Some(Text::new(text));
    }

    if field.as_ref().is_none_or(|latest| latest.as_str() != text) {
        put(field, text);
    }
}
