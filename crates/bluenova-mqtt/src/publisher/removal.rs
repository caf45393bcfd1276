//! What is removed from the broker, and so from Home Assistant; and what is withdrawn.

use std::collections::BTreeSet;

use bluenova_record::McuId;
use bluenova_status::Status;

use super::{Message, Output, Published, Publisher};
use crate::{
    Announced,
    announced::{Listed, gone},
};

impl Publisher {
    /// Removes the topics of devices that are gone, and those that devices had under other options.
    pub(super) fn remove_gone<O: Output>(
        &mut self,
        status: &Status,
        has_bank: bool,
        output: &mut O,
    ) -> Result<(), O::Error> {
        let listed: Vec<_> = status.batteries.iter().map(Listed::new).collect();
        let mut topics = gone(&self.announced, &listed, has_bank);
        for topic in &topics {
            // What is gone may come back, and is announced again then.
            match self.announced.get(topic).and_then(|device| device.mcu_id) {
                Some(id) => _ = self.batteries.remove(&McuId(id)),
                None => self.bank = Published::default(),
            }
        }
        // Options don't change in a run: once for each connection is enough.
        if !self.listener_is_online {
            topics.extend(self.of_other_options());
        }
        if topics.is_empty() {
            return Ok(());
        }
        for topic in &topics {
            output.publish(removal(topic.clone()))?;
        }
        output.flush()?;
        for topic in topics {
            self.removed(topic, output);
        }
        Ok(())
    }

    /// Topics that were remembered in runs with other prefixes, with discovery, or under another id
    /// of the listener.
    fn of_other_options(&self) -> BTreeSet<String> {
        let is_other = |(topic, device): &(&String, &Announced)| {
            let of = device.mcu_id.map(McuId);
            !device.is_removed
                && **topic != self.topics.availability_of(of)
                && self.discovery_topic(of).as_ref() != Some(*topic)
        };
        self.announced.iter().filter(is_other).map(|(topic, _)| topic.clone()).collect()
    }

    fn discovery_topic(&self, of: Option<McuId>) -> Option<String> {
        let discovery = self.discovery.as_ref()?;
        Some(discovery.topic(&self.topics.device(of)))
    }

    /// The topic has nothing retained any more. A device is remembered nevertheless until Home
    /// Assistant starts: if it is away now, it misses the removal.
    fn removed<O: Output>(&mut self, topic: String, output: &mut O) {
        let is_device = |device: &&mut Announced| !device.components.is_empty();
        if let Some(device) = self.announced.get_mut(&topic).filter(is_device) {
            device.is_removed = true;
            output.remember(&topic, device);
        } else {
            self.announced.remove(&topic);
            output.forget(&topic);
        }
    }

    /// Removes devices once more, after a start of Home Assistant: it keeps those whose removal it
    /// has missed, and removes none before it was announced to it again.
    pub(super) fn repeat_removals<O: Output>(&mut self, output: &mut O) -> Result<(), O::Error> {
        let removed = self.announced.iter().filter(|(_, device)| device.is_removed);
        let topics: Vec<String> = removed.map(|(topic, _)| topic.clone()).collect();
        for topic in &topics {
            let Some(device) = self.announced.get(topic) else { continue };
            let of = device.mcu_id.map(McuId);
            let Some(discovery) = &self.discovery else { continue };
            if self.discovery_topic(of).as_ref() == Some(topic) {
                let message = discovery.bare_message(&self.topics.device(of), &device.components);
                let payload = message.to_string().into();
                output.publish(Message { topic: topic.clone(), payload, is_retained: false })?;
                output.publish(removal(topic.clone()))?;
            }
        }
        if !topics.is_empty() {
            output.flush()?;
        }
        for topic in topics {
            self.announced.remove(&topic);
            output.forget(&topic);
        }
        Ok(())
    }

    /// The batteries of an earlier run that have sent no MCU ID in this one aren't available,
    /// whatever was published then.
    pub(super) fn withdraw_silent<O: Output>(&mut self, output: &mut O) -> Result<(), O::Error> {
        let known = self.announced.values().filter(|device| !device.is_removed);
        let known: Vec<_> = known
            .filter_map(|device| Some((McuId(device.mcu_id?), device.addresses.clone())))
            .collect();
        for (mcu_id, addresses) in known {
            let published = self.batteries.get(&mcu_id);
            if published.is_none_or(|published| published.availability.is_none()) {
                self.availability(Some(mcu_id), false, || addresses, output)?;
            }
        }
        Ok(())
    }
}

fn removal(topic: String) -> Message {
    Message { topic, payload: vec![], is_retained: true }
}
