//! The state of a battery and of a bank, as JSON.

use bluenova_insight::{Figures, Goal};
use bluenova_record::{COLUMNS, PackRecord, Rfc3339, Value};
use bluenova_status::bank::{self, Share};
use bluenova_status::{Problem, Severity, limits};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// The values of a battery: those of its row under the columns' names, then what follows from them
/// and what its samples say under [`COMPUTED`], and its problems. `null`: not known.
pub(crate) struct BatteryState<'a> {
    pub(crate) record: &'a PackRecord,
    pub(crate) figures: Option<&'a Figures>,
    pub(crate) problems: &'a [Problem],
}

/// Names of the values that aren't columns.
pub(crate) const COMPUTED: [&str; 14] = [
    "power_w",
    "cell_spread_mv",
    "cell_lowest",
    "cell_highest",
    "errors_present",
    "breaker_open",
    "energy_in_kwh",
    "energy_out_kwh",
    "time_to_empty_h",
    "time_to_full_h",
    "capacity_ah",
    "weak_cell_present",
    "weak_cells",
    "severity",
];

/// Name of the problems, which are no entity, but attributes of one.
pub(crate) const PROBLEMS: &str = "problems";

/// A problem of a battery. Field names are those of the JSON.
#[derive(Serialize)]
struct ProblemState<'a> {
    severity: Severity,
    name: &'a str,
    text: &'a str,
}

impl Serialize for BatteryState<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { record, figures, problems } = *self;
        let mut map = serializer.serialize_map(None)?;
        for column in &COLUMNS {
            match column.get(record) {
                Some(Value::Timestamp(time)) => map.serialize_entry(column.name, &Rfc3339(time))?,
                Some(Value::BigInt(number)) => map.serialize_entry(column.name, &number)?,
                Some(Value::SmallInt(number)) => map.serialize_entry(column.name, &number)?,
                Some(Value::Real(number)) => map.serialize_entry(column.name, &number)?,
                Some(Value::Text(text)) => map.serialize_entry(column.name, text)?,
                None => map.serialize_entry(column.name, &())?,
            }
        }
        let cells = bank::cell_voltages(record);
        let [power, spread, lowest, highest, errors, breaker, of_samples @ .., severity] = COMPUTED;
        map.serialize_entry(power, &bank::power(record).map(to_tenths))?;
        map.serialize_entry(spread, &cells.as_ref().map(|cells| to_tenths(cells.spread)))?;
        map.serialize_entry(lowest, &cells.as_ref().map(|cells| cells.lowest))?;
        map.serialize_entry(highest, &cells.as_ref().map(|cells| cells.highest))?;
        // Problems, since a single garbled line is none.
        let has = |name| problems.iter().any(|problem| problem.name == name);
        map.serialize_entry(errors, &record.errors.map(|_| has(limits::ERRORS)))?;
        map.serialize_entry(breaker, &bank::breaker(record).map(|_| has(limits::BREAKER)))?;
        put_figures(&mut map, of_samples, figures)?;
        // The most serious one is the first.
        let most = problems.first().map_or("ok", |problem| problem.severity.name());
        map.serialize_entry(severity, most)?;
        let problems = problems.iter().map(|problem| ProblemState {
            severity: problem.severity,
            name: problem.name,
            text: &problem.text,
        });
        map.serialize_entry(PROBLEMS, &problems.collect::<Vec<_>>())?;
        map.end()
    }
}

/// Adds what the samples of the battery say.
fn put_figures<M: SerializeMap>(
    map: &mut M,
    names: [&str; 7],
    figures: Option<&Figures>,
) -> Result<(), M::Error> {
    let [energy_in, energy_out, to_empty, to_full, capacity, weak, weak_cells] = names;
    let counters = figures.map(|figures| figures.counters);
    // Watt-hours, as far as the meter of an energy dashboard resolves them.
    let kwh = |wh: f64| wh.round() / 1000.0;
    map.serialize_entry(energy_in, &counters.map(|counters| kwh(counters.energy_in_wh)))?;
    map.serialize_entry(energy_out, &counters.map(|counters| kwh(counters.energy_out_wh)))?;
    let to_go = figures.and_then(|figures| figures.time_to_go);
    let hours = |goal| {
        let to_go = to_go.filter(|to_go| to_go.goal == goal);
        to_go.map(|to_go| (to_go.seconds / 36.0).round() / 100.0)
    };
    map.serialize_entry(to_empty, &hours(Goal::Empty))?;
    map.serialize_entry(to_full, &hours(Goal::Full))?;
    let known = figures.and_then(|figures| figures.capacity_ah);
    map.serialize_entry(capacity, &known.map(|capacity| to_tenths(capacity.value)))?;
    let weak_cells_known = figures.and_then(|figures| figures.verdict.weak_cells());
    let cells: Option<Vec<String>> =
        weak_cells_known.map(|cells| cells.map(|it| it.cell.to_string()).collect());
    map.serialize_entry(weak, &cells.as_ref().map(|cells| !cells.is_empty()))?;
    let text = |cells: Vec<String>| if cells.is_empty() { "none".into() } else { cells.join(", ") };
    map.serialize_entry(weak_cells, &cells.map(text))
}

/// The values of all batteries of a listener together, from those whose values are fresh.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct BankState {
    batteries: usize,
    fresh: usize,
    power_w: Option<f64>,
    soc: Option<f64>,
}

impl BankState {
    pub(crate) fn new(batteries: usize, fresh: usize, sum: &Share) -> Self {
        Self {
            batteries,
            fresh,
            power_w: sum.power().map(to_tenths),
            soc: sum.state_of_charge().map(to_tenths),
        }
    }
}

/// A value with no more digits than the measurement has.
fn to_tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use bluenova_insight::{CellWeakness, Estimate, Insight, TimeToGo, UtcDays, Verdict, WeakCell};
    use bluenova_record::{Text, Timestamp};
    use bluenova_status::Evidence;
    use bluenova_test_support::sample_row;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};
    use time::{Duration, macros::utc_datetime};

    use super::*;

    const NOW: time::UtcDateTime = utc_datetime!(2026-11-27 10:00:10);

    fn json_of(record: &PackRecord) -> Json {
        json_with(record, None, &[])
    }

    fn json_with(record: &PackRecord, figures: Option<&Figures>, problems: &[Problem]) -> Json {
        let state = BatteryState { record, figures, problems };
        serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap()
    }

    /// Whether this is a value of a row in JSON. A number must be that of the row when it is read:
    /// JSON has no NaN.
    fn is_value(json: &Json, value: Option<Value<'_>>) -> bool {
        match value {
            None => json.is_null(),
            Some(Value::Timestamp(time)) => *json == Rfc3339(time).to_string(),
            Some(Value::Text(text)) => json == text,
            Some(Value::BigInt(number)) => *json == number,
            Some(Value::SmallInt(number)) => *json == number,
            Some(Value::Real(number)) => {
                let read = json.as_f64().map(|read| read as f32);
                read == Some(number).filter(|number| number.is_finite())
            }
        }
    }

    #[test]
    fn the_state_has_all_values_of_the_row() {
        let record = sample_row(NOW, 0x9F3C_07B2);
        let state = json_of(&record);
        for column in &COLUMNS {
            assert!(is_value(&state[column.name], column.get(&record)), "{}", column.name);
        }
        assert_eq!(state.as_object().unwrap().len(), COLUMNS.len() + COMPUTED.len() + 1);
        // As a reader finds them.
        assert_eq!(state["insert_time_utc"], "2026-11-27T10:00:10Z");
        assert_eq!(state["v_pack"].to_string(), "53.017");
        assert_eq!(state["i_pack"].to_string(), "-41.75");
        assert_eq!(state["soc"], 63);
        assert_eq!(state["errors"], "NONE");
        assert_eq!(state["power_w"], -2213.5);
        assert_eq!(state["cell_spread_mv"], 30.0);
        assert_eq!((&state["cell_lowest"], &state["cell_highest"]), (&json!(1), &json!(16)));
        assert_eq!(state["errors_present"], false);
        assert_eq!(state["breaker_open"], false);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let record = PackRecord::new(NOW, 1);
        let known = [
            "insert_time_utc",
            "mcu_id",
            "bad_crc",
            "parse_fail",
            "bad_vcell",
            "severity",
            "problems",
        ];
        for (key, value) in json_of(&record).as_object().unwrap() {
            assert_eq!(!value.is_null(), known.contains(&key.as_str()), "{key}");
        }
    }

    #[test]
    fn what_the_samples_say() {
        let mut insight = Insight::new(1);
        for second in 0..=10 {
            let mut sample = PackRecord::new(NOW + Duration::seconds(second), 1);
            (sample.v_pack, sample.i_pack) = (Some(50.0), Some(-360.0));
            insight.sample(&sample, &UtcDays);
        }
        let weak = |cell| WeakCell {
            cell,
            weakness: CellWeakness::HighResistance { times_median: 2.0 },
            days: 10,
            evidence: String::new(),
        };
        let mut figures = insight.figures().unwrap();
        let json = |figures: &Figures| json_with(&PackRecord::new(NOW, 1), Some(figures), &[]);
        let state = json(&figures);
        assert_eq!(
            (&state["energy_in_kwh"], &state["energy_out_kwh"]),
            (&json!(0.0), &json!(0.05))
        );
        assert_eq!(state["weak_cells"], Json::Null);
        let (plus_minus_s, with_usual_capacity) = (300.0, false);
        figures.time_to_go = Some(TimeToGo {
            goal: Goal::Empty,
            seconds: 5400.0,
            plus_minus_s,
            with_usual_capacity,
        });
        figures.capacity_ah = Some(Estimate { value: 99.96, plus_minus: 1.0 });
        figures.verdict = Verdict::Weak(vec![weak(12), weak(3)]);
        let state = json(&figures);
        for (name, expected) in [
            ("time_to_empty_h", json!(1.5)),
            ("time_to_full_h", Json::Null),
            ("capacity_ah", json!(100.0)),
            ("weak_cell_present", json!(true)),
            ("weak_cells", json!("12, 3")),
        ] {
            assert_eq!(state[name], expected, "{name}");
        }
        // What only needs balancing isn't weak.
        let weakness = CellWeakness::LowCharge { ah_lacking: 9.0 };
        let to_balance = WeakCell { weakness, ..weak(5) };
        figures.verdict = Verdict::Weak(vec![weak(12), to_balance.clone()]);
        assert_eq!(json(&figures)["weak_cells"], "12");
        for verdict in [Verdict::NoWeakCell, Verdict::NeedsBalancing(vec![to_balance])] {
            figures.verdict = verdict;
            let state = json(&figures);
            let is = (&state["weak_cell_present"], &state["weak_cells"]);
            assert_eq!(is, (&json!(false), &json!("none")));
        }
    }

    #[test]
    fn problems_and_the_most_serious_of_them() {
        let record = PackRecord::new(NOW, 1);
        assert_eq!(json_of(&record)["severity"], "ok");
        let problem = |severity, name, text: &str| Problem {
            severity,
            name,
            mcu_id: Some(1),
            names: vec![],
            text: text.to_owned(),
            evidence: Evidence::Rows,
        };
        let problems = [
            problem(Severity::Red, "breaker", "attic: the breaker is OPEN"),
            problem(Severity::Amber, "low-charge", "attic: state of charge 14 %"),
        ];
        let state = json_with(&record, None, &problems);
        assert_eq!(state["severity"], "red");
        let first = json!({ "severity": "red", "name": "breaker", "text": problems[0].text });
        assert_eq!(
            (&state["problems"][0], state["problems"].as_array().unwrap().len()),
            (&first, 2)
        );
    }

    #[test]
    fn errors_and_the_breaker() {
        let problem = |name| Problem {
            severity: Severity::Red,
            name,
            mcu_id: Some(1),
            names: vec![],
            text: String::new(),
            evidence: Evidence::Rows,
        };
        let state = |errors: &str, breaker: &str, problems: &[&'static str]| {
            let mut record = PackRecord::new(NOW, 1);
            record.errors = Some(Text::new(errors));
            record.breaker = Some(Text::new(breaker));
            let problems = Vec::from_iter(problems.iter().map(|name| problem(name)));
            let state = json_with(&record, None, &problems);
            (state["errors_present"].clone(), state["breaker_open"].clone())
        };
        let (yes, no) = (json!(true), json!(false));
        assert_eq!(state("NONE", "CLOSED", &[]), (no.clone(), no.clone()));
        assert_eq!(state("", "", &[]), (no.clone(), json!(null)));
        assert_eq!(state("CELL_OV", "OPEN", &["errors", "breaker"]), (yes.clone(), yes));
        // Garbled for a moment.
        assert_eq!(state("NOME", "CLOS", &["low-charge"]), (no.clone(), no));
    }

    #[test]
    fn the_time_of_a_sample_is_one_that_home_assistant_reads() {
        let time = utc_datetime!(2026-11-27 10:00:10.123456);
        let state = json_of(&PackRecord::new(time, 1));
        assert_eq!(state["insert_time_utc"], "2026-11-27T10:00:10.123456Z");
        assert_ne!(state["insert_time_utc"], Timestamp(time).to_string());
    }

    #[test]
    fn the_state_of_a_bank() {
        let record = |soc, i_pack| {
            let mut record = sample_row(NOW, 1);
            (record.soc, record.v_pack, record.i_pack) = (soc, Some(50.0), i_pack);
            Share::of(&record)
        };
        let sum = [record(Some(50), Some(-10.0)), record(Some(61), None)].into_iter().sum();
        let json = serde_json::to_string(&BankState::new(3, 2, &sum)).unwrap();
        assert_eq!(json, r#"{"batteries":3,"fresh":2,"power_w":-500.0,"soc":55.5}"#);
    }

    proptest! {
        #[test]
        fn any_number_is_valid_json(bits: [u32; 6], text: String) {
            let mut record = PackRecord::new(NOW, bits[0]);
            let [_, v_pack, i_pack, cell, adc, energy] = bits.map(f32::from_bits);
            (record.v_pack, record.i_pack) = (Some(v_pack), Some(i_pack));
            (record.cell_v[3], record.adc[2]) = (Some(cell), Some(adc));
            record.energy_in = Some(energy);
            record.errors = Some(Text::new(&text));
            let state = json_of(&record);
            for column in &COLUMNS {
                prop_assert!(is_value(&state[column.name], column.get(&record)), "{state}");
            }
        }
    }
}
