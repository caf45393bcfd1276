//! Passports of days that were made by hand.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "that is how a test fails"
)]

mod page;
mod text_and_json;

use bluenova_insight::{
    CellFigures, CellWeakness, DayStatistics, Estimate, Figures, Insight, UtcDays, Verdict,
    WeakCell,
};
use bluenova_record::{CELLS, PackRecord};
use bluenova_report::{EventLog, Identity, Passport, Sources};
use serde_json::json;
use time::{
    Date, Duration, UtcDateTime,
    macros::{date, utc_datetime},
};

const MADE_AT: UtcDateTime = utc_datetime!(2026-11-27 18:30);
const FIRST: Date = date!(2025 - 12 - 01);

fn estimate(value: f64, plus_minus: f64) -> Option<Estimate> {
    Some(Estimate { value, plus_minus })
}

/// The day at `n` from the first one, complete, and all that can be known of it, of so many cells.
fn day(n: i64, cells: usize) -> DayStatistics {
    let text = json!({
        "date": (FIRST + Duration::days(n)).to_string(), "length_s": 86_400, "sampled_s": 86_400.0,
        "energy_in_wh": 5000.0 + 10.0 * (n % 30) as f64, "energy_out_wh": 4800.0,
        "charge_in_ah": 95.0, "charge_out_ah": 92.0,
        "first_s": 0, "last_s": 86_399,
    });
    let mut day: DayStatistics = serde_json::from_value(text).unwrap();
    let at = |low, high| Some(bluenova_insight::Extremes { low, high });
    (day.soc, day.temp) = (at(20.0 + (n % 7) as f32, 100.0), at(8.0, 21.0 + (n % 11) as f32));
    (day.i_pack, day.spread_mv) = (at(-80.0, 60.0), at(3.0, 120.0));
    day.capacity_ah = (n % 3 == 0)
        .then(|| estimate(285.0 - 0.01 * n as f64 + (n / 3 % 5 - 2) as f64 * 3.0, 6.0))
        .flatten();
    day.cell_v =
        Some(bluenova_insight::CellExtremes { low: 2.95, low_cell: 4, high: 3.55, high_cell: 2 });
    for cell in 0..cells {
        day.cells.resistance_mohm[cell] = Some(0.3 + 0.01 * cell as f32 + 0.0001 * n as f32);
        day.cells.at_rest_mv[cell] =
            Some(if cell == 3 { -0.05 * n as f32 } else { 0.2 * cell as f32 });
    }
    day
}

/// What is known of so many cells; the fourth is weak.
fn figures(cells: usize) -> Figures {
    let mut insight = Insight::new(7);
    insight.sample(&PackRecord::new(MADE_AT, 7), &UtcDays);
    let mut figures = insight.figures().unwrap();
    figures.capacity_ah = estimate(281.4, 5.6);
    figures.energy_uncertainty = Some(0.012);
    figures.resistance_celsius = (cells > 0).then_some(21.4);
    figures.cells = (0..cells)
        .map(|cell| {
            let away = if cell == 3 { -12.4 } else { 0.4 };
            CellFigures {
                resistance_mohm: estimate(0.31 + 0.01 * cell as f64, 0.02),
                at_rest_mv: estimate(away, 0.4),
                at_top_mv: estimate(-away * 3.0, 4.1),
                at_bottom_mv: None,
                charge_ah: estimate(away / 4.0, 0.35),
                charge_ah_per_week: (cell == 3).then(|| estimate(-0.14, 0.04)).flatten(),
            }
        })
        .collect();
    figures
}

fn weak_cell() -> WeakCell {
    let evidence =
        "Cell 04 holds 3.1 ± 0.4 Ah less than the others, and loses 0.14 ± 0.04 Ah a week.";
    let weakness = CellWeakness::SelfDischarge { ah_per_week: 0.14 };
    WeakCell { cell: 4, evidence: evidence.to_owned(), weakness, days: 30 }
}

/// All that a year of a battery of so many cells leaves.
fn sources(days: i64, cells: usize) -> Sources {
    let mut events = EventLog::default();
    events.add("error OVERTEMP", MADE_AT - Duration::days(9), Some(MADE_AT - Duration::days(8)));
    events.add(
        "no connection to the battery",
        MADE_AT - Duration::days(7),
        Some(MADE_AT - Duration::days(6)),
    );
    let mut figures = figures(cells);
    figures.verdict = Verdict::Weak(vec![weak_cell()]);
    Sources {
        identity: Identity {
            name: Some("attic".to_owned()),
            mcu_id: 0x9F3C_07B2,
            cell_count: i16::try_from(cells).ok().filter(|cells| *cells > 0),
            n_units: Some(2),
            unit_rank: Some(1),
            health_percent: Some(97.25),
        },
        days: (0..days).map(|n| day(n, cells)).collect(),
        figures: Some(figures),
        events: events.finish(),
        zone: "Europe/Berlin".to_owned(),
        origin: "the journal /var/lib/bluenova/journal.sqlite".to_owned(),
        made_by: "bluenovalistener 0.1.0".to_owned(),
    }
}

fn passport(sources: Sources) -> Passport {
    Passport::new(sources, MADE_AT).unwrap()
}

/// Sources whose every text tries to break out.
fn hostile() -> Sources {
    let bad = "</title></style><script>alert(1)</script><img src=x onerror='alert(2)'>\
               \u{202e}\u{1b}[2J\"&";
    let mut events = EventLog::default();
    events.add(bad, MADE_AT, None);
    let mut sources = sources(40, CELLS);
    sources.identity.name = Some(bad.to_owned());
    sources.events = events.finish();
    (sources.zone, sources.origin, sources.made_by) =
        (bad.to_owned(), bad.to_owned(), bad.to_owned());
    if let Some(figures) = &mut sources.figures {
        figures.verdict = Verdict::Weak(vec![WeakCell { evidence: bad.to_owned(), ..weak_cell() }]);
    }
    sources
}
