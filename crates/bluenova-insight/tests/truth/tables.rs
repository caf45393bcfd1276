//! What came out, as tables in Markdown.

use std::fmt::Write;

use bluenova_simulator::{SocHabit, Weakness};

use crate::observe::{Course, DayEnd};

/// Days of which the errors are shown.
const SHOWN: [usize; 8] = [1, 2, 3, 5, 7, 14, 21, 30];

/// All tables.
pub(crate) fn all(courses: &[Course]) -> String {
    let mut text = String::new();
    by_class(&mut text, courses);
    by_day(&mut text, courses);
    verdicts(&mut text, courses);
    costs(&mut text, courses);
    text
}

/// What came out for one pack.
pub(crate) fn line(course: &Course) -> String {
    let truth = &course.truth;
    let last = course.days.last();
    let named = last.map(|day| day.named.as_slice()).unwrap_or_default();
    format!(
        "pack {}: {} cells, {:?}, {}; capacity {}, resistance {}, energy {}, named {named:?}",
        truth.seed,
        truth.cells.len(),
        truth.soc_habit,
        truth.defect.map_or("no weak cell".to_owned(), |defect| format!("{defect:?}")),
        Errors::of(last.iter().map(|day| day.capacity_error)).at(1.0),
        Errors::of(last.iter().flat_map(|day| day.resistance_errors.iter().copied())).at(1.0),
        Errors::of(course.energy_errors.into_iter().map(Some)).at(1.0),
    )
}

/// A class of packs: the name of its row, and which belong to it.
type Class = (String, Box<dyn Fn(&Course) -> bool>);

fn classes() -> Vec<Class> {
    let mut classes: Vec<Class> = vec![
        ("all".into(), Box::new(|_| true)),
        ("no weak cell".into(), Box::new(|course| course.truth.defect.is_none())),
    ];
    for weakness in Weakness::ALL {
        let is_of = move |course: &Course| {
            course.truth.defect.is_some_and(|defect| defect.weakness == weakness)
        };
        classes.push((format!("weak: {weakness:?}"), Box::new(is_of)));
    }
    let habit = |course: &Course| match course.truth.soc_habit {
        SocHabit::Right => "right",
        SocHabit::Counts(_) => "counts",
        SocHabit::Sticks(_) => "sticks at 90 %",
    };
    for name in ["right", "counts", "sticks at 90 %"] {
        classes.push((
            format!("state of charge {name}"),
            Box::new(move |course| habit(course) == name),
        ));
    }
    for (low, high) in [(4, 8), (12, 15), (16, 16)] {
        let is_of = move |course: &Course| (low..=high).contains(&course.truth.cells.len());
        classes.push((format!("{low} to {high} cells"), Box::new(is_of)));
    }
    classes
}

fn by_class(text: &mut String, courses: &[Course]) {
    _ = writeln!(
        text,
        "| packs | number | capacity known | its error: median | largest | resistances known | \
         median | 95 % | largest | energy, largest |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for (name, is_of) in classes() {
        let of_class: Vec<&Course> = courses.iter().filter(|course| is_of(course)).collect();
        if of_class.is_empty() {
            continue;
        }
        let ends = || of_class.iter().filter_map(|course| course.days.last());
        let capacity = Errors::of(ends().map(|day| day.capacity_error));
        let resistance = Errors::of(ends().flat_map(|day| day.resistance_errors.iter().copied()));
        let energy = of_class.iter().flat_map(|course| course.energy_errors);
        let energy = Errors::of(energy.map(Some));
        _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            of_class.len(),
            capacity.known(),
            capacity.at(0.5),
            capacity.at(1.0),
            resistance.known(),
            resistance.at(0.5),
            resistance.at(0.95),
            resistance.at(1.0),
            energy.at(1.0)
        );
    }
    text.push('\n');
}

fn by_day(text: &mut String, courses: &[Course]) {
    _ = writeln!(
        text,
        "| day | capacity known | its error: median | 95 % | largest | resistances known | \
         median | 95 % | largest | weak cells named | cells named wrongly |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for day in SHOWN {
        let ends = || courses.iter().filter_map(|course| course.days.get(day - 1));
        let capacity = Errors::of(ends().map(|day| day.capacity_error));
        let resistance = Errors::of(ends().flat_map(|day| day.resistance_errors.iter().copied()));
        let with_defect = courses.iter().filter_map(|course| {
            Some((course.truth.defect.map(|defect| defect.cell), course.days.get(day - 1)?))
        });
        let (mut named, mut of, mut wrongly) = (0, 0, 0);
        for (weak, day) in with_defect {
            of += usize::from(weak.is_some());
            named += day.named.iter().filter(|cell| Some(**cell) == weak).count();
            wrongly += day.named.iter().filter(|cell| Some(**cell) != weak).count();
        }
        _ = writeln!(
            text,
            "| {day} | {} | {} | {} | {} | {} | {} | {} | {} | {named} of {of} | {wrongly} |",
            capacity.known(),
            capacity.at(0.5),
            capacity.at(0.95),
            capacity.at(1.0),
            resistance.known(),
            resistance.at(0.5),
            resistance.at(0.95),
            resistance.at(1.0)
        );
    }
    text.push('\n');
}

fn verdicts(text: &mut String, courses: &[Course]) {
    _ = writeln!(
        text,
        "| weak by | packs | named | day when named: median | last |\n|---|---:|---:|---:|---:|"
    );
    for weakness in Weakness::ALL {
        let of_class = courses.iter().filter_map(|course| {
            let defect = course.truth.defect.filter(|defect| defect.weakness == weakness)?;
            Some(named_since(&course.days, defect.cell))
        });
        let mut since: Vec<Option<usize>> = of_class.collect();
        since.sort_unstable_by_key(|since| since.unwrap_or(usize::MAX));
        let named = since.iter().flatten().count();
        let Some(median) = since.get(since.len() / 2) else { continue };
        let day = |since: Option<&Option<usize>>| match since {
            Some(Some(day)) => day.to_string(),
            _ => "-".to_owned(),
        };
        _ = writeln!(
            text,
            "| {weakness:?} | {} | {named} | {} | {} |",
            since.len(),
            day(Some(median)),
            day(since.get(named.saturating_sub(1)))
        );
    }
    text.push('\n');
}

/// The day since which this cell alone has been named until the end.
fn named_since(days: &[DayEnd], cell: u8) -> Option<usize> {
    let at_end = days.iter().rev().take_while(|day| day.named == [cell]).count();
    (at_end > 0).then(|| days.len() - at_end + 1)
}

fn costs(text: &mut String, courses: &[Course]) {
    let mean = |of: fn(&Course) -> std::time::Duration| {
        courses.iter().map(of).sum::<std::time::Duration>() / courses.len().max(1) as u32
    };
    let within = |of: fn(&DayEnd) -> Vec<bool>| {
        let all: Vec<bool> =
            courses.iter().filter_map(|course| course.days.last()).flat_map(of).collect();
        format!("{} of {}", all.iter().filter(|within| **within).count(), all.len())
    };
    _ = writeln!(
        text,
        "truth within plus and minus: capacity {}, resistance {}; a state as JSON has at \
         most {} bytes; a sample takes {:?} (simulator {:?})",
        within(|day| day.is_capacity_within.into_iter().collect()),
        within(|day| day.are_resistances_within.clone()),
        courses.iter().map(|course| course.state_bytes).max().unwrap_or_default(),
        mean(|course| course.insight),
        mean(|course| course.simulator),
    );
}

/// Sizes of relative errors, in order.
pub(crate) struct Errors {
    sizes: Vec<f64>,
    of: usize,
}

impl Errors {
    pub(crate) fn of(errors: impl Iterator<Item = Option<f64>>) -> Self {
        let errors: Vec<Option<f64>> = errors.collect();
        let mut sizes: Vec<f64> = errors.iter().flatten().map(|error| error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        Self { sizes, of: errors.len() }
    }

    fn known(&self) -> String {
        match self.sizes.len() == self.of {
            true => "all".to_owned(),
            false => format!("{} of {}", self.sizes.len(), self.of),
        }
    }

    /// The error that this part of them doesn't exceed.
    pub(crate) fn size_at(&self, part: f64) -> Option<f64> {
        let index = (part * self.sizes.len() as f64).ceil() as usize;
        self.sizes.get(index.saturating_sub(1)).copied()
    }

    /// The same in percent.
    fn at(&self, part: f64) -> String {
        match self.size_at(part) {
            Some(size) => format!("{:.2} %", size * 100.0),
            None => "-".to_owned(),
        }
    }
}
