//! Which prefix a line may have, found in the same way for every line. A tree of comparisons would
//! take another path for each kind of noise, and nobody can foresee which noise comes next: that is
//! what mispredicted branches came from. Here all noise takes one path.

use crate::line::prefix;

/// What a line is if its whole prefix is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    McuId,
    UnitCount,
    UnitRank,
    CellCount,
    PackVoltage,
    PackCurrent,
    PackTemperature,
    CellVoltageMax,
    CellVoltageMin,
    StateOfCharge,
    StateOfHealth,
    Errors,
    SystemState,
    Breaker,
    ChargeState,
    AdcPackVoltage,
    Adc,
    BadCrc,
    CellFrameUnparsable,
    CellReadingRejected,
    EnergyAnnounced,
    EnergyWritten,
    /// No prefix fits: a cell, or noise.
    CellOrOther,
}

impl Kind {
    /// Looks at the first byte, which tells where to look for the key, and at that.
    #[inline(always)]
    pub(crate) fn of(line: &[u8]) -> Self {
        let Some(&first) = line.first() else { return Self::CellOrOther };
        let place = usize::from(TABLE.places[usize::from(first) % PLACES]);
        let Some(&[a, b, c, d]) = line.get(place..place + 4) else { return Self::CellOrOther };
        let key = u32::from_le_bytes([a, b, c, d]);
        let slot = &TABLE.slots[slot_of(key)];
        if slot.key == key { slot.kind } else { Self::CellOrOther }
    }
}

/// All lines but those of a cell, which have digits where others have their names.
const PREFIXES: [(&str, Kind); 22] = [
    (prefix::MCU_ID, Kind::McuId),
    (prefix::UNIT_COUNT, Kind::UnitCount),
    (prefix::UNIT_RANK, Kind::UnitRank),
    (prefix::CELL_COUNT, Kind::CellCount),
    (prefix::PACK_VOLTAGE, Kind::PackVoltage),
    (prefix::PACK_CURRENT, Kind::PackCurrent),
    (prefix::PACK_TEMPERATURE, Kind::PackTemperature),
    (prefix::CELL_VOLTAGE_MAX, Kind::CellVoltageMax),
    (prefix::CELL_VOLTAGE_MIN, Kind::CellVoltageMin),
    (prefix::STATE_OF_CHARGE, Kind::StateOfCharge),
    (prefix::STATE_OF_HEALTH, Kind::StateOfHealth),
    (prefix::ERRORS, Kind::Errors),
    (prefix::SYSTEM_STATE, Kind::SystemState),
    (prefix::BREAKER, Kind::Breaker),
    (prefix::CHARGE_STATE, Kind::ChargeState),
    (prefix::ADC_PACK_VOLTAGE, Kind::AdcPackVoltage),
    (prefix::ADC, Kind::Adc),
    (prefix::BAD_CRC, Kind::BadCrc),
    (prefix::CELL_FRAME_UNPARSABLE, Kind::CellFrameUnparsable),
    (prefix::CELL_READING_REJECTED, Kind::CellReadingRejected),
    (prefix::ENERGY_ANNOUNCED, Kind::EnergyAnnounced),
    (prefix::ENERGY_WRITTEN, Kind::EnergyWritten),
];

static TABLE: Table = Table::new();

struct Table {
    /// By the first byte: where the key stands, four bytes in which all prefixes differ that begin
    /// with that byte, and in which they differ from what noise has in common with them.
    places: [u8; PLACES],
    /// By the key.
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy)]
struct Slot {
    key: u32,
    kind: Kind,
}

const PLACES: usize = 32;
const SLOTS: usize = 32;

/// Gives each key a slot of its own. It was found by trying some 20,000 random numbers; when a
/// prefix is added, another one has to be found.
const FACTOR: u32 = 0x923F_50BF;

impl Table {
    /// Doesn't compile where two prefixes come to the same slot, or one is too short.
    const fn new() -> Self {
        let mut places = [0; PLACES];
        places[b'-' as usize % PLACES] = 4;
        places[b'D' as usize % PLACES] = "DEBUG: ".len() as u8;
        places[b'I' as usize % PLACES] = "INFO: BA".len() as u8;
        places[b'V' as usize % PLACES] = 1;

        let mut slots = [Slot { key: 0, kind: Kind::CellOrOther }; SLOTS];
        let mut n = 0;
        while n < PREFIXES.len() {
            let (prefix, kind) = PREFIXES[n];
            let bytes = prefix.as_bytes();
            let at = places[bytes[0] as usize % PLACES] as usize;
            let key = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            assert!(slots[slot_of(key)].key == 0, "another prefix has this slot");
            slots[slot_of(key)] = Slot { key, kind };
            n += 1;
        }
        Self { places, slots }
    }
}

/// The upper bits of the product, since all bits of the key have their part in these.
#[inline(always)]
const fn slot_of(key: u32) -> usize {
    (key.wrapping_mul(FACTOR) >> (u32::BITS - SLOTS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    #[test]
    fn a_line_is_of_the_kind_of_its_prefix() {
        for (prefix, kind) in PREFIXES {
            assert_eq!(Kind::of(prefix.as_bytes()), kind, "{prefix:?}");
            assert_eq!(Kind::of(format!("{prefix}7").as_bytes()), kind, "{prefix:?}");
            assert_eq!(Kind::of(&prefix.as_bytes()[..3]), Kind::CellOrOther, "{prefix:?}");
        }
    }

    #[test]
    fn noise_and_cells_are_of_none() {
        for line in [
            "",
            "D",
            "C07) T: 21, V: 3311",
            "DEBUG: CAN tx 0x351 len 8 ok",
            "DEBUG: watchdog fed",
            "INFO: heap 20480 free",
            "INFO: B",
            "--- CELLS ---",
            "Vc_avg: 3300",
            "\0\0\0\0",
        ] {
            assert_eq!(Kind::of(line.as_bytes()), Kind::CellOrOther, "{line:?}");
        }
    }
}
