//! What is published when. No I/O: messages go to an [`Output`].

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use bluenova_record::{CELLS, McuId, PackRecord};
use bluenova_status::{
    Status,
    bank::{self, Share, Unit},
};
use serde::Serialize;
use time::UtcDateTime;

use crate::{
    Announced, Discovery, Topics,
    discovery::Device,
    entities::{self, Entity},
    state::{BankState, BatteryState},
};

mod removal;

/// Time after which the state is sent again behind an announcement. Home Assistant subscribes to
/// the state only after it has read the announcement, and the state isn't retained.
const REPEAT_AFTER: Duration = Duration::from_secs(5);

/// How often values are published that are in no row yet, where intervals are longer.
const BETWEEN_ROWS: Duration = Duration::from_secs(30);

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

    /// Waits until the broker has acknowledged all retained messages.
    ///
    /// # Errors
    /// The connection is lost.
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// Remembers what is about to be published on a topic, and retained.
    fn remember(&mut self, topic: &str, announced: &Announced);

    /// Forgets what was remembered of a topic.
    fn forget(&mut self, topic: &str);
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
    /// When the listener's availability is sent once more.
    online_again_at: Option<Instant>,
    /// Whether Home Assistant has started, and what it missed before is not removed there yet.
    repeats_removals: bool,
}

/// What was published of a battery or of the bank on this connection.
#[derive(Debug, Default)]
struct Published {
    announced_as: Option<Identity>,
    availability: Option<bool>,
    /// Time of the values, and when they were published.
    state: Option<(UtcDateTime, Instant)>,
    /// Time of the newest row whose values were published.
    row: Option<UtcDateTime>,
    /// When the state is sent once more.
    repeat_at: Option<Instant>,
    /// Most cells in series that were reported, on an earlier connection too.
    cells: Option<usize>,
}

/// What an announcement depends on.
#[derive(Debug, PartialEq)]
struct Identity {
    name: Option<String>,
    addresses: Vec<String>,
    cells: usize,
}

impl Publisher {
    /// A publisher that has no connection yet. `announced` is what was remembered and not forgotten
    /// in earlier runs, by topic. Without `discovery` all devices are removed from Home Assistant.
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
            online_again_at: None,
            repeats_removals: false,
        }
    }

    /// The message that the listener is away: the last one before a connection is closed, and the
    /// broker's when one ends without it.
    pub fn farewell(&self) -> Message {
        availability(self.topics.listener_availability(), false)
    }

    /// There is a new connection, on which nothing was published yet.
    pub fn connected(&mut self) {
        for published in self.batteries.values_mut().chain([&mut self.bank]) {
            *published = Published { cells: published.cells, ..Published::default() };
        }
        self.listener_is_online = false;
    }

    /// Home Assistant has started: it has no states, and may lack devices.
    pub fn home_assistant_started(&mut self) {
        for published in self.batteries.values_mut().chain([&mut self.bank]) {
            (published.announced_as, published.state, published.row) = (None, None, None);
        }
        self.repeats_removals = true;
    }

    /// Publishes what is new in this status.
    ///
    /// # Errors
    /// Those of `output`. There must be a new connection then, and a call of
    /// [`connected`](Self::connected).
    pub fn publish<O: Output>(&mut self, status: &Status, output: &mut O) -> Result<(), O::Error> {
        let units = bank::units(status);
        let mut has_news = false;
        for unit in &units {
            has_news |= self.battery(unit, status, output)?;
        }
        let has_bank = has_bank(&units).unwrap_or_else(|| self.has_announced_bank());
        if has_bank && (has_news || self.bank.availability.is_none()) {
            self.bank(&units, status, output)?;
        }
        self.remove_gone(status, has_bank, output)?;
        if std::mem::take(&mut self.repeats_removals) {
            self.repeat_removals(output)?;
        }
        // Last: until then all is unavailable, so that no old value shows up for a moment.
        self.listener(status.instant, output)
    }

    /// Publishes that the listener is online: at first, and once more. A broker may publish the
    /// last will of the connection before only after this one has begun.
    fn listener<O: Output>(&mut self, now: Instant, output: &mut O) -> Result<(), O::Error> {
        if !self.listener_is_online {
            self.withdraw_silent(output)?;
            self.online_again_at = Some(now + REPEAT_AFTER);
        } else if self.online_again_at.take_if(|at| *at <= now).is_none() {
            return Ok(());
        }
        output.publish(availability(self.topics.listener_availability(), true))?;
        self.listener_is_online = true;
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
        let fresh = unit.fresh_values(status).map(|(_, values)| &values.record);
        let mut has_news = false;
        if let Some(record) = fresh {
            self.announce_battery(mcu_id, unit, record, status.instant, output)?;
            let published = self.batteries.entry(mcu_id).or_default();
            let repeats = published.repeat_at.take_if(|at| *at <= status.instant).is_some();
            let row = unit.fresh(status);
            has_news = repeats || published.is_news(record, row, status);
            if has_news {
                let (figures, problems) = (unit.figures(), unit.problems(status));
                let values = BatteryState { record, figures, problems: &problems };
                output.publish(state(self.topics.state(mcu_id), &values))?;
                published.state = Some((record.insert_time_utc, status.instant));
                published.row = row.map(|row| row.insert_time_utc);
            }
        }
        let addresses = || addresses(unit);
        Ok(self.availability(Some(mcu_id), fresh.is_some(), addresses, output)? || has_news)
    }

    /// Publishes whether a battery, or the bank, has fresh values; returns whether that is new.
    fn availability<O: Output>(
        &mut self,
        of: Option<McuId>,
        is_available: bool,
        addresses: impl FnOnce() -> Vec<String>,
        output: &mut O,
    ) -> Result<bool, O::Error> {
        let published = match of {
            Some(mcu_id) => self.batteries.entry(mcu_id).or_default(),
            None => &mut self.bank,
        };
        let before = published.availability.replace(is_available);
        if before == Some(is_available) {
            return Ok(false);
        }
        let topic = self.topics.availability_of(of);
        if before.is_none() {
            self.remember(&topic, of, addresses(), output);
        }
        output.publish(availability(topic, is_available))?;
        Ok(true)
    }

    fn announce_battery<O: Output>(
        &mut self,
        mcu_id: McuId,
        unit: &Unit<'_>,
        record: &PackRecord,
        now: Instant,
        output: &mut O,
    ) -> Result<(), O::Error> {
        let published = self.batteries.entry(mcu_id).or_default();
        // A row may lack the count, or have one that was garbled on its way. Home Assistant would
        // drop entities of cells that are gone, with what a person has set there.
        published.cells = entities::cells(record.cell_count).max(published.cells);
        let identity = Identity::new(unit, published.cells.unwrap_or(CELLS));
        if published.announced_as.as_ref() == Some(&identity) {
            return Ok(());
        }
        published.repeat_at = self.discovery.is_some().then(|| now + REPEAT_AFTER);
        let device = Device::battery(mcu_id, identity.name.as_deref(), &self.topics);
        let addresses = identity.addresses.clone();
        self.announce(&device, &entities::battery(identity.cells), addresses, output)?;
        self.batteries.entry(mcu_id).or_default().announced_as = Some(identity);
        Ok(())
    }

    fn bank<O: Output>(
        &mut self,
        units: &[Unit<'_>],
        status: &Status,
        output: &mut O,
    ) -> Result<(), O::Error> {
        let fresh_of = |unit: &Unit<'_>| {
            unit.fresh_values(status).map(|(_, values)| Share::of(&values.record))
        };
        let shares: Vec<Share> = units.iter().filter_map(fresh_of).collect();
        if !shares.is_empty() {
            if self.bank.announced_as.is_none() {
                let identity = Identity { name: None, addresses: vec![], cells: 0 };
                let device = Device::bank(&self.topics);
                self.announce(&device, &entities::bank(), vec![], output)?;
                self.bank.announced_as = Some(identity);
            }
            let sum: Share = shares.iter().copied().sum();
            let bank = BankState::new(units.len(), shares.len(), &sum);
            output.publish(state(self.topics.bank_state(), &bank))?;
        }
        self.availability(None, !shares.is_empty(), Vec::new, output)?;
        Ok(())
    }

    fn has_announced_bank(&self) -> bool {
        self.announced.values().any(|device| device.mcu_id.is_none() && !device.is_removed)
    }

    /// Announces a device, where there is discovery, and remembers its topics.
    fn announce<O: Output>(
        &mut self,
        device: &Device,
        entities: &[Entity],
        addresses: Vec<String>,
        output: &mut O,
    ) -> Result<(), O::Error> {
        let topic = self.topics.availability_of(device.battery);
        self.remember(&topic, device.battery, addresses.clone(), output);
        let Some(discovery) = &self.discovery else { return Ok(()) };
        let topic = discovery.topic(&device.id);
        let announced = self.announced.entry(topic.clone()).or_default();
        let message = discovery.message(device, entities, &announced.components);
        for entity in entities {
            announced.components.insert(entity.key, entity.kind.platform());
        }
        self.remember(&topic, device.battery, addresses, output);
        output.publish(Message { topic, payload: message.to_string().into(), is_retained: true })
    }

    /// Remembers a topic, before anything is retained there: what is retained and isn't remembered
    /// would never be removed.
    fn remember<O: Output>(
        &mut self,
        topic: &str,
        of: Option<McuId>,
        addresses: Vec<String>,
        output: &mut O,
    ) {
        let announced = self.announced.entry(topic.to_owned()).or_default();
        announced.mcu_id = of.map(|McuId(id)| id);
        announced.addresses = addresses;
        announced.is_removed = false;
        output.remember(topic, announced);
    }
}

impl Published {
    /// Whether the newest values are to be published: at each row, and now and then between two.
    fn is_news(&self, newest: &PackRecord, row: Option<&PackRecord>, status: &Status) -> bool {
        let Some((time, published)) = self.state else { return true };
        if row.is_some_and(|row| self.row != Some(row.insert_time_utc)) {
            return true;
        }
        let since = status.instant.saturating_duration_since(published);
        let is_due = status.interval > BETWEEN_ROWS && since >= BETWEEN_ROWS;
        is_due && newest.insert_time_utc != time
    }
}

impl Identity {
    fn new(unit: &Unit<'_>, cells: usize) -> Self {
        Self { name: given_name(unit).map(ToOwned::to_owned), addresses: addresses(unit), cells }
    }
}

fn addresses(unit: &Unit<'_>) -> Vec<String> {
    unit.batteries.iter().map(|battery| battery.address.clone()).collect()
}

/// Whether there is more than one battery; `None` while two addresses may lead to the same one.
fn has_bank(units: &[Unit<'_>]) -> Option<bool> {
    let known = units.iter().filter(|unit| unit.mcu_id().is_some()).count();
    match (known, units.len()) {
        (2.., _) => Some(true),
        (_, 0 | 1) => Some(false),
        _ => None,
    }
}

/// The name that a person has given to a battery; by default it has that of its host.
fn given_name<'a>(unit: &Unit<'a>) -> Option<&'a str> {
    let battery = unit.batteries.first()?;
    let host = match battery.address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, _)) => ip,
        None => battery.address.split([':', '/']).next()?,
    };
    (battery.name.trim_matches(['[', ']']) != host).then_some(&battery.name)
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

#[cfg(test)]
mod tests;
