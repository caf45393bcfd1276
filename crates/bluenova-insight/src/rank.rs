use crate::DayStatistics;

impl DayStatistics {
    /// How much is known of the day: where two versions of it can't be
    /// [merged](DayStatistics::merge), the one of the higher rank is the better one.
    pub fn rank(&self) -> u32 {
        // A cast of floats stays within what an integer can hold.
        (self.sampled_s + 0.9 * self.from_rows_s).round() as u32
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, UtcDateTime};

    use super::*;
    use crate::{Calendar, UtcDays};

    #[test]
    fn samples_are_worth_more_than_rows_and_more_of_either_is_worth_more() {
        let day = UtcDays.day_of(UtcDateTime::UNIX_EPOCH + Duration::DAY);
        let rank = |sampled_s, from_rows_s| {
            DayStatistics { sampled_s, from_rows_s, ..DayStatistics::new(day) }.rank()
        };
        let ranks = [rank(0.0, 0.0), rank(0.0, 2.0), rank(0.0, 1000.0), rank(910.0, 0.0)];
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert_eq!(rank(f64::NAN, 0.0), 0);
    }
}
