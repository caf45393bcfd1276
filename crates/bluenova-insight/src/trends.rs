//! How a battery changes over its days.
//!
//! Each trend is a straight line by weighted least squares, in which days far from it count less
//! (Huber 1964, <https://doi.org/10.1214/aoms/1177703732>, with 1.345 times the deviation). Its
//! uncertainty takes into account that a day is like the day before (Bartlett 1935: the number of
//! days that count is smaller by `(1 - r) / (1 + r)`, `r` the correlation of neighbours).

use bluenova_record::CELLS;
use serde::Serialize;

use crate::{DayStatistics, Estimate, robust::median};

/// Days between the first and the last value, and number of values, for a trend per year.
const YEAR_SPAN: f64 = 90.0;
const YEAR_VALUES: usize = 20;
/// The same for a trend per week.
const WEEK_SPAN: f64 = 14.0;
const WEEK_VALUES: usize = 8;
/// Deviation of temperature from which its effect on resistance can be told from that of time.
const LEAST_KELVIN: f64 = 1.5;
/// Where a value begins to count less, in deviations.
const HUBER: f64 = 1.345;
const ROUNDS: usize = 12;
const DAYS_OF_YEAR: f64 = 365.25;

/// How a battery changes; `None` is "not known yet".
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trends {
    /// Change of the capacity in ampere-hours a year.
    pub capacity_ah_per_year: Option<Estimate>,
    /// The same in percent of the mean.
    pub capacity_percent_per_year: Option<Estimate>,
    /// Change of the cells' resistance with the temperature, in percent per kelvin. Where it is
    /// known, it is taken off the trends of resistance.
    pub resistance_percent_per_kelvin: Option<Estimate>,
    /// Each cell; cell 01 is the first.
    pub cells: Vec<CellTrends>,
}

/// How a cell changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CellTrends {
    /// Internal resistance, in milliohms a year, without the effect of the temperature if that is
    /// known.
    pub resistance_mohm_per_year: Option<Estimate>,
    /// Voltage at rest above the median of the pack, in millivolts a week.
    pub at_rest_mv_per_week: Option<Estimate>,
    /// Charge above the median of the pack, in ampere-hours a week.
    pub charge_ah_per_week: Option<Estimate>,
}

/// The trends over some days, in any order.
pub fn trends(days: &[DayStatistics]) -> Trends {
    let capacities: Vec<Point> = days.iter().filter_map(capacity).collect();
    let capacity = Line::of(&capacities, false).filter(|line| line.is_long(YEAR_SPAN, YEAR_VALUES));
    let warmth = effect_of_warmth(days);
    let count = (0..CELLS).rev().find(|&cell| days.iter().any(|day| is_known(day, cell)));
    let cells = (0..count.map_or(0, |last| last + 1)).map(|cell| cell_trends(days, cell, warmth));
    Trends {
        capacity_ah_per_year: capacity.map(|line| line.slope.times(DAYS_OF_YEAR)),
        capacity_percent_per_year: capacity
            .filter(|line| line.mean > 0.0)
            .map(|line| line.slope.times(100.0 * DAYS_OF_YEAR / line.mean)),
        resistance_percent_per_kelvin: warmth.map(|warmth| warmth.times(100.0)),
        cells: cells.collect(),
    }
}

fn is_known(day: &DayStatistics, cell: usize) -> bool {
    let cells = &day.cells;
    [cells.resistance_mohm[cell], cells.at_rest_mv[cell], cells.charge_ah[cell]]
        .iter()
        .any(Option::is_some)
}

fn cell_trends(days: &[DayStatistics], cell: usize, warmth: Option<Estimate>) -> CellTrends {
    let trend = |value: &dyn Fn(&DayStatistics) -> Option<f64>, span, values, unit| {
        let points: Vec<_> =
            days.iter().filter_map(|day| Some(Point::new(day, value(day)?))).collect();
        let line = Line::of(&points, false).filter(|line| line.is_long(span, values))?;
        Some(line.slope.times(unit))
    };
    let mean_kelvin = mean(days.iter().filter_map(kelvin));
    let resistance = |day: &DayStatistics| {
        let milliohms = f64::from(day.cells.resistance_mohm[cell]?);
        let Some(warmth) = warmth else { return Some(milliohms) };
        Some(milliohms / (1.0 + warmth.value * (kelvin(day)? - mean_kelvin)).max(0.2))
    };
    CellTrends {
        resistance_mohm_per_year: trend(&resistance, YEAR_SPAN, YEAR_VALUES, DAYS_OF_YEAR),
        at_rest_mv_per_week: trend(
            &|day| day.cells.at_rest_mv[cell].map(f64::from),
            WEEK_SPAN,
            WEEK_VALUES,
            7.0,
        ),
        charge_ah_per_week: trend(
            &|day| day.cells.charge_ah[cell].map(f64::from),
            WEEK_SPAN,
            WEEK_VALUES,
            7.0,
        ),
    }
}

fn capacity(day: &DayStatistics) -> Option<Point> {
    let capacity = day.capacity_ah?;
    let error = (capacity.plus_minus / 2.0).max(1e-3 * capacity.value.abs()).max(1e-6);
    Some(Point { weight: error.powi(-2), ..Point::new(day, capacity.value) })
}

/// The part by which the mean resistance of the cells changes per kelvin, apart from its trend.
fn effect_of_warmth(days: &[DayStatistics]) -> Option<Estimate> {
    let points: Vec<Point> = days
        .iter()
        .filter_map(|day| {
            let known = day.cells.resistance_mohm.iter().flatten();
            let middle = mean(known.map(|milliohms| f64::from(*milliohms)));
            Some(Point { kelvin: kelvin(day)?, ..Point::new(day, middle) })
        })
        .filter(|point| point.y.is_finite())
        .collect();
    let kelvin = mean(points.iter().map(|point| point.kelvin));
    let deviation = mean(points.iter().map(|point| (point.kelvin - kelvin).powi(2))).sqrt();
    if points.len() < YEAR_VALUES || deviation < LEAST_KELVIN {
        return None;
    }
    let line = Line::of(&points, true)?;
    let warmth = line.per_kelvin?.times(1.0 / line.mean);
    // A battery's resistance changes by 1 or 2 % per kelvin; 5 % is something else.
    (warmth.plus_minus < 0.01 && warmth.value.abs() < 0.05).then_some(warmth)
}

fn kelvin(day: &DayStatistics) -> Option<f64> {
    day.temp.map(|temp| f64::from(temp.low + temp.high) / 2.0)
}

/// The mean; not a number of none.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

impl Estimate {
    fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, plus_minus: self.plus_minus * factor.abs() }
    }
}

/// A value of a day.
#[derive(Clone, Copy, Debug)]
struct Point {
    day: f64,
    kelvin: f64,
    y: f64,
    weight: f64,
}

impl Point {
    fn new(day: &DayStatistics, y: f64) -> Self {
        Self { day: day.date.to_julian_day().into(), kelvin: 0.0, y, weight: 1.0 }
    }
}

/// A straight line over days, and over temperature if that is asked for.
#[derive(Clone, Copy, Debug)]
struct Line {
    mean: f64,
    /// Change a day.
    slope: Estimate,
    per_kelvin: Option<Estimate>,
    span: f64,
    values: usize,
}

/// Sums of least squares about the means.
#[derive(Clone, Copy, Debug)]
struct Fit {
    y: f64,
    slope: f64,
    per_kelvin: f64,
    /// What the variance of a value is multiplied with to be that of `slope` and `per_kelvin`.
    slope_factor: f64,
    per_kelvin_factor: f64,
    day: f64,
    kelvin: f64,
}

impl Line {
    fn of(points: &[Point], with_kelvin: bool) -> Option<Self> {
        let mut points = points.to_vec();
        points.retain(|point| (point.y * point.weight).is_finite() && point.kelvin.is_finite());
        points.sort_by(|a, b| a.day.total_cmp(&b.day));
        let span = points.last()?.day - points.first()?.day;
        if points.len() < 4 {
            return None;
        }
        let mut huber = vec![1.0; points.len()];
        let mut fit = Fit::of(&points, &huber, with_kelvin)?;
        for _ in 0..ROUNDS {
            let residuals = fit.residuals(&points);
            let mut sizes: Vec<f64> = residuals.iter().map(|residual| residual.abs()).collect();
            let deviation = 1.4826 * median(&mut sizes);
            for (huber, residual) in huber.iter_mut().zip(residuals) {
                *huber = (HUBER * deviation / residual.abs().max(1e-12)).min(1.0);
            }
            fit = Fit::of(&points, &huber, with_kelvin)?;
        }
        let deviation = fit.deviation(&points, &huber);
        let estimate = |value: f64, factor: f64| Estimate {
            value,
            plus_minus: 2.0 * deviation * factor.sqrt(),
        };
        Some(Self {
            mean: fit.y,
            slope: estimate(fit.slope, fit.slope_factor),
            per_kelvin: with_kelvin.then(|| estimate(fit.per_kelvin, fit.per_kelvin_factor)),
            span,
            values: points.len(),
        })
    }

    fn is_long(&self, span: f64, values: usize) -> bool {
        self.span >= span && self.values >= values
    }
}

impl Fit {
    fn of(points: &[Point], huber: &[f64], with_kelvin: bool) -> Option<Self> {
        let all = || points.iter().zip(huber).map(|(point, huber)| (point, point.weight * huber));
        let weight: f64 = all().map(|(_, weight)| weight).sum();
        let mean = |of: fn(&Point) -> f64| all().map(|(p, w)| w * of(p)).sum::<f64>() / weight;
        let (day, kelvin, y) = (mean(|p| p.day), mean(|p| p.kelvin), mean(|p| p.y));
        let product = |of: &dyn Fn(&Point) -> f64| all().map(|(p, w)| w * of(p)).sum::<f64>();
        let days = product(&|p| (p.day - day).powi(2));
        let days_y = product(&|p| (p.day - day) * (p.y - y));
        if !with_kelvin {
            let (slope, slope_factor) = (days_y / days, 1.0 / days);
            let fit = Self {
                y,
                slope,
                per_kelvin: 0.0,
                slope_factor,
                per_kelvin_factor: 0.0,
                day,
                kelvin,
            };
            return (days > 0.0).then_some(fit);
        }
        let kelvins = product(&|p| (p.kelvin - kelvin).powi(2));
        let days_kelvins = product(&|p| (p.day - day) * (p.kelvin - kelvin));
        let kelvins_y = product(&|p| (p.kelvin - kelvin) * (p.y - y));
        let determinant = days * kelvins - days_kelvins * days_kelvins;
        (determinant > 1e-9 * days * kelvins).then(|| Self {
            y,
            slope: (kelvins * days_y - days_kelvins * kelvins_y) / determinant,
            per_kelvin: (days * kelvins_y - days_kelvins * days_y) / determinant,
            slope_factor: kelvins / determinant,
            per_kelvin_factor: days / determinant,
            day,
            kelvin,
        })
    }

    /// What is left of each value, in the deviations that its weight stands for.
    fn residuals(&self, points: &[Point]) -> Vec<f64> {
        let left = |p: &Point| {
            let line = self.y
                + self.slope * (p.day - self.day)
                + self.per_kelvin * (p.kelvin - self.kelvin);
            (p.y - line) * p.weight.sqrt()
        };
        points.iter().map(left).collect()
    }

    /// Standard deviation of a value of weight 1, larger where neighbours are alike.
    fn deviation(&self, points: &[Point], huber: &[f64]) -> f64 {
        let mut residuals = self.residuals(points);
        for (residual, huber) in residuals.iter_mut().zip(huber) {
            *residual *= huber.sqrt();
        }
        let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
        let neighbours: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let alike = (neighbours / squares.max(1e-300)).clamp(0.0, 0.9);
        let variance = squares / (points.len() as f64 - 2.0);
        (variance * (1.0 + alike) / (1.0 - alike)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use time::{Date, Duration, Month};

    use super::*;
    use crate::{Extremes, LocalDay};

    /// Two years of days: the capacity falls by 6 Ah a year, the resistance of two cells rises by
    /// 0.1 mΩ a year and falls by 1 % per kelvin, and the charge of the second falls by 0.7 Ah a
    /// week. Every 30th day is odd.
    fn days(count: i64) -> Vec<DayStatistics> {
        let first = Date::from_calendar_date(2026, Month::January, 1).unwrap();
        let day = |n: i64| {
            let begin = (first + Duration::days(n)).midnight().as_utc();
            let (date, end) = (begin.date(), begin + Duration::DAY);
            let mut day = DayStatistics::new(LocalDay { date, begin, end });
            let years = n as f64 / DAYS_OF_YEAR;
            let noise = ((n * 7919) % 101) as f64 / 50.0 - 1.0;
            let odd = if n % 30 == 7 { 0.6 } else { 1.0 };
            let value = (280.0 - 6.0 * years + noise) * odd;
            day.capacity_ah = Some(Estimate { value, plus_minus: 2.0 });
            let celsius = 20.0 - 6.0 * (years * std::f64::consts::TAU).cos();
            day.temp = Some(Extremes { low: celsius as f32 - 1.0, high: celsius as f32 + 1.0 });
            let warmth = 1.0 - 0.01 * (celsius - 20.0);
            for cell in 0..2 {
                let milliohms = (1.0 + 0.1 * years) * warmth + 0.01 * noise;
                day.cells.resistance_mohm[cell] = Some(milliohms as f32);
            }
            day.cells.charge_ah[1] = Some((-0.1 * n as f64 + 0.3 * noise) as f32);
            day
        };
        (0..count).map(day).collect()
    }

    fn assert_near(estimate: Option<Estimate>, expected: f64, tolerance: f64) {
        let Estimate { value, plus_minus } = estimate.unwrap();
        assert!((value - expected).abs() < tolerance, "{value} ± {plus_minus}, not {expected}");
        assert!(plus_minus > 0.0 && plus_minus < 4.0 * tolerance, "{value} ± {plus_minus}");
    }

    #[test]
    fn two_years_have_their_trends_in_spite_of_odd_days_and_seasons() {
        let trends = trends(&days(730));
        assert_near(trends.capacity_ah_per_year, -6.0, 0.3);
        assert_near(trends.resistance_percent_per_kelvin, -1.0, 0.1);
        assert_eq!(trends.cells.len(), 2);
        assert_near(trends.cells[0].resistance_mohm_per_year, 0.1, 0.01);
        assert_near(trends.cells[1].charge_ah_per_week, -0.7, 0.01);
        assert_eq!(trends.cells[0].charge_ah_per_week, None);
    }

    #[test]
    fn a_trend_is_not_known_from_a_few_days() {
        let trends = trends(&days(10));
        assert_eq!((trends.capacity_ah_per_year, trends.cells[1].charge_ah_per_week), (None, None));
        assert_eq!(super::trends(&[]), Trends::default());
    }
}
