use std::{
    error::Error,
    io::ErrorKind,
    mem::{self, Discriminant},
    time::{Duration, Instant},
};

use bluenova_record::ErrorChain;
use bluenova_status::{BatteryStatus, Shared, duration};
use log::{info, warn};

use super::{
    RecorderInput,
    connection_events::{ConnectionEvents, Sent},
    outage::Outage,
};
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

/// Logger of the changes of one battery's connection, which also puts them into the status and
/// among the events.
pub(super) struct ConnectionLog {
    battery: Battery,
    status: Shared<BatteryStatus>,
    up_since: Option<Instant>,
    outage: Option<Outage<Trouble>>,
    /// Number of short connections in a row.
    short: u32,
    events: ConnectionEvents,
}

impl ConnectionLog {
    pub(super) fn new(
        battery: Battery,
        status: Shared<BatteryStatus>,
        recorder: RecorderInput,
    ) -> Self {
        let events = ConnectionEvents::new(battery.name.clone(), recorder);
        Self { battery, status, up_since: None, outage: None, short: 0, events }
    }

    pub(super) fn connected(&mut self) {
        self.status.update(BatteryStatus::connected);
        let now = Instant::now();
        self.up_since = Some(now);
        if self.short >= SHORT_ONES {
            return;
        }
        let Battery { name, address } = &self.battery;
        self.events.connected(now, &address.to_string());
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
                let since = self.up_since.unwrap_or_else(Instant::now);
                self.events.connected(since, &self.battery.address.to_string());
            }
            self.short = 0;
            self.outage = None;
        }
    }

    /// The connection is lost, because the battery was `silent_since` then, if it was.
    pub(super) fn lost(&mut self, why: &dyn Error, silent_since: Option<Instant>) {
        self.lasts();
        let why = self.disconnected(why);
        match silent_since {
            Some(since) => self.events.send(Sent::Silent, since, &why),
            None => self.events.send(Sent::Lost, Instant::now(), &why),
        }
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
        let kind = mem::discriminant(error);
        self.events.send(Sent::NotReachable(kind), Instant::now(), &why);
        let outage = self.outage.get_or_insert_with(Outage::begin);
        if outage.is_due(Trouble::NotReachable(kind)) {
            let (name, lasting) = (&self.battery.name, lasting(outage.lasted()));
            let advice = what_to_look_at(error);
            warn!("{name}: not reachable: {why}{lasting}. {advice} Redialling");
        }
    }

    /// The battery has sent its MCU ID.
    pub(super) fn identified(&mut self, mcu_id: u32) {
        self.events.identified(Instant::now(), mcu_id);
    }

    /// The battery has sent lines on this connection, but no MCU ID.
    pub(super) fn has_no_mcu_id(&mut self) {
        let since = self.up_since.unwrap_or_else(Instant::now);
        self.events.send(Sent::NoMcuId, since, "");
    }

    fn disconnected(&self, why: &dyn Error) -> String {
        let why = ErrorChain(why).to_string();
        self.status.update(|status| status.disconnected(why.clone()));
        why
    }
}

/// What a person should look at where a battery can't be connected to.
pub(crate) fn what_to_look_at(error: &bluenova_websocket::Error) -> &'static str {
    use bluenova_websocket::Error;
    match error {
        Error::Lookup { .. } | Error::LookupTimedOut { .. } => {
            "Is the name right? The battery's IP address, in place of it, needs no name service."
        }
        Error::Connect { source, .. } if source.kind() == ErrorKind::ConnectionRefused => {
            "A machine has that address, but nothing listens on that port: are both the battery's?"
        }
        Error::HandshakeTimedOut { .. }
        | Error::Refused { .. }
        | Error::Redirected { .. }
        | Error::NotWebSocket(_)
        | Error::HungUp => {
            "Something else than a battery may be there: are address, port and path right?"
        }
        _ => "Is the battery switched on, and in this network?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_about_what_went_wrong() {
        use bluenova_websocket::Error;
        let address = std::net::SocketAddr::from(([10, 0, 0, 2], 9000));
        let connect = |kind: ErrorKind| Error::Connect { address, tried: 1, source: kind.into() };
        let lookup = Error::Lookup { host: "x".to_owned(), source: ErrorKind::Other.into() };
        for (error, word) in [
            (lookup, "name"),
            (connect(ErrorKind::ConnectionRefused), "port"),
            (connect(ErrorKind::HostUnreachable), "switched on"),
            (Error::Refused { status: 404 }, "path"),
            (Error::HungUp, "else than a battery"),
        ] {
            assert!(what_to_look_at(&error).contains(word), "{error}");
        }
    }
}
