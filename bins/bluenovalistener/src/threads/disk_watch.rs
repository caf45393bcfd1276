use std::{
    path::PathBuf,
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use bluenova_http::RateLimit;
use bluenova_status::{BatteryStatus, Shared, StorageStatus, duration};
use log::{error, info};

use super::{Assembled, NewEvent, battery::RecorderGone, outage::REMINDER};
use crate::{console::rows, service_manager::ServiceManager};

/// How long a call of the spool may take: longer than SQLite waits for a lock, and than a file and
/// its stand-in together.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// From when on the watchdog is fed in place of the recorder, which waits for the disk: well
/// below half of any reasonable time of a watchdog.
const FEED_AFTER: Duration = Duration::from_secs(1);

/// How far the recorder has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecorderProgress {
    /// Rows that a battery thread has sent, and that are not stored yet.
    pub(crate) unstored: u64,
    /// Since when a call of the spool lasts.
    pub(super) busy_since: Option<Instant>,
}

/// What the recorder receives.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all messages are rows")]
pub(crate) enum RecorderMessage {
    Row(Assembled),
    Event(NewEvent),
    /// A battery is listened to from now on. Its number is never used again.
    Added {
        number: usize,
        status: Shared<BatteryStatus>,
    },
    /// A battery isn't listened to any more; it has sent its last row, unless its thread is late.
    Removed {
        number: usize,
    },
}

/// The way to the recorder, which counts what is under way.
#[derive(Clone)]
pub(crate) struct RecorderInput {
    recorder: Sender<RecorderMessage>,
    progress: Shared<RecorderProgress>,
}

impl RecorderInput {
    pub(crate) fn new(
        recorder: Sender<RecorderMessage>,
        progress: Shared<RecorderProgress>,
    ) -> Self {
        Self { recorder, progress }
    }

    pub(super) fn send(&self, assembled: Assembled) -> Result<(), RecorderGone> {
        self.progress.update(|progress| progress.unstored += 1);
        self.recorder.send(RecorderMessage::Row(assembled)).map_err(|_| RecorderGone)
    }

    /// Sends an event. Whoever does goes on without the recorder.
    pub(crate) fn note(&self, event: NewEvent) {
        let _ = self.recorder.send(RecorderMessage::Event(event));
    }

    /// To be called before the first row of a battery is sent.
    pub(crate) fn add_battery(&self, number: usize, status: Shared<BatteryStatus>) {
        let _ = self.recorder.send(RecorderMessage::Added { number, status });
    }

    /// To be called after the last row of a battery was sent, or when its thread doesn't end.
    pub(crate) fn remove_battery(&self, number: usize) {
        let _ = self.recorder.send(RecorderMessage::Removed { number });
    }
}

/// Watches the recorder from outside: a disk that hangs, rather than fail, holds up its thread, and
/// nobody can store the rows that come meanwhile. They are in memory, and a watchdog that ended the
/// program would lose them, without mending the disk; so it is fed from here.
pub(crate) struct DiskWatch {
    journal: PathBuf,
    progress: Shared<RecorderProgress>,
    manager: ServiceManager,
    status: Shared<StorageStatus>,
    limit: RateLimit<()>,
    /// What was in the status before the disk began to hang, and what is there now.
    hanging: Option<(Option<String>, String)>,
}

impl DiskWatch {
    pub(crate) fn new(
        progress: Shared<RecorderProgress>,
        manager: ServiceManager,
        status: Shared<StorageStatus>,
    ) -> Self {
        let journal = status.get().journal;
        Self { journal, progress, manager, status, limit: RateLimit::new(REMINDER), hanging: None }
    }

    /// Puts a disk that hangs into status and log. To be called every second or so.
    pub(crate) fn look(&mut self, now: Instant) {
        let RecorderProgress { unstored, busy_since } = self.progress.get();
        let lasts = busy_since.map(|since| now.saturating_duration_since(since));
        if lasts.is_some_and(|lasts| lasts >= FEED_AFTER) {
            self.manager.feed_watchdog();
        }
        match lasts.filter(|&lasts| lasts >= HANGS_AFTER) {
            Some(lasts) => self.hangs(unstored, lasts, now),
            None => self.answers(),
        }
    }

    fn hangs(&mut self, unstored: u64, lasts: Duration, now: Instant) {
        let path = self.journal.display();
        let why = format!("the disk of {path} has not answered for {}", duration(lasts));
        let before = self.status.update(|storage| {
            storage.only_in_memory = unstored;
            storage.trouble.replace(why.clone())
        });
        let before = self.hanging.take().map_or(before, |(before, _)| before);
        self.hanging = Some((before, why.clone()));
        if self.limit.is_due((), now) {
            let rows = rows(unstored);
            error!(
                "{why}. Until it does, rows are in memory only ({rows} so far), and are lost if \
                 the program ends"
            );
        }
    }

    fn answers(&mut self) {
        let Some((before, why)) = self.hanging.take() else { return };
        self.status.update(|storage| {
            // The recorder may have put something else there.
            if storage.trouble.as_ref() == Some(&why) {
                storage.trouble = before;
            }
        });
        self.limit = RateLimit::new(REMINDER);
        info!("the disk of {} answers again", self.journal.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service_manager::tests::socket;

    #[test]
    fn the_watchdog_is_fed_for_a_recorder_that_waits_for_the_disk_and_for_no_other() {
        let now = Instant::now();
        let progress = Shared::new(RecorderProgress { unstored: 3, busy_since: Some(now) });
        let (socket, manager, _directory) = socket(Duration::from_secs(60));
        let mut watch = DiskWatch::new(progress.clone(), manager, Shared::default());
        socket.set_nonblocking(true).unwrap();
        let mut fed = |seconds| {
            watch.look(now + Duration::from_secs(seconds));
            socket.recv(&mut [0; 100]).is_ok()
        };
        assert_eq!([0, 1, 2, 3600].map(&mut fed), [false, true, true, true]);
        progress.update(|progress| progress.busy_since = None);
        assert!(!fed(3601), "the recorder does that itself, if it can");
    }

    #[test]
    fn a_call_that_does_not_end_shows_in_the_status_until_it_does() {
        let now = Instant::now();
        let storage = Shared::new(StorageStatus {
            trouble: Some("a bad sector".to_owned()),
            ..StorageStatus::default()
        });
        let progress = Shared::new(RecorderProgress { unstored: 3, busy_since: Some(now) });
        let mut watch =
            DiskWatch::new(progress.clone(), ServiceManager::default(), storage.clone());
        watch.look(now + HANGS_AFTER - Duration::from_secs(1));
        assert_eq!(storage.get().only_in_memory, 0);
        for seconds in [0, 1] {
            watch.look(now + HANGS_AFTER + Duration::from_secs(seconds));
            let StorageStatus { only_in_memory, trouble, .. } = storage.get();
            let trouble = trouble.unwrap();
            assert_eq!(only_in_memory, 3);
            assert!(trouble.ends_with(&format!("for 3{seconds} s")), "{trouble}");
        }

        progress.update(|progress| progress.busy_since = None);
        watch.look(now + HANGS_AFTER * 2);
        assert_eq!(storage.get().trouble.as_deref(), Some("a bad sector"));
    }
}
