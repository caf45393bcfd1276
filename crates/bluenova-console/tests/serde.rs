//! Lines as JSON.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

use bluenova_console::parse;

#[test]
fn lines_as_json() {
    for (line, json) in [
        ("SOC: 63", r#"{"StateOfCharge":63}"#),
        ("Current: -41.750", r#"{"PackCurrent":"-41.750"}"#),
        ("C07) T: 21, V: 3311", r#"{"Cell":{"cell":7,"temperature":21,"voltage":"3311"}}"#),
        ("DEBUG: ADC[2]: 2002 = 1613.5", r#"{"Adc":{"channel":2,"raw":2002,"voltage":"1613.5"}}"#),
        ("Errors: \"NONE\"", r#"{"Errors":"NONE"}"#),
        ("INFO: BAD CRC", r#""BadCrc""#),
        ("noise", r#"{"Other":"noise"}"#),
    ] {
        assert_eq!(serde_json::to_string(&parse(line).unwrap()).unwrap(), json);
    }
}
