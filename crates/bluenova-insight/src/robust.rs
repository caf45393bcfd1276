//! Statistics that a few wrong values don't move.

use std::cmp::Ordering;
use std::ops::{Add, Mul, Sub};

/// `f32` and `f64`.
pub(crate) trait Real:
    Copy + Default + From<f32> + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    fn order(&self, other: &Self) -> Ordering;
    fn size(self) -> Self;
}

impl Real for f32 {
    fn order(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }

    fn size(self) -> Self {
        self.abs()
    }
}

impl Real for f64 {
    fn order(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }

    fn size(self) -> Self {
        self.abs()
    }
}

/// Median; 0 if there are no values. Sorts them.
pub(crate) fn median<T: Real>(values: &mut [T]) -> T {
    values.sort_unstable_by(Real::order);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => T::default(),
        (Some(upper), 1) => *upper,
        (Some(upper), _) => (values[middle - 1] + *upper) * T::from(0.5),
    }
}

/// The median, and the deviation of the values from it: 1.4826 times the median of their distances,
/// which is the standard deviation of normal values (Rousseeuw & Croux, J. Am. Stat. Assoc. 88,
/// 1993). Both are 0 if there are no values. What the values are afterwards isn't said.
pub(crate) fn median_and_deviation<T: Real>(values: &mut [T]) -> (T, T) {
    let middle = median(values);
    for value in values.iter_mut() {
        *value = (*value - middle).size();
    }
    (middle, median(values) * T::from(1.4826))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        for (values, expected) in [
            (&mut [][..], (0.0, 0.0)),
            (&mut [3.0], (3.0, 0.0)),
            (&mut [4.0, 1.0], (2.5, 1.5)),
            (&mut [9.0, 1.0, 2.0], (2.0, 1.0)),
        ] {
            let (median, distance): (f64, f64) = expected;
            let found = median_and_deviation(values);
            assert!((found.0 - median).abs() < 1e-12, "{values:?}");
            assert!((found.1 - 1.4826 * distance).abs() < 1e-6, "{values:?}");
        }
    }
}
