use std::time::{Duration, Instant};

/// First and longest back-off of rows that wait on their own. Each is twice as long as the one
/// before, unless some row was delivered.
const FIRST_BACK_OFF: Duration = Duration::from_secs(60);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(3600);

/// When the rows that wait on their own are retried.
#[derive(Debug)]
pub(super) struct RetrySchedule {
    back_off: Duration,
    /// `None`: no row waits.
    due: Option<Instant>,
}

impl RetrySchedule {
    /// Rows of an earlier run may wait.
    pub(super) fn begin(now: Instant) -> Self {
        Self { back_off: FIRST_BACK_OFF, due: Some(now) }
    }

    /// Another row waits.
    pub(super) fn row_added(&mut self, now: Instant) {
        self.due.get_or_insert(now + self.back_off);
    }

    /// The server may be another one: what waits is due.
    pub(super) fn server_is_back(&mut self, now: Instant) {
        if self.due.is_some() {
            self.due = Some(now);
        }
    }

    /// All rows were tried: some were delivered, some are left.
    pub(super) fn tried(&mut self, delivered: usize, left: usize, now: Instant) {
        let is_new = delivered > 0 || left == 0;
        let longer = (self.back_off * 2).min(LONGEST_BACK_OFF);
        self.due = (left > 0).then(|| now + if is_new { FIRST_BACK_OFF } else { self.back_off });
        self.back_off = if is_new { FIRST_BACK_OFF } else { longer };
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Time until they are due; `None`: no row waits.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_back_off_grows_from_a_minute_to_an_hour() {
        let now = Instant::now();
        let mut schedule = RetrySchedule::begin(now);
        assert!(schedule.is_due(now), "rows of an earlier run");
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            schedule.tried(0, 3, now);
            assert_eq!(schedule.due_in(now), Some(minutes * MINUTE));
            // Others wait for the same time.
            schedule.row_added(now);
            assert_eq!(schedule.due_in(now), Some(minutes * MINUTE));
            assert!(!schedule.is_due(now) && schedule.is_due(now + minutes * MINUTE));
        }
        schedule.server_is_back(now);
        assert!(schedule.is_due(now));
        schedule.tried(1, 2, now);
        assert_eq!(schedule.due_in(now), Some(MINUTE));
    }

    #[test]
    fn nothing_is_due_while_no_row_waits() {
        let now = Instant::now();
        let mut schedule = RetrySchedule::begin(now);
        schedule.tried(0, 0, now);
        schedule.server_is_back(now);
        assert_eq!(schedule.due_in(now), None);
        schedule.row_added(now);
        assert_eq!(schedule.due_in(now), Some(MINUTE));
    }
}
