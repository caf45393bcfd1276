//! The public API, by its signatures: a change that breaks users doesn't compile here. Change this
//! file only along with the version and the changelog.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use bluenova_console::{
    AdcChannel, Assembler, CellNumber, Decimal, ErrorKind, Interval, Line, LineSplitter,
    Millivolts, NoOwner, ParseError, Salvage, parse,
};
use bluenova_record::PackRecord;
use time::UtcDateTime;

/// What a small value can do.
fn value<T: Clone + Copy + Debug + PartialEq + Send + Sync + 'static>() {}

#[test]
fn functions_and_methods() {
    let _: for<'a> fn(&'a str) -> Result<Line<'a>, ParseError> = parse;

    let _: fn(Interval) -> Assembler = Assembler::new;
    let _: fn(&Assembler) -> Option<u32> = Assembler::owner;
    let _: fn(&mut Assembler, UtcDateTime) -> Option<Result<PackRecord, NoOwner>> = Assembler::tick;
    let _: fn(&mut Assembler, UtcDateTime) -> Option<Result<PackRecord, NoOwner>> =
        Assembler::finish;
    let _: for<'a> fn(&mut Assembler, &'a str) -> Result<Line<'a>, ParseError> = Assembler::feed;
    let _: fn(&mut Assembler) = Assembler::disconnected;

    let _: fn(u32) -> Option<Interval> = Interval::from_seconds;
    let _: fn(Interval) -> u32 = Interval::seconds;

    let _: fn() -> LineSplitter<256> = LineSplitter::new;
    let _: fn(&mut LineSplitter<256>) -> Option<&str> = LineSplitter::rest;
    let mut piece = &b"SOC: 63\n"[..];
    let _: Option<&str> = LineSplitter::<256>::default().next_line(&mut piece);

    let _: fn(ParseError) -> (&'static str, usize) = |error| (error.prefix(), error.offset());
    let _: fn(ParseError) -> (ErrorKind, Option<Salvage>) = |error| (error.kind(), error.salvage());

    let _: fn(i64, u8) -> Option<Decimal> = Decimal::new;
    let _: fn(Decimal) -> f32 = Decimal::to_f32;
    let _: fn(Millivolts) -> (Decimal, f32) = |voltage| (voltage.0, voltage.volts());
    let _: fn(u8) -> Option<CellNumber> = CellNumber::new;
    let _: fn(CellNumber) -> (u8, usize) = |cell| (cell.get(), cell.index());
    let _: fn(u8) -> Option<AdcChannel> = AdcChannel::new;
    let _: fn(AdcChannel) -> (u8, usize) = |channel| (channel.get(), channel.index());
}

/// Doesn't compile where a variant or a field is missing or of another type. A new one breaks
/// nobody: the enum is `#[non_exhaustive]`.
#[test]
fn kinds_of_lines() {
    let cell = CellNumber::new(7).unwrap();
    let channel = AdcChannel::new(2).unwrap();
    let number = Decimal::new(8125, 1).unwrap();
    let voltage = Millivolts(number);
    let lines = [
        (Line::McuId(1_u32), "MCU ID: 00000001"),
        (Line::UnitCount(3_i16), "--- PO PARAMS --- (i=3"),
        (Line::UnitRank(2_i16), "after assignRank() --> own rank = 2"),
        (Line::CellCount(16_i16), "CellCount: 16"),
        (Line::Cell { cell, temperature: 21_i16, voltage }, "C07) T: 21, V: 812.5"),
        (Line::PackVoltage(voltage), "Vpack: 812.5"),
        (Line::PackCurrent(number), "Current: 812.5"),
        (Line::PackTemperature(24_i16), "Temp: 24"),
        (Line::CellVoltageMax(voltage), "Vc_max: 812.5"),
        (Line::CellVoltageMin(voltage), "Vc_min: 812.5"),
        (Line::StateOfCharge(63_i16), "SOC: 63"),
        (Line::StateOfHealth(number), "SOH: 812.5"),
        (Line::Errors("NONE"), "Errors: \"NONE\""),
        (Line::SystemState("NORMAL"), "System_State: NORMAL"),
        (Line::Breaker("CLOSED"), "Breaker: CLOSED"),
        (Line::ChargeState("IDLE"), "Charge State: IDLE"),
        (Line::AdcPackVoltage(voltage), "Vp_adc: 812.5"),
        (Line::Adc { channel, raw: 2002_i32, voltage }, "DEBUG: ADC[2]: 2002 = 812.5"),
        (Line::BadCrc, "INFO: BAD CRC"),
        (Line::CellFrameUnparsable, "INFO: cellcomms parse FAIL"),
        (Line::CellReadingRejected, "DEBUG: REJECT BAD "),
        (Line::EnergyAnnounced, "DEBUG: CALC PACK_CHARGE, STORE IN FLASH"),
        (Line::EnergyWritten(number), "Write EnergyOut: 812.5"),
        (Line::Other("noise"), "noise"),
    ];
    for (line, text) in lines {
        assert_eq!(line.to_string(), text);
        assert_eq!(parse(text), Ok(line));
    }
    let [_, _] = [
        Salvage::CellTemperature { cell, temperature: 21_i16 },
        Salvage::CellVoltage { cell, voltage },
    ];
    let kinds = [
        ErrorKind::MissingValue,
        ErrorKind::NotANumber,
        ErrorKind::OutOfRange,
        ErrorKind::MissingQuote,
        ErrorKind::MissingSeparator,
    ];
    assert!(kinds.iter().all(|kind| !kind.to_string().is_empty()));
    assert_eq!((Decimal::MAX_DIGITS, Interval::MAX_SECONDS), (18, 86_400));
}

#[test]
fn traits() {
    fn prints<T: Display>() {}
    fn is_key<T: Copy + Eq + Ord + Hash>() {}
    fn is_error<T: Error + Copy + PartialEq + Send + Sync + 'static>() {}
    fn is_state<T: Clone + Debug + Send>() {}
    value::<Line<'static>>();
    value::<Salvage>();
    value::<Interval>();
    value::<Decimal>();
    value::<Millivolts>();
    prints::<Line<'_>>();
    prints::<Decimal>();
    prints::<Millivolts>();
    prints::<CellNumber>();
    prints::<AdcChannel>();
    is_key::<CellNumber>();
    is_key::<AdcChannel>();
    is_error::<ParseError>();
    is_error::<ErrorKind>();
    is_error::<NoOwner>();
    is_state::<Assembler>();
    is_state::<LineSplitter<256>>();
}
