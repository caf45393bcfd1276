//! Which cells are weak, and the evidence.
//!
//! A cell is weak against the other cells of its pack, never by a limit of its own: by how many
//! times their usual spread (1.4826 times the median deviation) it is away from their median, and
//! whether by so much that an owner has to care. Both are asked, so that the worst cell of an
//! excellent pack is none, nor one of a pack whose cells all differ.

use crate::{
    CellFigures, CellWeakness, Estimate, Verdict, WeakCell, cells::Cells, per_cell::MedianOfOthers,
};

/// Least part of the capacity by which a weak cell is smaller.
const LEAST_DEFICIT: f32 = 0.045;
/// Least spread of the capacities of good cells, as a part.
const USUAL_DEFICIT: f32 = 0.008;
/// Least part of a full pack that a cell lacks that needs balancing.
const LEAST_IMBALANCE: f32 = 0.045;
/// Least loss of charge against the neighbours, as a part of a full pack a week.
const LEAST_LOSS: f32 = 0.001;
/// And in ampere-hours a week: what feeds the BMS needn't come from all cells alike, and a small
/// pack shows 2 mA of it.
const LEAST_LOSS_AH: f64 = 0.35;
/// Least spread of such losses, as a part of a full pack a week.
const USUAL_LOSS: f32 = 0.000_2;
/// Least resistance of a weak cell, in times the median.
const LEAST_RESISTANCE: f32 = 1.3;
/// Least spread of the resistance of good cells, as a part.
const USUAL_RESISTANCE: f32 = 0.06;
/// Least part of a full pack by which a cell is behind for good, and has come to be so, that only
/// balancing keeps from falling farther.
const LEAST_LAG: f32 = 0.002_2;
const LEAST_CHANGE: f32 = 0.001_2;
/// Part of its lag by which another cell may be behind.
const MOST_OF_LAG: f32 = 0.7;
/// Least spread of leads, as a part of a full pack.
const USUAL_LEAD: f32 = 0.000_25;
/// Days and full packs until it can be said that no cell is weak.
const ENOUGH_DAYS: f64 = 14.0;
const ENOUGH_TOPS: u16 = 6;
/// Days until a cell can be called weak by its charge.
const FEW_DAYS: f64 = 6.0;

/// What was found at a cell.
struct Finding {
    /// Distance from the others, in times their spread.
    distance: f32,
    weakness: CellWeakness,
    /// Goes on behind "Cell 07 " or "It ".
    sentence: String,
}

/// Judges the cells of a pack by what was seen of them; `figures` has their resistance too.
pub(crate) fn verdict(cells: &Cells, figures: &[CellFigures]) -> Verdict {
    let judge = Judge::new(cells, figures);
    let mut found: Vec<(f32, WeakCell)> =
        (0..figures.len()).filter_map(|cell| judge.weak_cell(cell)).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut weak, to_balance): (Vec<_>, Vec<_>) =
        found.into_iter().map(|(_, cell)| cell).partition(WeakCell::is_weak);
    weak.truncate(most_weak_cells(figures.len()));
    if !weak.is_empty() {
        weak.extend(to_balance);
        Verdict::Weak(weak)
    } else if !to_balance.is_empty() {
        Verdict::NeedsBalancing(to_balance)
    } else if judge.has_seen_enough() {
        Verdict::NoWeakCell
    } else {
        Verdict::NotKnownYet
    }
}

/// How many cells of a pack can be called weak: those that they are compared with must be more than
/// twice as many. Of four cells it is one.
fn most_weak_cells(count: usize) -> usize {
    count.saturating_sub(1) / 3
}

/// The figures of all cells side by side.
struct Judge<'a> {
    cells: &'a Cells,
    unit_ah: f32,
    leads: Column,
    losses: Column,
    changes: Column,
    deficits: Column,
    resistances: Column,
}

impl<'a> Judge<'a> {
    fn new(cells: &'a Cells, figures: &[CellFigures]) -> Self {
        let column = |of: fn(&CellFigures) -> Option<Estimate>| figures.iter().map(of).collect();
        Self {
            cells,
            unit_ah: cells.unit_ah().unwrap_or(f32::INFINITY),
            leads: Column::new(column(|cell| cell.charge_ah)),
            losses: Column::new(column(|cell| cell.charge_ah_per_week)),
            changes: Column::new(cells.lead.changes(figures.len())),
            deficits: Column::new(cells.curve.deficits(figures.len())),
            resistances: Column::new(resistances(cells, figures)),
        }
    }

    /// The cell, and how far it is from the others, if anything is wrong with it.
    fn weak_cell(&self, cell: usize) -> Option<(f32, WeakCell)> {
        let mut findings: Vec<Finding> = [
            self.low_capacity(cell),
            self.self_discharge(cell).or_else(|| self.held_by_balancing(cell)),
            self.high_resistance(cell),
            self.low_charge(cell),
        ]
        .into_iter()
        .flatten()
        .collect();
        // A cell that lost its charge lacks it, and one that holds less is empty first anyway.
        if findings.len() > 1 {
            findings.retain(|found| !matches!(found.weakness, CellWeakness::LowCharge { .. }));
        }
        let first = findings.first()?;
        let number = cell as u8 + 1;
        let mut evidence = format!("Cell {number:02} {}.", first.sentence);
        for other in &findings[1..] {
            evidence += &format!(" It also {}.", other.sentence);
        }
        let days = self.cells.lead.span_days().round() as u16;
        let weak = WeakCell { cell: number, evidence, weakness: first.weakness, days };
        Some((first.distance, weak))
    }

    /// Full first and empty first: the line of its depth over the pack's says by how much.
    fn low_capacity(&self, cell: usize) -> Option<Finding> {
        let deficit = self.deficits.get(cell)?;
        let distance = self.deficits.distance(cell, USUAL_DEFICIT)?;
        let is_sure = deficit.value > 1.5 * deficit.plus_minus && distance > 3.5;
        if !is_sure || self.is_early() || deficit.value < LEAST_DEFICIT.into() {
            return None;
        }
        let lead = self.leads.get(cell).map_or(0.0, |lead| lead.value);
        let mut evidence = vec![];
        if lead > 0.2 {
            evidence.push(format!("is full {lead:.1} Ah before the median"));
        }
        // What it lacks less what it was ahead: reckoned, as few packs are ever empty.
        let nearer = deficit.value * f64::from(self.unit_ah) - lead;
        if nearer > 0.2 {
            evidence.push(format!("would be empty {nearer:.1} Ah before the median"));
        }
        let sentence = format!(
            "holds about {} % less than its neighbours (±{:.0}): it {}, in {} full charges",
            (deficit.value * 100.0).round(),
            (deficit.plus_minus * 100.0).max(1.0),
            evidence.join(" and "),
            self.cells.lead.count,
        );
        Some(Finding {
            distance,
            weakness: CellWeakness::LowCapacity { part_lacking: deficit.value },
            sentence,
        })
    }

    /// Its charge falls week by week.
    fn self_discharge(&self, cell: usize) -> Option<Finding> {
        let change = self.losses.get(cell)?;
        let distance = -self.losses.distance(cell, USUAL_LOSS * self.unit_ah)?;
        let loss = -change.value;
        let is_sure = loss > 2.0 * change.plus_minus && distance > 4.0;
        if !is_sure || self.is_early() || loss < f64::from(LEAST_LOSS * self.unit_ah) {
            return None;
        }
        if loss - change.plus_minus / 2.0 < LEAST_LOSS_AH || self.may_be_balanced(cell) {
            return None;
        }
        let sentence = format!(
            "discharges itself: against its neighbours it loses {loss:.1} Ah a week (±{:.1}), \
             over {:.0} days and {} full charges",
            change.plus_minus.max(0.1),
            self.cells.lead.span_days(),
            self.cells.lead.count,
        );
        let weakness = CellWeakness::SelfDischarge { ah_per_week: loss };
        Some(Finding { distance, weakness, sentence })
    }

    /// It has fallen behind the others and stays there, the last of all: what it loses is bled from
    /// them by the BMS.
    fn held_by_balancing(&self, cell: usize) -> Option<Finding> {
        let lag = -self.leads.get(cell)?.value as f32;
        let distance = -self.leads.distance(cell, USUAL_LEAD * self.unit_ah)?;
        let change = -self.changes.distance(cell, USUAL_LEAD * self.unit_ah)?;
        let fallen = -self.changes.above(cell)?;
        let is_clear = lag > LEAST_LAG * self.unit_ah && fallen > LEAST_CHANGE * self.unit_ah;
        if self.is_early() || !is_clear || distance < 4.0 || change < 3.5 {
            return None;
        }
        // The others are kept together: where two are behind, it is their sensors or their start.
        let mut others = self.leads.values.iter().enumerate().filter(|(other, _)| *other != cell);
        if others.any(|(_, lead)| lead.is_some_and(|lead| -lead.value as f32 > MOST_OF_LAG * lag)) {
            return None;
        }
        let days = self.cells.lead.span_days();
        let sentence = format!(
            "discharges itself: within {days:.0} days it fell {fallen:.1} Ah behind its \
             neighbours, and it stays the last to be full, by {lag:.1} Ah, while they keep \
             together",
        );
        let ah_per_week = f64::from(fallen) / (days / 7.0).max(1.0);
        let weakness = CellWeakness::SelfDischarge { ah_per_week };
        Some(Finding { distance, weakness, sentence })
    }

    /// Whether a falling charge can be the work of a BMS, which bleeds the cells that are full
    /// first: this one is, and no other that is as full keeps its charge.
    fn may_be_balanced(&self, cell: usize) -> bool {
        let Some(lead) = self.leads.get(cell) else { return true };
        let others = (0..self.cells.count()).filter(|other| *other != cell);
        let is_first = others
            .filter_map(|other| self.leads.get(other))
            .all(|other| other.value < lead.value + 0.001 * f64::from(self.unit_ah));
        is_first && lead.value > f64::from(0.003 * self.unit_ah)
    }

    fn high_resistance(&self, cell: usize) -> Option<Finding> {
        let times = self.resistances.get(cell)?;
        let distance = self.resistances.distance(cell, USUAL_RESISTANCE)?;
        let least = f64::from(LEAST_RESISTANCE).max(1.2 + times.plus_minus);
        if distance < 2.5 || times.value < least {
            return None;
        }
        let sentence = format!(
            "has {:.1} times the resistance of its neighbours (±{:.1})",
            times.value,
            times.plus_minus.max(0.1),
        );
        let weakness = CellWeakness::HighResistance { times_median: times.value };
        Some(Finding { distance, weakness, sentence })
    }

    /// Full last and empty first, but no smaller than the others.
    fn low_charge(&self, cell: usize) -> Option<Finding> {
        let lead = self.leads.get(cell)?;
        let distance = -self.leads.distance(cell, 0.005 * self.unit_ah)?;
        let lack = -lead.value;
        let is_sure = lack > 1.5 * lead.plus_minus && distance > 4.0;
        if !is_sure || self.is_early() || lack < f64::from(LEAST_IMBALANCE * self.unit_ah) {
            return None;
        }
        let sentence = format!(
            "needs balancing and isn't bad: it holds {lack:.1} Ah less than its neighbours, so it \
             is full last and empty first, but its capacity and resistance are as theirs"
        );
        Some(Finding { distance, weakness: CellWeakness::LowCharge { ah_lacking: lack }, sentence })
    }

    fn is_early(&self) -> bool {
        self.cells.lead.span_days() < FEW_DAYS || self.cells.lead.count < 4
    }

    /// Whether a weak cell would have been found.
    fn has_seen_enough(&self) -> bool {
        let unit = f64::from(self.unit_ah);
        self.cells.lead.span_days() >= ENOUGH_DAYS
            && self.cells.lead.count >= ENOUGH_TOPS
            && self.deficits.are_all_within(0.05)
            && self.losses.are_all_within(0.003 * unit)
            && self.resistances.are_all_within(0.25)
    }
}

/// One figure of all cells.
struct Column {
    values: Vec<Option<Estimate>>,
    shared: Option<MedianOfOthers>,
}

impl Column {
    fn new(values: Vec<Option<Estimate>>) -> Self {
        // A median of some of the cells only would be one of other cells.
        let known: Option<Vec<f32>> =
            values.iter().map(|value| value.map(|value| value.value as f32)).collect();
        Self { shared: known.map(|known| MedianOfOthers::of(known.into_iter())), values }
    }

    fn get(&self, cell: usize) -> Option<Estimate> {
        *self.values.get(cell)?
    }

    /// How far a cell is above the median of the others, in times their spread, which counts as no
    /// less than `usual`.
    fn distance(&self, cell: usize, usual: f32) -> Option<f32> {
        let spread = self.shared.as_ref()?.spread_without(cell);
        Some(self.above(cell)? / spread.max(usual))
    }

    /// How much a cell is above the median of the others.
    fn above(&self, cell: usize) -> Option<f32> {
        Some(self.get(cell)?.value as f32 - self.shared.as_ref()?.without(cell))
    }

    fn are_all_within(&self, plus_minus: f64) -> bool {
        self.values.iter().all(|value| value.is_some_and(|value| value.plus_minus < plus_minus))
    }
}

/// The resistance of each cell in times the median of the others: from the samples if it is known
/// of all of them, otherwise from the means of minutes.
fn resistances(cells: &Cells, figures: &[CellFigures]) -> Vec<Option<Estimate>> {
    let measured: Option<Vec<Estimate>> = figures.iter().map(|cell| cell.resistance_mohm).collect();
    let minutes = || {
        let ohms = cells.ohms().filter(|_| cells.lead.span_days() >= 1.0)?;
        let estimate = |ohms: &f32| Estimate {
            value: f64::from(*ohms) * 1000.0,
            plus_minus: f64::from(*ohms) * 100.0,
        };
        Some(ohms[..figures.len()].iter().map(estimate).collect())
    };
    let Some(known) = measured.or_else(minutes) else { return vec![None; figures.len()] };
    let shared = MedianOfOthers::of(known.iter().map(|estimate| estimate.value as f32));
    let times = known.iter().enumerate().map(|(cell, estimate)| {
        let usual = f64::from(shared.without(cell)).max(1e-6);
        Some(Estimate { value: estimate.value / usual, plus_minus: estimate.plus_minus / usual })
    });
    times.collect()
}
