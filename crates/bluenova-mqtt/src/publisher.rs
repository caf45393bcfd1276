//! What is published when. No I/O: messages go to an [`Output`].

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use bluenova_record::{McuId, PackRecord};
use bluenova_status::{
    Newest, Status,
    bank::{self, Share, Unit},
};
use serde::Serialize;
use time::UtcDateTime;

use crate::{
    Announced, Discovery, Topics,
    announced::{Listed, gone},
    discovery::Device,
    entities::{self, Entity},
    state::{BankState, BatteryState},
};

/// Time after which the state is sent again behind an announcement. Home Assistant subscribes to
/// the state only after it has read the announcement, and the state isn't retained.
const REPEAT_AFTER: Duration = Duration::from_secs(5);

/// A message to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its content; an empty one removes a retained message.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for clients to come. These are acknowledged (QoS 1), the others
    /// are not (QoS 0): the next one is better than this one again.
    pub is_retained: bool,
}

/// Where messages go, and where announced devices are remembered.
pub trait Output {
    /// Why it can't take more.
    type Error;

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is lost.
    fn publish(&mut self, message: Message) -> Result<(), Self::Error>;

    /// Remembers what is about to be announced on this topic.
    fn remember(&mut self, topic: &str, announced: &Announced);

    /// Waits until the broker has acknowledged all retained messages, and forgets what was
    /// announced on these topics.
    ///
    /// # Errors
    /// The connection is lost.
    fn forget(&mut self, topics: &[String]) -> Result<(), Self::Error>;
}

/// Decides what is published, from one status of the listener to the next.
#[derive(Debug)]
pub struct Publisher {
    topics: Topics,
    discovery: Option<Discovery>,
    announced: BTreeMap<String, Announced>,
    batteries: HashMap<McuId, Published>,
    bank: Published,
    listener_is_online: bool,
}

/// What the broker has of a battery or of the bank on this connection.
#[derive(Debug, Default)]
struct Published {
    /// The name and the number of cells with which it was announced.
    announced_as: Option<(Option<String>, usize)>,
    availability: Option<bool>,
    /// Time of the values.
    state: Option<UtcDateTime>,
    /// When the state is sent once more.
    repeat_at: Option<Instant>,
}

impl Publisher {
    /// A publisher that has no connection yet. `announced` is what was announced and not removed in
    /// earlier runs, by topic. Without `discovery` all of that is removed.
    pub fn new(
        topics: Topics,
        discovery: Option<Discovery>,
        announced: BTreeMap<String, Announced>,
    ) -> Self {
        Self {
            topics,
            discovery,
            announced,
            batteries: HashMap::new(),
            bank: Published::default(),
            listener_is_online: false,
        }
    }

    /// The message that the listener is away: the last one before a connection is closed, and the
    /// broker's when one ends without it.
    pub fn farewell(&self) -> Message {
        availability(self.topics.listener_availability(), false)
    }

    /// There is a new connection, on which nothing was published yet.
    pub fn connected(&mut self) {
        self.batteries.clear();
        self.bank = Published::default();
        self.listener_is_online = false;
    }

    /// Home Assistant has started: it has no states, and may lack devices.
    pub fn home_assistant_started(&mut self) {
        for published in self.batteries.values_mut().chain([&mut self.bank]) {
            (published.announced_as, published.state) = (None, None);
        }
    }

    /// Publishes what is new in this status.
    ///
    /// # Errors
    /// Those of `output`. What it has taken counts as published.
    pub fn publish<O: Output>(&mut self, status: &Status, output: &mut O) -> Result<(), O::Error> {
        let units = bank::units(status);
        let mut has_news = false;
        for unit in &units {
            has_news |= self.battery(unit, status, output)?;
        }
        let has_bank = units.len() > 1;
        if has_bank && (has_news || self.bank.availability.is_none()) {
            self.bank(&units, status, output)?;
        }
        self.remove_gone(&units, has_bank, output)?;
        // Last: until then all is unavailable, so that no old value shows up for a moment.
        if !self.listener_is_online {
            self.withdraw_silent(output)?;
            output.publish(availability(self.topics.listener_availability(), true))?;
            self.listener_is_online = true;
        }
        Ok(())
    }

    /// Publishes what is new of a battery; returns whether something is.
    fn battery<O: Output>(
        &mut self,
        unit: &Unit<'_>,
        status: &Status,
        output: &mut O,
    ) -> Result<bool, O::Error> {
        let Some(mcu_id) = unit.mcu_id().map(McuId) else { return Ok(false) };
        let fresh = fresh(unit, status);
        let mut has_news = false;
        if let Some(record) = fresh {
            self.announce_battery(mcu_id, unit, record, status.instant, output)?;
            let published = self.batteries.entry(mcu_id).or_default();
            let repeats = published.repeat_at.take_if(|at| *at <= status.instant).is_some();
            has_news = published.state != Some(record.insert_time_utc);
            if has_news || repeats {
                output.publish(state(self.topics.state(mcu_id), &BatteryState(record)))?;
                published.state = Some(record.insert_time_utc);
            }
        }
        let published = self.batteries.entry(mcu_id).or_default();
        if published.availability != Some(fresh.is_some()) {
            output.publish(availability(self.topics.availability(mcu_id), fresh.is_some()))?;
            published.availability = Some(fresh.is_some());
            has_news = true;
        }
        Ok(has_news)
    }

    fn announce_battery<O: Output>(
        &mut self,
        mcu_id: McuId,
        unit: &Unit<'_>,
        record: &PackRecord,
        now: Instant,
        output: &mut O,
    ) -> Result<(), O::Error> {
        let cells = entities::cells(record.cell_count);
        let name = given_name(unit);
        let published = self.batteries.entry(mcu_id).or_default();
        let is_announced = published
            .announced_as
            .as_ref()
            .is_some_and(|(announced, number)| announced.as_deref() == name && *number == cells);
        if is_announced || self.discovery.is_none() {
            return Ok(());
        }
        published.announced_as = Some((name.map(ToOwned::to_owned), cells));
        published.repeat_at = Some(now + REPEAT_AFTER);
        let device = Device::battery(mcu_id, name, &self.topics);
        let addresses = unit.batteries.iter().map(|battery| battery.address.clone()).collect();
        self.announce(&device, &entities::battery(cells), addresses, output)
    }

    fn bank<O: Output>(
        &mut self,
        units: &[Unit<'_>],
        status: &Status,
        output: &mut O,
    ) -> Result<(), O::Error> {
        let known: Vec<_> = units.iter().filter_map(|unit| fresh(unit, status)).collect();
        if !known.is_empty() {
            if self.bank.announced_as.is_none() && self.discovery.is_some() {
                self.bank.announced_as = Some((None, 0));
                let device = Device::bank(&self.topics);
                self.announce(&device, &entities::bank(), vec![], output)?;
            }
            let sum: Share = known.iter().map(|record| Share::of(record)).sum();
            let bank = BankState::new(units.len(), known.len(), &sum);
            output.publish(state(self.topics.bank_state(), &bank))?;
        }
        if self.bank.availability != Some(!known.is_empty()) {
            output.publish(availability(self.topics.bank_availability(), !known.is_empty()))?;
            self.bank.availability = Some(!known.is_empty());
        }
        Ok(())
    }

    fn announce<O: Output>(
        &mut self,
        device: &Device,
        entities: &[Entity],
        addresses: Vec<String>,
        output: &mut O,
    ) -> Result<(), O::Error> {
        let Some(discovery) = &self.discovery else { return Ok(()) };
        let topic = discovery.topic(&device.id);
        let announced = self.announced.entry(topic.clone()).or_default();
        let message = discovery.message(device, entities, &announced.components);
        announced.mcu_id = device.battery.map(|McuId(id)| id);
        announced.addresses = addresses;
        let platform = |entity: &Entity| entity.kind.platform().to_owned();
        announced
            .components
            .extend(entities.iter().map(|entity| (entity.key.to_owned(), platform(entity))));
        // First: what was announced and isn't remembered would never be removed.
        output.remember(&topic, announced);
        output.publish(Message { topic, payload: message.to_string().into(), is_retained: true })
    }

    /// Removes the devices that are gone from the broker, and so from Home Assistant.
    fn remove_gone<O: Output>(
        &mut self,
        units: &[Unit<'_>],
        has_bank: bool,
        output: &mut O,
    ) -> Result<(), O::Error> {
        let batteries = units.iter().flat_map(|unit| &unit.batteries);
        let listed: Vec<_> = batteries
            .map(|battery| Listed {
                address: &battery.address,
                mcu_id: battery.mcu_id().map(McuId),
            })
            .collect();
        let topics = match self.discovery {
            None => self.announced.keys().cloned().collect(),
            Some(_) => gone(&self.announced, &listed, has_bank),
        };
        for topic in &topics {
            let mcu_id = self.announced.get(topic).and_then(|device| device.mcu_id).map(McuId);
            output.publish(removal(topic.clone()))?;
            output.publish(removal(match mcu_id {
                Some(mcu_id) => self.topics.availability(mcu_id),
                None => self.topics.bank_availability(),
            }))?;
        }
        if !topics.is_empty() {
            output.forget(&topics)?;
            self.announced.retain(|topic, _| !topics.contains(topic));
        }
        Ok(())
    }

    /// The batteries that were announced in an earlier run, and that have sent no MCU ID in this
    /// one, aren't available, whatever was published then.
    fn withdraw_silent<O: Output>(&mut self, output: &mut O) -> Result<(), O::Error> {
        for device in self.announced.values() {
            let Some(mcu_id) = device.mcu_id.map(McuId) else { continue };
            let published = self.batteries.entry(mcu_id).or_default();
            if published.availability.is_none() {
                output.publish(availability(self.topics.availability(mcu_id), false))?;
                published.availability = Some(false);
            }
        }
        Ok(())
    }
}

/// The newest values of a battery, by whichever address, unless they are stale.
fn fresh<'a>(unit: &Unit<'a>, status: &Status) -> Option<&'a PackRecord> {
    let newest = unit.batteries.iter().filter_map(|battery| battery.newest_values());
    let newest: &Newest = newest.max_by_key(|newest| newest.received)?;
    (!status.is_stale(status.age(newest))).then_some(&newest.record)
}

/// The name that a person has given to a battery; by default it has that of its host.
fn given_name<'a>(unit: &Unit<'a>) -> Option<&'a str> {
    let battery = unit.batteries.first()?;
    let host = battery.address.trim_start_matches('[');
    (!host.starts_with(&*battery.name)).then_some(&battery.name)
}

fn state(topic: String, state: &impl Serialize) -> Message {
    // Such structs always have JSON; an empty message would at least be no wrong value.
    let payload = serde_json::to_vec(state).unwrap_or_default();
    Message { topic, payload, is_retained: false }
}

fn availability(topic: String, is_available: bool) -> Message {
    let payload = if is_available { "online" } else { "offline" };
    Message { topic, payload: payload.into(), is_retained: true }
}

fn removal(topic: String) -> Message {
    Message { topic, payload: vec![], is_retained: true }
}
