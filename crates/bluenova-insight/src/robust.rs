//! Statistics that a few wrong values don't move.

/// Median; 0 if there are no values. Sorts them.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => 0.0,
        (Some(upper), 1) => *upper,
        (Some(upper), _) => (values[middle - 1] + upper) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        for (values, expected) in [
            (&mut [][..], 0.0),
            (&mut [3.0], 3.0),
            (&mut [4.0, 1.0], 2.5),
            (&mut [9.0, 1.0, 2.0], 2.0),
        ] {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }
}
