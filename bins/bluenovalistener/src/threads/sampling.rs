use std::time::{Duration, Instant};

use bluenova_record::{COLUMNS, PackRecord};

/// Length of an interval from which on its values are shown before its end, and how often they are.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(30);

/// How long an interval that has just begun may lack values before it is shown as it is: a battery
/// sends all of them within two seconds or so.
const COMPLETE_WITHIN: Duration = Duration::from_secs(10);

/// Time from a sample that lacks values to the next one.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// When the values so far of a long interval are shown.
///
/// An interval that has just begun has few values. They would make all others unknown until the
/// next sample, so that it isn't shown before it has as many as were shown last.
#[derive(Debug)]
pub(super) struct Sampling {
    due: Instant,
    try_at: Instant,
    /// Values that were known in what was shown last, sample or row.
    known: Option<usize>,
}

impl Sampling {
    /// `None` if intervals are short: then their rows are enough.
    pub(super) fn begin(interval: Duration, now: Instant) -> Option<Self> {
        (interval > SAMPLE_EVERY).then_some(Self { due: now, try_at: now, known: None })
    }

    /// Whether a sample is to be tried.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.try_at
    }

    /// Whether this sample is shown.
    pub(super) fn shows(&mut self, sample: &PackRecord, now: Instant) -> bool {
        let known = known(sample);
        if self.known.is_some_and(|shown| known < shown) && now < self.due + COMPLETE_WITHIN {
            self.try_at = now + RETRY_AFTER;
            return false;
        }
        // The first one may have come in the middle of the battery's lines.
        let is_first = self.known.replace(known).is_none();
        self.due = now + if is_first { RETRY_AFTER } else { SAMPLE_EVERY };
        self.try_at = self.due;
        true
    }

    /// A row is shown.
    pub(super) fn row_came(&mut self, row: &PackRecord) {
        self.known = Some(known(row));
    }
}

fn known(record: &PackRecord) -> usize {
    COLUMNS.iter().filter(|column| column.get(record).is_some()).count()
}

#[cfg(test)]
mod tests {
    use time::UtcDateTime;

    use super::*;

    /// A record in which so many cells have a voltage.
    fn record(cells: usize) -> PackRecord {
        let mut record = PackRecord::new(UtcDateTime::UNIX_EPOCH, 1);
        record.cell_v[..cells].fill(Some(3.3));
        record
    }

    #[test]
    fn an_interval_that_has_just_begun_is_not_shown_until_it_is_complete() {
        let start = Instant::now();
        let mut sampling = Sampling::begin(Duration::from_secs(60), start).unwrap();
        // The seconds, and cells in the sample; how many are shown, `None`: it isn't tried.
        for (seconds, cells, expected) in [
            (0, 3, Some(true)),
            (1, 16, None),
            (2, 16, Some(true)),
            (31, 16, None),
            (32, 16, Some(true)),
            // A new interval.
            (62, 1, Some(false)),
            (63, 9, None),
            (64, 15, Some(false)),
            (66, 16, Some(true)),
            (95, 16, None),
            // One of the cells is silent from now on.
            (96, 15, Some(false)),
            (104, 15, Some(false)),
            (106, 15, Some(true)),
            (135, 15, None),
            (136, 15, Some(true)),
        ] {
            let now = start + Duration::from_secs(seconds);
            let shown = sampling.is_due(now).then(|| sampling.shows(&record(cells), now));
            assert_eq!(shown, expected, "{seconds} s");
        }
        // As many as the row is enough.
        sampling.row_came(&record(14));
        assert!(sampling.shows(&record(14), start + Duration::from_secs(166)));
    }

    #[test]
    fn short_intervals_are_not_sampled() {
        assert!(Sampling::begin(Duration::from_secs(30), Instant::now()).is_none());
    }
}
