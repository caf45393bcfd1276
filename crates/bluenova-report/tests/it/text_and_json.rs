//! What a terminal and programs get.

use bluenova_insight::{CellWeakness, Extremes, Verdict, WeakCell};
use bluenova_record::{CELLS, Rfc3339};
use bluenova_report::{Identity, Passport, Sources};

use crate::{MADE_AT, day, hostile, passport, sources, weak_cell};

#[test]
fn the_text_fits_a_terminal() {
    for cells in [0, 4, CELLS] {
        for days in [1, 40, 361] {
            let text = passport(sources(days, cells)).text();
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{cells} cells, {days} days: {line:?}");
                assert_eq!(line, line.trim_end());
            }
        }
    }
}

#[test]
fn the_text_says_what_is_known() {
    let text = passport(sources(361, 4)).text();
    let expected = "\
Battery attic, MCU ID 9F3C07B2
period           2025-12-01 to 2026-11-26 (Europe/Berlin), 361 days
known            100 % of that time
build            4 cells in series, unit 1 of 2
verdict          Weak against the pack: cell 04.
                 Cell 04 holds 3.1 ± 0.4 Ah less than the others, and loses
                 0.14 ± 0.04 Ah a week.
capacity         281 ± 6 Ah; changes by −1.2 ± 1.0 % a year
resistances      as they are at 21 °C; less when warmer
charged          1857 kWh, 34295 Ah
discharged       1733 kWh, 33212 Ah
energies         within 1.20 %, but for what flowed in gaps
full cycles      120
state of charge  20 to 100 %
temperature      8 to 31 °C
current          60 A charging, 80 A discharging, at most
cells            2.950 V (cell 04) to 3.550 V (cell 02), at most 120 mV apart
health           97.25 %, by its firmware

cell  resistance mΩ  at rest mV  full mV  charge Ah   a week Ah
";
    let got: String = text.lines().take(20).map(|line| format!("{line}\n")).collect();
    assert_eq!(got, expected);
    assert!(
        text.contains("\n04        0.34±0.02   −12.4±0.4     37±4   −3.1±0.3  −0.14±0.04\n"),
        "{text}"
    );
}

#[test]
fn nothing_is_made_up() {
    let bare = Sources {
        identity: Identity { mcu_id: 7, ..Identity::default() },
        days: vec![day(0, 0)],
        zone: "UTC".to_owned(),
        ..Sources::default()
    };
    let passport = passport(bare);
    let text = passport.text();
    for line in [
        "capacity         not known yet\n",
        "full cycles      not known yet\n",
        "verdict          Not known yet",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for absent in ["health", "resistance", "build", "event"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    let json = serde_json::to_value(&passport).unwrap();
    assert_eq!(json["capacity_ah"], serde_json::Value::Null);
    assert_eq!(json["verdict"]["is"], "not_known_yet");
    assert_eq!(json["cells"], serde_json::json!([]));
    assert!(Passport::new(Sources::default(), MADE_AT).is_none());
}

#[test]
fn days_that_are_missing_or_rebuilt_show() {
    let mut sources = sources(10, 4);
    sources.days.remove(5);
    sources.days[2].from_rows_s = 43_200.0;
    sources.days[2].sampled_s = 0.0;
    let passport = passport(sources);
    let text = passport.text();
    assert!(
        text.contains("10 days\n")
            && text.contains("85.0 % of that time; 1 of 9 days rebuilt from rows\n"),
        "{text}"
    );
    let json = serde_json::to_value(&passport).unwrap();
    assert_eq!(json["period"]["days_known"], 9);
    assert_eq!(json["days"][2]["is_rebuilt_from_rows"], true);
    assert!(json["methods"].as_array().unwrap().iter().any(|it| it["figure"] == "rows"));
    assert!(passport.html().unwrap().contains("rebuilt from rows"));
}

#[test]
fn a_day_of_charging_alone_is_told_in_the_singular_and_without_a_negative_zero() {
    let mut sources = sources(1, 4);
    sources.days[0].from_rows_s = 60.0;
    sources.days[0].i_pack = Some(Extremes { low: 0.0, high: 33.0 });
    let text = passport(sources).text();
    assert!(text.contains("100 % of that time; in part from rows\n"), "{text}");
    assert!(text.contains("33 A charging, 0 A discharging, at most\n"), "{text}");
}

#[test]
fn the_text_says_how_each_figure_was_got() {
    let passport = passport(sources(40, CELLS));
    let text = passport.text();
    let (_, last) = text.split_once("\nHow each figure was got\n").unwrap();
    assert!(last.contains("capacity: The charge counted between two states of charge"), "{last}");
    let json = serde_json::to_value(&passport).unwrap();
    for method in json["methods"].as_array().unwrap() {
        let figure = method["figure"].as_str().unwrap();
        assert!(last.lines().any(|line| line.starts_with(&format!("{figure}: "))), "{figure}");
    }
}

#[test]
fn names_in_json_stay() {
    let json = serde_json::to_value(passport(sources(361, CELLS))).unwrap();
    let names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "capacity_ah cells days energy_uncertainty events figures_as_of full_cycles \
                    identity limits made_at made_by methods months origin period \
                    resistance_celsius total trends verdict";
    assert_eq!(names.join(" "), expected);
    assert_eq!(json["identity"]["mcu_id"], "9F3C07B2");
    assert_eq!(json["verdict"]["cells"][0]["cell"], 4);
    assert_eq!(json["total"]["energy_out_wh"], 361.0 * 4800.0);
    assert_eq!(json["limits"]["soc_percent"]["low"], 20.0);
    assert_eq!(json["limits"]["cell_v"]["low_cell"], 4);
    assert_eq!(json["months"][0]["month"], "2025-12");
    assert_eq!(json["months"].as_array().unwrap().len(), 12);
    assert_eq!(json["days"][0]["capacity_ah"]["value"], 279.0);
    assert_eq!(json["cells"][3]["resistance_mohm"]["plus_minus"], 0.02);
    assert_eq!(json["events"][0]["seconds"], 86_400.0);
}

#[test]
fn hostile_names_do_nothing_to_a_terminal() {
    let text = passport(hostile()).text();
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    assert_eq!(text.lines().next().map(|line| line.starts_with("Battery </title>")), Some(true));
}

#[test]
fn a_cell_that_needs_balancing_is_not_called_weak() {
    let mut sources = sources(40, CELLS);
    if let Some(figures) = &mut sources.figures {
        let weakness = CellWeakness::LowCharge { ah_lacking: 3.0 };
        let evidence = "Cell 07 holds 3.0 Ah less.".to_owned();
        let to_balance = WeakCell { cell: 7, evidence, weakness, days: 30 };
        figures.verdict = Verdict::Weak(vec![weak_cell(), to_balance]);
    }
    let text = passport(sources).text();
    let begin = "verdict          Weak against the pack: cell 04.\n\
                 \x20                Needs balancing: cell 07.\n";
    assert!(text.contains(begin) && text.contains(" Cell 07 holds 3.0 Ah less.\n"), "{text}");
}

#[test]
fn a_good_battery_is_called_good() {
    let mut sources = sources(40, CELLS);
    if let Some(figures) = &mut sources.figures {
        figures.verdict = Verdict::NoWeakCell;
    }
    assert!(passport(sources).text().contains("verdict          No cell is weak.\n"));
}

/// Half of the day under way is to come yet, at noon.
#[test]
fn hours_to_come_are_not_missing() {
    let mut sources = sources(10, 4);
    let last = sources.days.last_mut().unwrap();
    (last.sampled_s, last.last_s) = (43_200.0 - 600.0, 43_200 - 600);
    let made_at = last.date.midnight().as_utc() + time::Duration::hours(12);
    let last = last.clone();
    if let Some(figures) = &mut sources.figures {
        figures.time = Rfc3339(made_at - time::Duration::minutes(10));
        figures.today = last;
    }
    let known = |made_at| {
        let passport = Passport::new(sources.clone(), made_at).unwrap();
        (passport.period.completeness * 10_000.0).round() / 100.0
    };
    // Of 9.5 days ten minutes are missing; the day after, half a day is.
    assert_eq!(known(made_at), 99.93);
    assert_eq!(known(made_at + time::Duration::DAY), 94.93);
}

#[test]
fn the_change_of_each_cell_is_in_text_and_page() {
    let long = passport(sources(361, 4));
    let text = long.text();
    let (_, table) = text
        .split_once("\nchange of cell  resistance mΩ a year  at rest mV a week\n")
        .unwrap_or_else(|| panic!("{text}"));
    let fourth = table.lines().nth(3).unwrap();
    assert!(fourth.starts_with("04 ") && fourth.contains("0.04±0.00"), "{fourth}");
    assert!(fourth.ends_with("−0.35±0.00"), "{fourth}");
    assert!(text.contains("\nchange: A straight line"), "{text}");
    let html = long.html().unwrap();
    let head = "<th class=\"number\">at rest mV a week</th>";
    assert!(html.contains(head) && html.contains(">−0.35±0.00<"), "{html}");
    assert!(html.contains("the band lacks the errors that all days have in common"));
    // Of a week no change is known.
    let short = passport(sources(7, 4));
    assert!(!short.text().contains("change of cell"), "{}", short.text());
    assert!(!short.html().unwrap().contains(head));
}
