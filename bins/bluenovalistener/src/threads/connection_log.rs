use std::{
    error::Error,
    mem::{self, Discriminant},
    time::{Duration, Instant},
};

use bluenova_http::{BatteryStatus, Shared, duration};
use bluenova_record::ErrorChain;
use log::{info, warn};

use super::outage::Outage;
use crate::{console::lasting, settings::Battery};

/// Length below which a connection is short: many short ones in a row are logged once an hour.
const SHORT: Duration = Duration::from_secs(60);

/// Number of short connections in a row that are logged one by one.
const SHORT_ONES: u32 = 10;

/// Kind of a trouble with a connection: each is logged once an hour.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    NotReachable(Discriminant<bluenova_websocket::Error>),
    KeepsBreaking,
}

/// Logger of the changes of one battery's connection, which also puts them into the status.
pub(super) struct ConnectionLog {
    battery: Battery,
    status: Shared<BatteryStatus>,
    up_since: Option<Instant>,
    outage: Option<Outage<Trouble>>,
    /// Number of short connections in a row.
    short: u32,
}

impl ConnectionLog {
    pub(super) fn new(battery: Battery, status: Shared<BatteryStatus>) -> Self {
        Self { battery, status, up_since: None, outage: None, short: 0 }
    }

    pub(super) fn connected(&mut self) {
        self.status.update(BatteryStatus::connected);
        self.up_since = Some(Instant::now());
        if self.short >= SHORT_ONES {
            return;
        }
        let Battery { name, address } = &self.battery;
        match self.outage.take() {
            Some(outage) => {
                let away = duration(outage.lasted());
                info!("{name}: connected to ws://{address} after {away}");
            }
            None => info!("{name}: connected to ws://{address}"),
        }
    }

    /// Ends a series of short connections, if this one has lasted; called with every tick.
    pub(super) fn lasts(&mut self) {
        if self.short > 0 && self.up_since.is_some_and(|since| since.elapsed() >= SHORT) {
            if self.short >= SHORT_ONES {
                info!("{}: the connection is stable again", self.battery.name);
            }
            self.short = 0;
            self.outage = None;
        }
    }

    pub(super) fn lost(&mut self, why: &dyn Error) {
        self.lasts();
        let why = self.disconnected(why);
        self.up_since = None;
        self.short += 1;
        let outage = self.outage.get_or_insert_with(Outage::begin);
        let name = &self.battery.name;
        if self.short < SHORT_ONES {
            warn!("{name}: connection lost: {why}; redialling");
        } else if outage.is_due(Trouble::KeepsBreaking) {
            let times = self.short;
            warn!("{name}: connection lost {times} times in a row, at last: {why}; redialling");
        }
    }

    pub(super) fn failed(&mut self, error: &bluenova_websocket::Error) {
        let why = self.disconnected(error);
        let outage = self.outage.get_or_insert_with(Outage::begin);
        if outage.is_due(Trouble::NotReachable(mem::discriminant(error))) {
            let (name, lasting) = (&self.battery.name, lasting(outage.lasted()));
            warn!("{name}: not reachable: {why}{lasting}; redialling");
        }
    }

    fn disconnected(&self, why: &dyn Error) -> String {
        let why = ErrorChain(why).to_string();
        self.status.update(|status| status.disconnected(why.clone()));
        why
    }
}
