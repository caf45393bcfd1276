//! The threads of the batteries, which come and go while the program runs.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bluenova_console::Interval;
use bluenova_journal::EventKind;
use bluenova_record::ErrorChain;
use bluenova_status::{BatteryStatus, Limits, Shared};
use log::{error, info, warn};

use super::{LAST_WORK, StartError, Thread, ends_by, spawn};
use crate::{
    file_limit,
    settings::{Battery, Settings},
    threads::{BatteryOutputs, BatteryThread, InsightSource, NewEvent, RecorderInput},
};

/// The running threads of the batteries.
pub(super) struct BatteryThreads {
    interval: Interval,
    limits: Arc<Limits>,
    raw: bool,
    recorder: RecorderInput,
    insights: InsightSource,
    /// The batteries of the status.
    listed: Shared<Vec<Shared<BatteryStatus>>>,
    /// In the order of the settings.
    running: Vec<Running>,
    /// Threads of removed batteries that didn't end in time.
    late: Vec<Thread>,
    next_number: usize,
}

/// A battery that is listened to.
struct Running {
    number: usize,
    battery: Battery,
    status: Shared<BatteryStatus>,
    stop: Arc<AtomicBool>,
    thread: Thread,
}

impl BatteryThreads {
    /// Starts a thread for each battery of the settings. `listed` has their status, and has that of
    /// those that come and go later.
    ///
    /// # Errors
    /// A thread can't be started.
    pub(super) fn start(
        settings: &Settings,
        recorder: RecorderInput,
        insights: InsightSource,
        listed: Shared<Vec<Shared<BatteryStatus>>>,
    ) -> Result<Self, StartError> {
        let Settings { interval, raw, .. } = *settings;
        let limits = Arc::clone(&settings.limits);
        let (running, late, next_number) = (vec![], vec![], 0);
        let mut threads =
            Self { interval, limits, raw, recorder, insights, listed, running, late, next_number };
        raise_file_limit(settings.batteries.len());
        for (battery, status) in settings.batteries.iter().zip(threads.listed.get()) {
            let started = threads.start_one(battery, status)?;
            threads.running.push(started);
        }
        Ok(threads)
    }

    /// Whether a thread has ended that should go on.
    pub(super) fn are_broken(&self) -> bool {
        self.running.iter().any(|running| running.thread.is_finished())
    }

    /// Listens to the batteries of `wanted` from now on: those that are new are dialled, those that
    /// are gone end as at the end of the program, and the others aren't touched. A battery with
    /// another name ends, and is dialled under its new one.
    pub(super) fn change_to(&mut self, mut wanted: Vec<Battery>) {
        raise_file_limit(wanted.len());
        self.keep_names(&mut wanted);
        let kept: HashSet<_> = wanted.iter().map(key).collect();
        let (kept, removed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|running| kept.contains(&key(&running.battery)));
        let (staying, leaving) = (kept.len(), removed.len());
        // Before others begin: a battery may have another name now.
        self.end(removed);
        let mut kept: HashMap<_, _> =
            kept.into_iter().map(|running| (key(&running.battery), running)).collect();
        for battery in &wanted {
            let running = match kept.remove(&key(battery)) {
                Some(running) => Ok(running),
                None => {
                    self.recorder.note(NewEvent::of_battery(EventKind::Added, &battery.name, None));
                    let status = not_dialled_yet(battery, &self.limits, self.interval);
                    status.update(|status| status.added = Some(Instant::now()));
                    self.start_one(battery, status)
                }
            };
            match running {
                Ok(running) => self.running.push(running),
                Err(error) => error!(
                    "{}: {}. It isn't listened to; the next SIGHUP tries again",
                    battery.name,
                    ErrorChain(&error)
                ),
            }
        }
        self.list();
        let added = self.running.len() - staying;
        info!("batteries: {added} added, {leaving} removed, {staying} as before");
    }

    /// Has all threads end, and returns them to be waited for. The recorder ends after them: no
    /// way to it is left here.
    pub(super) fn stop(self) -> Vec<Thread> {
        for running in &self.running {
            running.stop.store(true, Ordering::Relaxed);
        }
        self.running.into_iter().map(|running| running.thread).chain(self.late).collect()
    }

    fn start_one(
        &mut self,
        battery: &Battery,
        status: Shared<BatteryStatus>,
    ) -> Result<Running, StartError> {
        let (number, stop) = (self.next_number, Arc::new(AtomicBool::new(false)));
        self.next_number += 1;
        self.recorder.add_battery(number, status.clone());
        let outputs = BatteryOutputs {
            recorder: self.recorder.clone(),
            insights: self.insights.clone(),
            status: status.clone(),
        };
        let (interval, raw, stopped) = (self.interval, self.raw, Arc::clone(&stop));
        let listener = BatteryThread::new(number, battery, interval, raw, outputs, stopped);
        let listener = Box::new(listener);
        match spawn(&battery.name, move || Ok(listener.run()?)) {
            Ok(thread) => Ok(Running { number, battery: battery.clone(), status, stop, thread }),
            Err(error) => {
                self.recorder.remove_battery(number);
                Err(error)
            }
        }
    }

    /// Ends the threads of batteries, which send their last rows.
    fn end(&mut self, removed: Vec<Running>) {
        for running in &removed {
            running.stop.store(true, Ordering::Relaxed);
        }
        let deadline = Instant::now() + LAST_WORK;
        for Running { number, battery, status, thread, .. } in removed {
            let name = battery.name;
            if ends_by(&thread, deadline) {
                // Its error is in the log.
                let _ = thread.join();
            } else {
                warn!("{name}: removed, but its thread doesn't end yet");
                self.late.push(thread);
            }
            let mcu_id = status.update(|status| status.mcu_id());
            self.recorder.note(NewEvent::of_battery(EventKind::Removed, &name, mcu_id));
            self.recorder.remove_battery(number);
            info!("{name}: removed; not listened to any more");
        }
    }

    /// Keeps the names of running batteries that have none of their own: they were made from
    /// addresses, and would change with the other batteries.
    fn keep_names(&self, wanted: &mut [Battery]) {
        let running: HashMap<_, _> = self
            .running
            .iter()
            .map(|running| (running.battery.address.to_string(), &running.battery))
            .collect();
        let mut names: HashSet<_> = wanted.iter().map(|battery| battery.name.clone()).collect();
        for battery in wanted {
            let before = running.get(&battery.address.to_string());
            let Some(before) = before.filter(|it| it.is_unnamed() && battery.is_unnamed()) else {
                continue;
            };
            if names.insert(before.name.clone()) {
                battery.name.clone_from(&before.name);
            }
        }
    }

    fn list(&self) {
        let status: Vec<_> = self.running.iter().map(|running| running.status.clone()).collect();
        self.listed.update(|listed| *listed = status);
    }
}

fn raise_file_limit(batteries: usize) {
    if let Err(error) = file_limit::raise_for(batteries) {
        warn!("{error}. Batteries beyond that can't be connected to");
    }
}

/// The status of a battery at its start.
pub(super) fn not_dialled_yet(
    battery: &Battery,
    limits: &Arc<Limits>,
    interval: Interval,
) -> Shared<BatteryStatus> {
    let status = BatteryStatus::new(battery.name.clone(), battery.address.to_string());
    Shared::new(status.with_limits(Arc::clone(limits), interval.duration()))
}

/// What makes a battery the same one.
fn key(battery: &Battery) -> (String, String) {
    (battery.name.clone(), battery.address.to_string())
}
