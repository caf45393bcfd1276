use bluenova_insight::{Figures, Insight, UtcDays, Verdict};
use fastrand::Rng;
use time::Duration;

use crate::pack::{Flaw, Kit, Pack};

/// What is known of a pack after `days`, with a sample every `seconds`.
fn figures(mut pack: Pack, days: f64, seconds: f64) -> Figures {
    let mut insight = Insight::new(7);
    for _ in 0..(days * 86_400.0 / seconds) as u32 {
        let sample = pack.sample(seconds);
        if seconds <= 10.0 {
            insight.sample(&sample, &UtcDays);
        } else {
            insight.row(&sample, Duration::seconds_f64(seconds), &UtcDays);
        }
    }
    insight.figures().unwrap()
}

/// The cells that are called weak.
fn weak(figures: &Figures) -> Vec<u8> {
    match &figures.verdict {
        Verdict::Weak(cells) | Verdict::NeedsBalancing(cells) => {
            cells.iter().map(|cell| cell.cell).collect()
        }
        _ => vec![],
    }
}

/// A pack of eight cells whose last but one has this flaw.
fn pack(flaw: Option<Flaw>) -> Pack {
    let kit = Kit { cells: 8, ..Kit::any(&mut Rng::with_seed(3)) };
    Pack::new(kit, flaw.map(|flaw| (6, flaw)), 3)
}

#[test]
fn a_good_pack_has_no_weak_cell() {
    assert_eq!(figures(pack(None), 5.0, 120.0).verdict, Verdict::NotKnownYet);
    assert_eq!(figures(pack(None), 16.0, 120.0).verdict, Verdict::NoWeakCell);
}

#[test]
fn a_weak_cell_is_named_with_what_is_wrong_with_it() {
    for (flaw, expected, phrase) in [
        (Flaw::Capacity(0.10), "low_capacity", "less than its neighbours"),
        (Flaw::Resistance(2.0), "high_resistance", "times the resistance of its neighbours"),
        (Flaw::Leak(1.0), "self_discharge", "Cell 07 discharges itself"),
        (Flaw::Lack(0.08), "low_charge", "Cell 07 needs balancing and isn't bad"),
    ] {
        let figures = figures(pack(Some(flaw)), 16.0, 120.0);
        let needs_balancing = matches!(flaw, Flaw::Lack(_));
        let cells = match &figures.verdict {
            Verdict::Weak(cells) if !needs_balancing => cells,
            Verdict::NeedsBalancing(cells) if needs_balancing => cells,
            _ => panic!("{flaw:?}: {figures:?}"),
        };
        let weak = figures.verdict.weak_cells().unwrap().count();
        assert_eq!(weak, usize::from(!needs_balancing));
        assert_eq!(cells.len(), 1, "{flaw:?}: {cells:?}");
        assert!(cells[0].evidence.contains(phrase), "{}", cells[0].evidence);
        let json = serde_json::to_value(&figures.verdict).unwrap();
        assert_eq!(json["cells"][0]["weakness"], expected);
        assert_eq!(json["cells"][0]["cell"], 7);
    }
}

#[test]
fn a_leak_is_measured_in_charge_a_week() {
    let figures = figures(pack(Some(Flaw::Leak(2.0))), 16.0, 120.0);
    let loss = figures.cells[6].charge_ah_per_week.unwrap();
    assert!((loss.value + 2.0).abs() < loss.plus_minus.max(0.3), "{loss:?}");
}

#[test]
#[ignore = "takes minutes: run it in release"]
fn sweep() {
    type AnyFlaw = fn(&mut Rng) -> Option<Flaw>;
    let flaws: [(&str, AnyFlaw); 5] = [
        ("none", |_| None),
        ("capacity", |rng| Some(Flaw::Capacity(0.08 + 0.07 * rng.f64()))),
        ("resistance", |rng| Some(Flaw::Resistance(1.6 + 0.9 * rng.f64()))),
        ("leak", |rng| Some(Flaw::Leak(0.5 + 1.5 * rng.f64()))),
        ("lack", |rng| Some(Flaw::Lack(0.06 + 0.04 * rng.f64()))),
    ];
    let verbose = std::env::var("VERBOSE").is_ok();
    let seeds: u64 = std::env::var("SEEDS").map_or(50, |seeds| seeds.parse().unwrap());
    for (name, flaw) in flaws {
        let (mut right, mut wrong, mut unknown) = (0, 0, 0);
        for seed in 0..seeds {
            let mut rng = Rng::with_seed(seed * 7 + 1);
            let kit = Kit::any(&mut rng);
            let flaw = flaw(&mut rng);
            let cell = rng.usize(..kit.cells);
            let pack = Pack::new(kit.clone(), flaw.map(|flaw| (cell, flaw)), seed);
            let figures = figures(pack, 30.0, 10.0);
            let found = weak(&figures);
            let expected: Vec<u8> = flaw.iter().map(|_| cell as u8 + 1).collect();
            unknown += u32::from(figures.verdict == Verdict::NotKnownYet);
            if found == expected {
                right += 1;
            } else {
                wrong += 1;
            }
            if verbose || found != expected {
                println!("{name} {seed} {flaw:?} cell {} {kit:?}", cell + 1);
                println!("    {:?}", figures.verdict);
                let own = figures.cells[cell];
                println!("    {own:?}");
            }
        }
        println!("== {name}: right {right} wrong {wrong} not known {unknown}");
    }
}
