//! A battery of known truth, observed day by day.

use std::time::{Duration, Instant};

use bluenova_insight::{Estimate, Figures, Insight, UtcDays, Verdict};
use bluenova_record::PackRecord;
use bluenova_simulator::{KnownBattery, PackTruth};

const DAY: usize = 86_400;
/// Samples between two looks at the time that they take.
const BATCH: usize = 675;
/// Days over which a resistance, which follows the temperature, is averaged.
const RESISTANCE_DAYS: usize = 3;

/// What the samples of a pack said, and how far off that was.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) truth: PackTruth,
    /// Each day's end.
    pub(crate) days: Vec<DayEnd>,
    /// Relative errors of the energy that went in and out.
    pub(crate) energy_errors: [f64; 2],
    /// The verdict at the end, in words.
    pub(crate) verdict: String,
    /// Length of the stored state.
    pub(crate) state_bytes: usize,
    /// Time that the simulator and the estimators took, for each sample.
    pub(crate) simulator: Duration,
    pub(crate) insight: Duration,
}

/// Errors at the end of a day, relative to the truth then; `None` is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct DayEnd {
    pub(crate) capacity_error: Option<f64>,
    /// Whether the truth is within what the estimate says of itself.
    pub(crate) is_capacity_within: Option<bool>,
    pub(crate) resistance_errors: Vec<Option<f64>>,
    pub(crate) are_resistances_within: Vec<bool>,
    /// Cells that are called weak.
    pub(crate) named: Vec<u8>,
}

/// Observes a pack for so many days. Its state is stored and loaded again each midnight.
pub(crate) fn observe(truth: PackTruth, days: usize) -> Course {
    let mut battery = KnownBattery::new(truth);
    let mut insight = Insight::new(battery.truth().mcu_id);
    let mut course = Course {
        truth: battery.truth().clone(),
        days: vec![],
        energy_errors: [f64::NAN; 2],
        verdict: String::new(),
        state_bytes: 0,
        simulator: Duration::ZERO,
        insight: Duration::ZERO,
    };
    let mut ohms = vec![];
    let mut samples: Vec<PackRecord> = Vec::with_capacity(BATCH);
    for _ in 0..days {
        let mut ohms_of_day = OhmsOfDay::new(battery.truth().cells.len());
        for _ in 0..DAY / BATCH {
            let begin = Instant::now();
            samples.clear();
            samples.extend(battery.by_ref().take(BATCH));
            let made = Instant::now();
            for sample in &samples {
                insight.sample(sample, &UtcDays);
            }
            course.simulator += made - begin;
            course.insight += made.elapsed();
            ohms_of_day.add(&battery);
        }
        ohms.push(ohms_of_day.mean());
        let recent = &ohms[ohms.len().saturating_sub(RESISTANCE_DAYS)..];
        let figures = insight.figures().expect("there were samples");
        course.days.push(DayEnd::of(&figures, &battery, recent));
        course.verdict = format!("{:?}", figures.verdict);

        let state = serde_json::to_string(&insight).expect("a state is JSON");
        course.state_bytes = course.state_bytes.max(state.len());
        insight = serde_json::from_str(&state).expect("it was stored just now");
    }
    let (counted, flows) = (insight.counters(), battery.flows());
    course.energy_errors = [
        counted.energy_in_wh / flows.energy_in_wh - 1.0,
        counted.energy_out_wh / flows.energy_out_wh - 1.0,
    ];
    course.simulator /= (days * DAY) as u32;
    course.insight /= (days * DAY) as u32;
    course
}

impl DayEnd {
    fn of(figures: &Figures, battery: &KnownBattery, ohms: &[Vec<f64>]) -> Self {
        let capacity_ah = battery.capacity_ah();
        let is_within =
            |estimate: Estimate, truth: f64| (estimate.value - truth).abs() <= estimate.plus_minus;
        let mut day = Self {
            capacity_error: figures.capacity_ah.map(|ah| ah.value / capacity_ah - 1.0),
            is_capacity_within: figures.capacity_ah.map(|ah| is_within(ah, capacity_ah)),
            resistance_errors: vec![],
            are_resistances_within: vec![],
            named: match &figures.verdict {
                Verdict::Weak(cells) | Verdict::NeedsBalancing(cells) => {
                    cells.iter().map(|weak| weak.cell).collect()
                }
                Verdict::NoWeakCell | Verdict::NotKnownYet => vec![],
            },
        };
        for index in 0..battery.truth().cells.len() {
            let mohm = ohms.iter().map(|day| day[index]).sum::<f64>() / ohms.len() as f64 * 1000.0;
            let estimate = figures.cells.get(index).and_then(|cell| cell.resistance_mohm);
            day.resistance_errors.push(estimate.map(|estimate| estimate.value / mohm - 1.0));
            day.are_resistances_within.extend(estimate.map(|estimate| is_within(estimate, mohm)));
        }
        day
    }
}

/// Mean resistance of each cell over a day.
struct OhmsOfDay {
    sums: Vec<f64>,
    count: f64,
}

impl OhmsOfDay {
    fn new(cell_count: usize) -> Self {
        Self { sums: vec![0.0; cell_count], count: 0.0 }
    }

    fn add(&mut self, battery: &KnownBattery) {
        for (index, sum) in self.sums.iter_mut().enumerate() {
            *sum += battery.cell_ohms(index).expect("there is that cell");
        }
        self.count += 1.0;
    }

    fn mean(self) -> Vec<f64> {
        self.sums.into_iter().map(|sum| sum / self.count).collect()
    }
}
