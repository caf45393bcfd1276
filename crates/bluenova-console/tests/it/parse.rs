use bluenova_console::{
    AdcChannel, CellNumber, Decimal, ErrorKind, Line, Millivolts, Salvage, parse,
};

fn number(text: &str) -> Decimal {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction}").parse().unwrap();
    Decimal::new(digits, fraction.len().try_into().unwrap()).unwrap()
}

fn mv(text: &str) -> Millivolts {
    Millivolts(number(text))
}

fn cell(n: u8, temperature: i16, voltage: &str) -> Line<'static> {
    Line::Cell { cell: CellNumber::new(n).unwrap(), temperature, voltage: mv(voltage) }
}

fn adc(n: u8, raw: i32, voltage: &str) -> Line<'static> {
    Line::Adc { channel: AdcChannel::new(n).unwrap(), raw, voltage: mv(voltage) }
}

#[track_caller]
fn check(line: &str, expected: Line<'_>) {
    assert_eq!(parse(line), Ok(expected), "{line:?}");
}

#[track_caller]
fn check_error(line: &str, kind: ErrorKind, offset: usize) {
    let error = parse(line).expect_err(line);
    assert_eq!((error.kind(), error.offset()), (kind, offset), "{line:?}");
    assert!(line.starts_with(error.prefix()), "{line:?}: {error}");
    assert!(error.to_string().contains(error.prefix()), "{error}");
}

fn noise(line: &str) {
    check(line, Line::Other(line));
}

#[test]
fn every_kind_of_line() {
    check("MCU ID: 9F3C07B2", Line::McuId(0x9F3C_07B2));
    check("--- PO PARAMS --- (i=3", Line::UnitCount(3));
    check("--- PO PARAMS --- (i=3) rank 2", Line::UnitCount(3));
    check("after assignRank() --> own rank = 2", Line::UnitRank(2));
    check("CellCount: 16", Line::CellCount(16));
    check("C07) T: 21, V: 3311", cell(7, 21, "3311"));
    check("Vpack: 53017", Line::PackVoltage(mv("53017")));
    check("Current: -41.75", Line::PackCurrent(number("-41.75")));
    check("Temp: 24", Line::PackTemperature(24));
    check("Vc_max: 3338", Line::CellVoltageMax(mv("3338")));
    check("Vc_min: 3293", Line::CellVoltageMin(mv("3293")));
    check("SOC: 63", Line::StateOfCharge(63));
    check("SOH: 97.25", Line::StateOfHealth(number("97.25")));
    check("Errors: \"NONE\"", Line::Errors("NONE"));
    check("System_State: NORMAL", Line::SystemState("NORMAL"));
    check("Breaker: CLOSED", Line::Breaker("CLOSED"));
    check("Charge State: DISCHARGE (3)", Line::ChargeState("DISCHARGE"));
    check("Vp_adc: 52996", Line::AdcPackVoltage(mv("52996")));
    check("DEBUG: ADC[2]: 2002 = 1613.5", adc(2, 2002, "1613.5"));
    check("INFO: BAD CRC on cell 3", Line::BadCrc);
    check("INFO: cellcomms parse FAIL (12)", Line::CellFrameUnparsable);
    check("DEBUG: REJECT BAD VCELL 7", Line::CellReadingRejected);
    check("DEBUG: CALC PACK_CHARGE, STORE IN FLASH", Line::EnergyAnnounced);
    check("Write EnergyOut: 812.5", Line::EnergyWritten(number("812.5")));
    check("watchdog kicked", Line::Other("watchdog kicked"));
}

#[test]
fn numbers() {
    check("Temp: -12", Line::PackTemperature(-12));
    check("Temp: -1", Line::PackTemperature(-1));
    check("Temp: +3", Line::PackTemperature(3));
    check("SOC:   7", Line::StateOfCharge(7));
    check("SOC: 0063", Line::StateOfCharge(63));
    check("SOC: 32767", Line::StateOfCharge(32767));
    check("SOC: -32768", Line::StateOfCharge(-32768));
    check("Current: .5", Line::PackCurrent(number("0.5")));
    check("Current: -0.25", Line::PackCurrent(number("-0.25")));
    check("Vpack: 53017.25", Line::PackVoltage(mv("53017.25")));
    check("C01) T: -9, V: 3311.5", cell(1, -9, "3311.5"));
    check("MCU ID: 0x9f3c07b2", Line::McuId(0x9F3C_07B2));
    check("MCU ID: 1", Line::McuId(1));
    check("MCU ID: 0", Line::McuId(0));
    check("MCU ID: 000000009F3C07B2", Line::McuId(0x9F3C_07B2));
    check("MCU ID: FFFFFFFE", Line::McuId(u32::MAX - 1));
    check("Current: 1e-05", Line::PackCurrent(number("0.00001")));
    check("Current: -4.175e+01 A", Line::PackCurrent(number("-41.75")));
    check("Current: -0.0e9", Line::PackCurrent(number("0")));
    check("Vpack: 5.3e4", Line::PackVoltage(mv("53000")));
    check("Vpack: 5.3E-4", Line::PackVoltage(mv("0.00053")));
    check("SOH: 97.25e0", Line::StateOfHealth(number("97.25")));
    check("C01) T: 21, V: 3.3115e3", cell(1, 21, "3311.5"));
    check("DEBUG: ADC[2]: 2002 = 1.6135e3 mV", adc(2, 2002, "1613.5"));
    check("Write EnergyOut: 8e2", Line::EnergyWritten(number("800")));
    check("Vpack: 53017eV", Line::PackVoltage(mv("53017")));
}

#[test]
fn what_follows_the_value_is_ignored() {
    check("SOC: 63%", Line::StateOfCharge(63));
    check("SOC: 63 % of 100", Line::StateOfCharge(63));
    check("SOC: 63.9", Line::StateOfCharge(63));
    check("SOC: 63.", Line::StateOfCharge(63));
    check("SOC: 63/100", Line::StateOfCharge(63));
    check("SOC: 63(2)", Line::StateOfCharge(63));
    check("Vpack: 53017mV", Line::PackVoltage(mv("53017")));
    check("Current: -41.75 A (avg -40.1)", Line::PackCurrent(number("-41.75")));
    check("C16) T: 21 C, V: 3311 mV (ok)", cell(16, 21, "3311"));
    check("C16) T: 21, V: 3311, V: 9", cell(16, 21, "3311"));
    check("DEBUG: ADC[0]: 2002 (raw) = 1613.5 mV", adc(0, 2002, "1613.5"));
    check("MCU ID: 9F3C07B2 rev 4", Line::McuId(0x9F3C_07B2));
    check("Errors: \"NONE\" (0) \"\"", Line::Errors("NONE"));
    check("Errors: \"\"", Line::Errors(""));
    check("System_State:  NORMAL  ", Line::SystemState("NORMAL"));
    check("Breaker: OPEN (2 s)", Line::Breaker("OPEN (2 s)"));
}

#[test]
fn control_characters_end_a_value() {
    for behind in ["\0", "\0\0", "\u{7}", "\u{1b}", "\u{1b}[0m", "\u{1b}[31;1m\u{1b}[K\0 %"] {
        for (line, expected) in [
            ("MCU ID: 9F3C07B2", Line::McuId(0x9F3C_07B2)),
            ("--- PO PARAMS --- (i=3", Line::UnitCount(3)),
            ("after assignRank() --> own rank = 2", Line::UnitRank(2)),
            ("CellCount: 16", Line::CellCount(16)),
            ("C07) T: 21, V: 3311", cell(7, 21, "3311")),
            ("C07) T: 21, V: 3311.5", cell(7, 21, "3311.5")),
            ("Vpack: 53017", Line::PackVoltage(mv("53017"))),
            ("Current: -41.75", Line::PackCurrent(number("-41.75"))),
            ("Current: 1e-05", Line::PackCurrent(number("0.00001"))),
            ("Temp: -24", Line::PackTemperature(-24)),
            ("SOC: 63", Line::StateOfCharge(63)),
            ("SOC: 63.5", Line::StateOfCharge(63)),
            ("SOH: 97.25", Line::StateOfHealth(number("97.25"))),
            ("Errors: \"NONE\"", Line::Errors("NONE")),
            ("Charge State: DISCHARGE", Line::ChargeState("DISCHARGE")),
            ("DEBUG: ADC[2]: 2002 = 1613.5", adc(2, 2002, "1613.5")),
            ("Write EnergyOut: 812.5", Line::EnergyWritten(number("812.5"))),
        ] {
            check(&format!("{line}{behind}"), expected);
            check(&format!("{line}{behind}\r\n"), expected);
        }
    }
    check("C07) T: 21\0, V: 3311\0", cell(7, 21, "3311"));
    check("DEBUG: ADC[2]: 2002\u{1b}[0m = 1613.5", adc(2, 2002, "1613.5"));
    check("System_State: NORMAL\0", Line::SystemState("NORMAL"));
    check("System_State: NORMAL \u{1b}[0m", Line::SystemState("NORMAL"));
    check("Breaker: CLOSED\u{1b}[0m\u{85}\0", Line::Breaker("CLOSED"));
    check("Breaker: CLOSED [0m", Line::Breaker("CLOSED [0m"));
    check("Charge State: DISCHARGE\u{1b}[0m (3)", Line::ChargeState("DISCHARGE"));
    check_error("Breaker: \u{1b}[2J\u{7}", ErrorKind::MissingValue, 14);
    check_error("Charge State: \0 (3)", ErrorKind::MissingValue, 19);
}

#[test]
fn a_character_within_digits_never_makes_another_number() {
    let controls = (0..=0x9F).filter_map(char::from_u32).filter(|c| c.is_control() && *c != '\t');
    let controls = controls.map(String::from);
    let sequences = ["\u{1b}[0m", "\0\u{1b}[1;31m\0", "ä", "\u{FFFD}", "'", ",", "?"];
    for within in controls.chain(sequences.map(String::from)) {
        for (prefix, digits) in [
            ("MCU ID: ", "9F3C07BA"),
            ("SOC: ", "1063"),
            ("SOC: ", "63.99"),
            ("Vpack: ", "53017.5"),
            ("Current: ", "-41.75"),
            ("Current: ", "4.1e1"),
        ] {
            let line = format!("{prefix}{digits}");
            let whole = parse(&line).unwrap();
            // A letter behind an odd character begins a word, not an exponent.
            let may_be_word = digits.contains('e') && !within.starts_with(char::is_control);
            for at in (1..digits.len()).filter(|_| !may_be_word) {
                let line = format!("{prefix}{}{within}{}", &digits[..at], &digits[at..]);
                if let Ok(parsed) = parse(&line) {
                    assert_eq!(parsed, whole, "{line:?}");
                }
            }
        }
    }
}

#[test]
fn line_ends_and_strange_bytes() {
    check("SOC: 63\r\n", Line::StateOfCharge(63));
    check("System_State: NORMAL\r\n", Line::SystemState("NORMAL"));
    check("Breaker: CLOSED\r\r\n", Line::Breaker("CLOSED"));
    check("noise\r\n", Line::Other("noise"));
    check("", Line::Other(""));
    check("\r\n", Line::Other(""));
    check("SOC: 63\t%", Line::StateOfCharge(63));
    check("System_State: NOR\0MAL", Line::SystemState("NOR\0MAL"));
    check(
        "Errors: \"\u{FFFD}\u{1}'; DROP TABLE battery_pack; --\"",
        Line::Errors("\u{FFFD}\u{1}'; DROP TABLE battery_pack; --"),
    );
    check("Errors: \"Zelle 3 überhitzt\"", Line::Errors("Zelle 3 überhitzt"));
    check_error("SOC: \u{FFFD}3", ErrorKind::NotANumber, 5);
    check_error("SOC: \0", ErrorKind::NotANumber, 5);
    noise("S\0OC: 63");
    noise("Cäsar: 3");
    noise("C0\u{FFFD}) T: 21, V: 3311");
}

#[test]
fn a_prefix_counts_to_the_letter_at_the_very_start() {
    for line in [
        " SOC: 63",
        "soc: 63",
        "SOC : 63",
        "SOC=63",
        "xSOC: 63",
        "INFO: SOC: 63",
        "Temperature: 24",
        "Vpackx: 1",
        "Vc_mid: 3300",
        "C7) T: 21, V: 3311",
        "C007) T: 21, V: 3311",
        "C07] T: 21, V: 3311",
        "c07) T: 21, V: 3311",
        "C+7) T: 21, V: 3311",
        "DEBUG: ADC[x]: 1 = 2",
        "DEBUG: ADC[]: 1 = 2",
        "DEBUG: ADC[2x]: 1 = 2",
        "DEBUG: ADC(2): 1 = 2",
        "DEBUG: REJECT BAD",
        "DEBUG: CALC PACK_CHARGE",
        "INFO: BAD",
        "MCU",
        "-",
        "a",
        "C",
        "D",
        "W",
    ] {
        noise(line);
    }
}

#[test]
fn a_malformed_value_is_an_error_and_never_a_wrong_number() {
    use ErrorKind::{MissingQuote, MissingSeparator, MissingValue, NotANumber, OutOfRange};
    check_error("SOC: ??", NotANumber, 5);
    check_error("SOC: ", MissingValue, 5);
    check_error("SOC:    ", MissingValue, 8);
    check_error("SOC: \r\n", MissingValue, 5);
    check_error("SOC: -", NotANumber, 5);
    check_error("SOC: --5", NotANumber, 5);
    check_error("SOC: 99999", OutOfRange, 5);
    check_error("SOC: 32768", OutOfRange, 5);
    check_error("SOC: -32769", OutOfRange, 5);
    check_error("SOC: 99999999999999999999999999999", OutOfRange, 5);
    check_error("SOC: 5e3", NotANumber, 5);
    check_error("SOC: 5,3", NotANumber, 5);
    // Noise within the digits.
    check_error("SOC: 6\u{FFFD}3", NotANumber, 5);
    check_error("SOC: 6\u{FFFD}", NotANumber, 5);
    check_error("SOC: 6\u{85}3", NotANumber, 5);
    check_error("SOC: 6\u{1b}[0m3", NotANumber, 5);
    check_error("SOC: 6?3", NotANumber, 5);
    check_error("SOC: 6.\u{7}3", NotANumber, 5);
    check_error("Vpack: 53\u{1}017", NotANumber, 7);
    check_error("Current: -4\u{7}1.75", NotANumber, 9);
    check_error("Temp: 0x18", NotANumber, 6);
    check_error("Temp: 0xFF", NotANumber, 6);
    check_error("Vc_max: 3'338", NotANumber, 8);
    check_error("Vc_max: 3_338", NotANumber, 8);
    check_error("MCU ID: 9F3C\u{FFFD}7B2", NotANumber, 8);
    check_error("MCU ID: 9F3C?7B2", NotANumber, 8);
    check_error("MCU ID: 9F3C\0BB2A", NotANumber, 8);
    check_error("MCU ID: 9F3C?BB2A", NotANumber, 8);
    // All ones: flash that was never written.
    check_error("MCU ID: FFFFFFFF", OutOfRange, 8);
    check_error("MCU ID: 0xffffffff rev 4", OutOfRange, 8);
    check_error("Temp: nan", NotANumber, 6);
    check_error("Current: inf", NotANumber, 9);
    check_error("Current: .", NotANumber, 9);
    check_error("Current: -.", NotANumber, 9);
    check_error("Current: -41.", NotANumber, 9);
    check_error("Current: -41.7.5", NotANumber, 9);
    check_error("Current: -41,75", NotANumber, 9);
    // A whole number has no exponent: sixty, or a six and a letter?
    check_error("SOC: 6e1", NotANumber, 5);
    check_error("Vpack: 5.3e", NotANumber, 7);
    check_error("Vpack: 5.3e-", NotANumber, 7);
    check_error("Vpack: 5.3e4.1", NotANumber, 7);
    check_error("Vpack: 5e99", OutOfRange, 7);
    check("Current: -5e-99", Line::PackCurrent(number("0")));
    check("Current: 1234e-20", Line::PackCurrent(number("0.000000000000000012")));
    check_error("Vpack: 5e99999999999999999999", OutOfRange, 7);
    check("Current: 5e-99999999999999999999", Line::PackCurrent(number("0")));
    check_error("Vpack: 1234567890123456789", OutOfRange, 7);
    check_error("Vpack: 1.1234567890123456789", OutOfRange, 7);
    check_error("MCU ID: ", MissingValue, 8);
    check_error("MCU ID: 1FFFFFFFF", OutOfRange, 8);
    check_error("MCU ID: 9F3C07B2X", NotANumber, 8);
    check_error("MCU ID: ????", NotANumber, 8);
    check_error("MCU ID: -1", NotANumber, 8);
    check_error("MCU ID: 0x", NotANumber, 8);
    check_error("MCU ID: FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", OutOfRange, 8);
    check_error("Errors: NONE", MissingQuote, 8);
    check_error("Errors: ", MissingQuote, 8);
    check_error("Errors: \"NO", MissingQuote, 11);
    check_error("System_State: ", MissingValue, 14);
    check_error("Breaker:  ", MissingValue, 10);
    check_error("Charge State: ", MissingValue, 14);
    check_error("C00) T: 21, V: 3311", OutOfRange, 1);
    check_error("C17) T: 21, V: 3311", OutOfRange, 1);
    check_error("DEBUG: ADC[5]: 2002 = 1613.5", OutOfRange, 11);
    check_error("DEBUG: ADC[999]: 2002 = 1613.5", OutOfRange, 11);
    check_error("DEBUG: ADC[99999999999999999999]: 2002 = 1613.5", OutOfRange, 11);
    check_error("DEBUG: ADC[2]: 2002 = ", MissingValue, 22);
    check_error("DEBUG: ADC[2]: 2002", MissingValue, 19);
    check_error("DEBUG: ADC[2]: 2002 1613.5", MissingSeparator, 19);
    check_error("DEBUG: ADC[2]: ? = 1613.5", NotANumber, 15);
    check_error("Write EnergyOut: ?", NotANumber, 17);
}

#[test]
fn half_a_cells_line_is_salvaged() {
    let number = CellNumber::new(7).unwrap();
    let temperature = Some(Salvage::CellTemperature { cell: number, temperature: 21 });
    let voltage = Some(Salvage::CellVoltage { cell: number, voltage: mv("3311") });
    for (line, kind, offset, salvage) in [
        ("C07) T: ??, V: 3311", ErrorKind::NotANumber, 8, voltage),
        ("C07) T: , V: 3311", ErrorKind::NotANumber, 8, voltage),
        ("C07) T: 99999, V: 3311", ErrorKind::OutOfRange, 8, voltage),
        ("C07) T: 21, V: ????", ErrorKind::NotANumber, 15, temperature),
        ("C07) T: 21, V: ", ErrorKind::MissingValue, 15, temperature),
        ("C07) T: 21, X: 3311", ErrorKind::MissingSeparator, 10, temperature),
        ("C07) T: 21,", ErrorKind::MissingSeparator, 10, temperature),
        ("C07) T: 21", ErrorKind::MissingValue, 10, None),
        ("C07) T: ", ErrorKind::MissingValue, 8, None),
        ("C07) T: ?, V: ?", ErrorKind::NotANumber, 8, None),
    ] {
        check_error(line, kind, offset);
        assert_eq!(parse(line).unwrap_err().salvage(), salvage, "{line:?}");
    }
}

#[test]
fn a_line_cut_anywhere_is_no_panic_and_no_longer_number() {
    for line in [
        "MCU ID: 9F3C07B2",
        "C07) T: 21, V: 3311.5",
        "Current: -41.75",
        "Errors: \"Zelle überhitzt\"",
        "DEBUG: ADC[2]: 2002 = 1613.5",
        "Charge State: DISCHARGE (3)",
    ] {
        let whole = parse(line).unwrap();
        for (end, _) in line.char_indices() {
            if let Ok(cut) = parse(&line[..end]) {
                assert!(cut != whole || line.starts_with("Charge State: DISCHARGE"), "{cut:?}");
            }
        }
    }
}

#[test]
fn volts_are_the_nearest_float() {
    let Ok(Line::Cell { voltage, .. }) = parse("C07) T: 21, V: 3311") else { panic!() };
    assert_eq!(voltage.volts(), 3.311_f32);
    let Ok(Line::PackVoltage(voltage)) = parse("Vpack: 53017.3") else { panic!() };
    assert_eq!(voltage.volts(), 53.0173_f32);
    let Ok(Line::PackCurrent(current)) = parse("Current: -41.75") else { panic!() };
    assert_eq!(current.to_f32(), -41.75);
}
