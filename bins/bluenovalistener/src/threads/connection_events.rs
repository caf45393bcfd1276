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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};

    use bluenova_status::Shared;

    use super::*;
    use crate::threads::RecorderMessage;

    fn new() -> (ConnectionEvents, Receiver<RecorderMessage>) {
        let (sender, messages) = mpsc::channel();
        let recorder = RecorderInput::new(sender, Shared::default());
        (ConnectionEvents::new("attic".to_owned(), recorder), messages)
    }

    fn sent(messages: &Receiver<RecorderMessage>) -> Vec<(EventKind, Option<u32>)> {
        let event = |message| match message {
            RecorderMessage::Event(event) => (event.kind, event.mcu_id),
            other => panic!("{other:?}"),
        };
        messages.try_iter().map(event).collect()
    }

    #[test]
    fn an_outage_is_an_event_of_each_kind() {
        let ((mut events, messages), now) = (new(), Instant::now());
        for _ in 0..2 {
            events.connected(now, "address");
            events.identified(now, 7);
            for kind in [Sent::Lost, Sent::Lost, Sent::Silent, Sent::Lost] {
                events.send(kind, now, "why");
            }
        }
        let first = [(EventKind::Connected, None), (EventKind::Identified, Some(7))];
        let lost = [(EventKind::NotConnected, Some(7)), (EventKind::Silent, Some(7))];
        let again = [(EventKind::Connected, Some(7)), (EventKind::Identified, Some(7))];
        assert_eq!(sent(&messages), [first, lost, again, lost].concat());
    }

    /// As after many short connections, of which not each was an event.
    #[test]
    fn a_connection_that_turns_out_to_last_has_its_mcu_id() {
        let ((mut events, messages), now) = (new(), Instant::now());
        events.send(Sent::Lost, now, "why");
        events.identified(now, 7);
        events.send(Sent::Lost, now, "why");
        events.identified(now, 7);
        let lost = [(EventKind::NotConnected, None), (EventKind::Identified, Some(7))];
        assert_eq!(sent(&messages), lost, "the others are no change");
        events.connected(now, "address");
        let stable = [(EventKind::Connected, Some(7)), (EventKind::Identified, Some(7))];
        assert_eq!(sent(&messages), stable);
        // The next connection has to send it anew.
        events.send(Sent::Silent, now, "why");
        events.connected(now, "address");
        let expected = [(EventKind::Silent, Some(7)), (EventKind::Connected, Some(7))];
        assert_eq!(sent(&messages), expected);
    }
}
