//! The topics of a listener. Only the prefix comes from a person; names of batteries and texts of
//! their firmware are never part of a topic.

use bluenova_record::McuId;

/// The topics of one listener under one prefix.
///
/// Several listeners may share a prefix: what belongs to a listener has its id in the topic.
#[derive(Clone, Debug)]
pub struct Topics {
    prefix: String,
    listener: String,
}

impl Topics {
    /// The topics under `prefix` of the listener with this id: letters and digits that no other
    /// listener at the broker has.
    pub fn new(prefix: &str, listener: &str) -> Self {
        Self { prefix: prefix.to_owned(), listener: listener.to_owned() }
    }

    /// Whether the listener is connected to the broker: `online` or `offline`, retained.
    pub fn listener_availability(&self) -> String {
        format!("{}/listener/{}/availability", self.prefix, self.listener)
    }

    /// The values of a battery.
    pub fn state(&self, battery: McuId) -> String {
        format!("{}/{battery}/state", self.prefix)
    }

    /// The values of the bank of all batteries of the listener.
    pub fn bank_state(&self) -> String {
        format!("{}/bank/{}/state", self.prefix, self.listener)
    }

    /// Whether the values of a battery are fresh, or any in the bank (`None`): `online` or
    /// `offline`, retained.
    pub fn availability_of(&self, battery: Option<McuId>) -> String {
        match battery {
            Some(mcu_id) => format!("{}/{mcu_id}/availability", self.prefix),
            None => format!("{}/bank/{}/availability", self.prefix, self.listener),
        }
    }

    /// Id in Home Assistant of the device of a battery, or of the bank: unique there.
    pub(crate) fn device(&self, battery: Option<McuId>) -> String {
        match battery {
            Some(mcu_id) => format!("bluenova_{mcu_id}"),
            None => format!("bluenova_bank_{}", self.listener),
        }
    }
}
