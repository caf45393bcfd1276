//! parse(print(line)) == line.

use bluenova_console::{AdcChannel, CellNumber, Decimal, Line, Millivolts, parse};
use proptest::prelude::*;

fn decimal() -> impl Strategy<Value = Decimal> {
    (-999_999_999_999_999_999_i64..=999_999_999_999_999_999, 0_u32..18, 0_u8..=18)
        .prop_map(|(digits, cut, scale)| Decimal::new(digits / 10_i64.pow(cut), scale).unwrap())
}

fn millivolts() -> impl Strategy<Value = Millivolts> {
    decimal().prop_map(Millivolts)
}

/// A line with numbers of every size.
fn numeric_line() -> impl Strategy<Value = Line<'static>> {
    let cell = (1_u8..=16, any::<i16>(), millivolts()).prop_map(|(n, temperature, voltage)| {
        Line::Cell { cell: CellNumber::new(n).unwrap(), temperature, voltage }
    });
    let adc = (0_u8..5, any::<i32>(), millivolts()).prop_map(|(n, raw, voltage)| Line::Adc {
        channel: AdcChannel::new(n).unwrap(),
        raw,
        voltage,
    });
    prop_oneof![
        (0..u32::MAX).prop_map(Line::McuId),
        any::<i16>().prop_map(Line::UnitCount),
        any::<i16>().prop_map(Line::UnitRank),
        any::<i16>().prop_map(Line::CellCount),
        any::<i16>().prop_map(Line::PackTemperature),
        any::<i16>().prop_map(Line::StateOfCharge),
        millivolts().prop_map(Line::PackVoltage),
        millivolts().prop_map(Line::CellVoltageMax),
        millivolts().prop_map(Line::CellVoltageMin),
        millivolts().prop_map(Line::AdcPackVoltage),
        decimal().prop_map(Line::PackCurrent),
        decimal().prop_map(Line::StateOfHealth),
        decimal().prop_map(Line::EnergyWritten),
        Just(Line::BadCrc),
        Just(Line::CellFrameUnparsable),
        Just(Line::CellReadingRejected),
        Just(Line::EnergyAnnounced),
        cell,
        adc,
    ]
}

fn comes_back(line: Line<'_>) -> Result<(), TestCaseError> {
    let printed = line.to_string();
    prop_assert_eq!(parse(&printed), Ok(line), "{:?}", printed);
    Ok(())
}

proptest! {
    #[test]
    fn of_lines_with_numbers(line in numeric_line()) {
        comes_back(line)?;
    }

    #[test]
    fn of_lines_with_text(text in "[^\\s\"\\pC]([^\"\\r\\n\\x1b]{0,40}[^\\s\"\\pC])?") {
        for line in [Line::Errors(&text), Line::SystemState(&text), Line::Breaker(&text)] {
            comes_back(line)?;
        }
        let word = text.split_whitespace().next().unwrap();
        let line = Line::ChargeState(word.trim_end_matches(char::is_control));
        comes_back(line)?;
    }

    /// Whatever parses, from pieces of the protocol in any order, prints and parses to the same.
    #[test]
    fn of_anything(pieces in prop::collection::vec(prop_oneof![
        prop::sample::select(vec!["MCU ID: ", "C0", "7) T: ", ", V: ", "DEBUG: ADC[", "]: ", " = ",
            "Errors: ", "\"", "System_State: ", "Charge State: ", "Current: ", "SOC: ", "Vpack: ",
            "-", ".", "3", "0x", " ", "\t", "\u{FFFD}", "\0", "\u{1b}[0m", "\u{1b}", "e",
            "Write EnergyOut: ",
        ]).prop_map(String::from),
        "[0-9]{1,20}",
        "\\PC{0,5}",
    ], 0..8)) {
        let text = pieces.concat();
        if let Ok(line) = parse(&text) {
            comes_back(line)?;
        }
    }
}
