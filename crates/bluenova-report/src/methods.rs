//! How each figure of a passport was got, in a sentence; and what its verdict is.

use bluenova_insight::{CellTrends, Verdict, WeakCell};
use serde::Serialize;

use crate::Passport;

/// How a figure was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Method {
    /// The figure.
    pub figure: &'static str,
    /// How it was got.
    pub method: &'static str,
}

const METHODS: [Method; 13] = [
    Method {
        figure: "samples",
        method: "About once a second the battery sends what it measures itself, over its console. \
                 The passport is as right as the battery's own sensors.",
    },
    Method {
        figure: "rows",
        method: "Where there are no samples, rows of the table stand in for them, one every few \
                 seconds. Days of which a part was rebuilt from rows are marked: their energy is \
                 coarser, and no resistance comes from them.",
    },
    Method {
        figure: "energy and charge",
        method: "Volts times amperes, and amperes, summed up over the time from sample to sample \
                 (trapezoid rule), at the battery's terminals. Nothing is counted in gaps of more \
                 than 10 s, or of two intervals of rows.",
    },
    Method {
        figure: "completeness",
        method: "The part of the period in which the time from sample to sample, or from row to \
                 row, was no gap.",
    },
    Method {
        figure: "plus-minus",
        method: "In 95 of 100 cases the true value is that close to the one that is given.",
    },
    Method {
        figure: "capacity",
        method: "The charge counted between two states of charge that are far enough apart, \
                 divided by their distance. Its plus-minus includes errors that all days have in \
                 common, as those of the current sensor; that of a single day doesn't, so that it \
                 may be smaller.",
    },
    Method {
        figure: "change",
        method: "A straight line through what each day of the period says by itself, in which days \
                 far from it count less. Where the effect of the temperature on the resistance is \
                 known, it is taken off.",
    },
    Method {
        figure: "full cycles",
        method: "Half of the charge that went in and out in the period, divided by the capacity.",
    },
    Method {
        figure: "resistance",
        method: "How much the voltage of a cell changes when the current does, from one sample to \
                 the next; the median of many changes. It holds at the temperature at which they \
                 were, and falls by about 1 % per kelvin.",
    },
    Method {
        figure: "imbalance",
        method: "The voltage of a cell above the median of all cells of the pack: at rest, when \
                 the pack is nearly full, and when it is nearly empty. From those, the charge that \
                 it holds above the median, and how that changes in a week.",
    },
    Method {
        figure: "verdict",
        method: "Each cell is judged against the others of its pack, not by one limit for all \
                 batteries.",
    },
    Method {
        figure: "lowest and highest",
        method: "Of all samples and rows; values that can't be true are left out. At rest means at \
                 most 2 A for five minutes.",
    },
    Method {
        figure: "health",
        method: "The state of health as the battery's firmware reports it; how it gets it isn't \
                 documented.",
    },
];

/// Those that the passport has figures for.
pub(crate) fn of(passport: &Passport) -> Vec<Method> {
    let cells = &passport.cells;
    let has_imbalance = cells.iter().any(|cell| {
        let voltages = [cell.at_rest_mv, cell.at_top_mv, cell.at_bottom_mv];
        voltages.into_iter().chain([cell.charge_ah, cell.charge_ah_per_week]).flatten().count() > 0
    });
    let has_resistance = cells.iter().any(|cell| cell.resistance_mohm.is_some());
    let is_shown = |method: &Method| match method.figure {
        "rows" => passport.period.days_rebuilt_from_rows > 0,
        "plus-minus" => passport.capacity_ah.is_some() || has_resistance || has_imbalance,
        "capacity" => passport.capacity_ah.is_some(),
        "change" => {
            let has_trend = |cell: &CellTrends| *cell != CellTrends::default();
            let trends = &passport.trends;
            trends.capacity_ah_per_year.is_some() || trends.cells.iter().any(has_trend)
        }
        "full cycles" => passport.full_cycles.is_some(),
        "resistance" => has_resistance,
        "imbalance" => has_imbalance,
        "verdict" => passport.verdict != Verdict::NotKnownYet,
        "health" => passport.identity.health_percent.is_some(),
        _ => true,
    };
    METHODS.into_iter().filter(is_shown).collect()
}

/// The verdict in a sentence, then the evidence for each weak cell.
pub(crate) fn verdict(verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::NotKnownYet => {
            vec!["Not known yet: too little was seen to say which cells are weak.".to_owned()]
        }
        Verdict::NoWeakCell => vec!["No cell is weak.".to_owned()],
        Verdict::NeedsBalancing(cells) | Verdict::Weak(cells) => {
            let (weak, to_balance): (Vec<_>, Vec<_>) = cells.iter().partition(|it| it.is_weak());
            let which = [("Weak against the pack", weak), ("Needs balancing", to_balance)];
            let which = which.into_iter().filter(|(_, cells)| !cells.is_empty());
            let which = which.map(|(what, cells)| format!("{what}: {}.", numbers(&cells)));
            which.chain(cells.iter().map(|weak| weak.evidence.clone())).collect()
        }
    }
}

/// `cell 04`, `cells 04, 11`.
fn numbers(cells: &[&WeakCell]) -> String {
    let numbers: Vec<_> = cells.iter().map(|weak| format!("{:02}", weak.cell)).collect();
    let cells = if cells.len() == 1 { "cell" } else { "cells" };
    format!("{cells} {}", numbers.join(", "))
}
