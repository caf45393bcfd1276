//! Threads that look at the disk and at the journal, and that nobody waits for at the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bluenova_journal::Reader;
use bluenova_record::ErrorChain;
use bluenova_status::{LiveStatus, Shared};
use log::warn;

use super::spawn;
use crate::{
    service_manager::ServiceManager,
    threads::{DiskWatch, RecorderProgress},
};

/// How often the disk is watched.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How often the rows that PostgreSQL has rejected are counted.
const COUNT_SET_ASIDE_EVERY: Duration = Duration::from_secs(2);

/// Starts to watch whether the recorder's disk answers. At the end the thread isn't waited for: the
/// disk may hang that holds the log, too.
pub(super) fn watch_disk(
    progress: Shared<RecorderProgress>,
    manager: ServiceManager,
    status: &LiveStatus,
    stop: &Arc<AtomicBool>,
) {
    let mut watch = DiskWatch::new(progress, manager, status.storage.clone());
    let stop = Arc::clone(stop);
    let look = move || {
        while !stop.load(Ordering::Relaxed) {
            watch.look(Instant::now());
            thread::sleep(WATCH_EVERY);
        }
        Ok(())
    };
    if let Err(error) = spawn("disk watch", look) {
        warn!("{}; a disk that hangs will not be noticed", ErrorChain(&error));
    }
}

/// Starts to count the rows that PostgreSQL has rejected, for the page. The count is read from the
/// journal, since `set-aside --retry` in another process changes it too. If the disk hangs, only
/// this thread does; at the end it isn't waited for.
pub(super) fn count_set_aside(status: &LiveStatus, stop: &Arc<AtomicBool>) {
    let Some(delivery) = status.delivery.clone() else { return };
    let (journal, stop) = (status.storage.get().journal, Arc::clone(stop));
    let count = move || {
        while !stop.load(Ordering::Relaxed) {
            // If the journal can't be read, the status has that already.
            let counted = Reader::open(&journal)
                .and_then(|reader| Ok((reader.set_aside()?, reader.retried()?)));
            if let Ok((count, retried)) = counted {
                let rejected = Some(count.saturating_sub(retried));
                delivery.update(|delivery| {
                    (delivery.set_aside, delivery.retried) = (rejected, Some(retried));
                });
            }
            thread::sleep(COUNT_SET_ASIDE_EVERY);
        }
        Ok(())
    };
    if let Err(error) = spawn("set aside", count) {
        warn!("{}; the page doesn't show rejected rows", ErrorChain(&error));
    }
}
