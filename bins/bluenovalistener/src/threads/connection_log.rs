//! The connection to one battery, of which every change is told and logged once.

use std::{
    error::Error,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use log::{info, warn};

use crate::{outage::Outage, settings::Battery, status::BatteryNotes, text};

/// A connection that lasted less is one of a battery that comes and goes.
const SHORT: Duration = Duration::from_secs(60);

/// Short connections that are mentioned one by one.
const SHORT_ONES: u32 = 10;

/// What is wrong with a connection. Two errors of a sort are no news.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Failed(mem::Discriminant<bluenova_websocket::Error>),
    ComesAndGoes,
}

pub(crate) struct Link {
    notes: Arc<BatteryNotes>,
    up_since: Option<Instant>,
    outage: Option<Outage<Kind>>,
    /// Connections in a row that didn't last.
    short: u32,
}

impl Link {
    pub(crate) fn new(notes: Arc<BatteryNotes>) -> Self {
        Self { notes, up_since: None, outage: None, short: 0 }
    }

    pub(crate) fn connected(&mut self, Battery { name, address }: &Battery) {
        self.notes.connected();
        self.up_since = Some(Instant::now());
        if self.short >= SHORT_ONES {
            return;
        }
        match self.outage.take() {
            Some(outage) => {
                let away = text::duration(outage.lasted());
                info!("{name}: connected to ws://{address} after {away}");
            }
            None => info!("{name}: connected to ws://{address}"),
        }
    }

    /// The connection is up; called now and then.
    pub(crate) fn lasts(&mut self, name: &str) {
        if self.short > 0 && self.up_since.is_some_and(|since| since.elapsed() >= SHORT) {
            if self.short >= SHORT_ONES {
                info!("{name}: the connection holds again");
            }
            self.short = 0;
            self.outage = None;
        }
    }

    pub(crate) fn lost(&mut self, name: &str, why: &dyn Error) {
        self.lasts(name);
        let why = text::chain(why);
        self.notes.disconnected(&why);
        self.up_since = None;
        self.short += 1;
        let outage = self.outage.get_or_insert_with(Outage::begin);
        if self.short < SHORT_ONES {
            warn!("{name}: connection lost: {why}; redialling");
        } else if outage.is_news(Kind::ComesAndGoes) {
            warn!("{name}: comes and goes, {} times so far: {why}; redialling", self.short);
        }
    }

    pub(crate) fn failed(&mut self, name: &str, error: &bluenova_websocket::Error) {
        let why = text::chain(error);
        self.notes.disconnected(&why);
        let outage = self.outage.get_or_insert_with(Outage::begin);
        if outage.is_news(Kind::Failed(mem::discriminant(error))) {
            warn!("{name}: not reachable: {why}{}; trying again", text::since(outage.lasted()));
        }
    }
}
