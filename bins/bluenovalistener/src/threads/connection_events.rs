use std::{mem::Discriminant, time::Instant};

use bluenova_journal::EventKind;

use super::{RecorderInput, events::NewEvent};

/// Sends the events of one battery's connection to the recorder: one per change, not per attempt.
pub(super) struct ConnectionEvents {
    battery: String,
    recorder: RecorderInput,
    /// The MCU ID that it has sent last.
    mcu_id: Option<u32>,
    /// Whether it has sent that on this connection.
    is_identified: bool,
    /// What was sent since the last event that it is connected.
    sent: Vec<Sent>,
}

/// An event that is sent once per outage.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sent {
    Connected,
    Identified(u32),
    NotReachable(Discriminant<bluenova_websocket::Error>),
    Lost,
    Silent,
    NoMcuId,
}

impl Sent {
    fn kind(self) -> EventKind {
        match self {
            Self::Connected => EventKind::Connected,
            Self::Identified(_) => EventKind::Identified,
            Self::NotReachable(_) | Self::Lost => EventKind::NotConnected,
            Self::Silent => EventKind::Silent,
            Self::NoMcuId => EventKind::NoMcuId,
        }
    }

    fn ends_connection(self) -> bool {
        matches!(self, Self::NotReachable(_) | Self::Lost | Self::Silent)
    }
}

impl ConnectionEvents {
    pub(super) fn new(battery: String, recorder: RecorderInput) -> Self {
        Self { battery, recorder, mcu_id: None, is_identified: false, sent: vec![] }
    }

    pub(super) fn connected(&mut self, at: Instant, address: &str) {
        self.sent.clear();
        self.send(Sent::Connected, at, address);
        if let Some(mcu_id) = self.mcu_id.filter(|_| self.is_identified) {
            self.send(Sent::Identified(mcu_id), at, "");
        }
    }

    /// It is what the battery calls itself.
    pub(super) fn identified(&mut self, at: Instant, mcu_id: u32) {
        (self.mcu_id, self.is_identified) = (Some(mcu_id), true);
        self.send(Sent::Identified(mcu_id), at, "");
    }

    /// Sends the event if it wasn't sent in this outage.
    pub(super) fn send(&mut self, event: Sent, at: Instant, detail: &str) {
        if event.ends_connection() {
            self.is_identified = false;
        }
        if self.sent.contains(&event) {
            return;
        }
        self.sent.push(event);
        self.recorder.note(NewEvent {
            at,
            kind: event.kind(),
            battery: Some(self.battery.clone()),
            mcu_id: self.mcu_id,
            detail: detail.to_owned(),
        });
    }
}
