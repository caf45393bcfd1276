//! What was announced to Home Assistant, and what of it is gone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bluenova_record::McuId;
use bluenova_status::BatteryStatus;
use serde::{Deserialize, Serialize};

/// The components of a device: their keys, separated by blanks, by their platform. There are some
/// 60 for each battery, and so they take a tenth of the memory that a map of them would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Components(BTreeMap<String, String>);

impl Components {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and platforms.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(platform, keys)| {
            keys.split_whitespace().map(|key| (key, platform.as_str()))
        })
    }

    /// Adds a component that may be there already.
    pub(crate) fn insert(&mut self, key: &str, platform: &str) {
        match self.0.get_mut(platform) {
            Some(keys) if keys.split_whitespace().any(|known| known == key) => {}
            Some(keys) => *keys = format!("{keys} {key}"),
            None => _ = self.0.insert(platform.to_owned(), key.to_owned()),
        }
    }
}

/// What is retained at the broker, on one topic, of a battery or of a bank. It is remembered until
/// it is removed, beyond the end of the program: otherwise nobody would ever remove it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Announced {
    /// MCU ID of the battery; `None` for the bank.
    pub(crate) mcu_id: Option<u32>,
    /// The addresses at which the battery was, as on the command line.
    pub(crate) addresses: Vec<String>,
    /// Its components in Home Assistant, those that were removed later among them; none where the
    /// topic is that of its availability.
    pub(crate) components: Components,
    /// Whether it was removed from the broker, and Home Assistant has not started since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_removed: bool,
}

impl Announced {
    /// Whether it is a battery that was at this address, which is as on the command line, and isn't
    /// removed.
    pub fn was_at(&self, address: &str) -> bool {
        !self.is_removed && self.addresses.iter().any(|own| own == address)
    }
}

/// A battery of the command line, for [`gone`].
pub(crate) struct Listed<'a> {
    pub(crate) address: &'a str,
    /// Its MCU ID, if it has sent one since the start.
    pub(crate) mcu_id: Option<McuId>,
}

impl<'a> Listed<'a> {
    pub(crate) fn new(battery: &'a BatteryStatus) -> Self {
        Self { address: &battery.address, mcu_id: battery.mcu_id().map(McuId) }
    }
}

/// The topics of the batteries that aren't on the command line any more, so that another battery,
/// or none, is at their addresses; and of the bank if there is none.
///
/// While a battery is silent that was never seen at its address, it may be any of them: no battery
/// is gone then.
pub(crate) fn gone(
    announced: &BTreeMap<String, Announced>,
    listed: &[Listed<'_>],
    has_bank: bool,
) -> BTreeSet<String> {
    let announced = || announced.iter().filter(|(_, device)| !device.is_removed);
    let present: HashSet<u32> =
        listed.iter().filter_map(|battery| battery.mcu_id).map(|McuId(id)| id).collect();
    let silent: HashSet<&str> = listed
        .iter()
        .filter(|battery| battery.mcu_id.is_none())
        .map(|battery| battery.address)
        .collect();
    let seen: HashSet<&str> =
        announced().flat_map(|(_, device)| &device.addresses).map(String::as_str).collect();
    let any_may_be_silent = silent.iter().any(|address| !seen.contains(address));
    let is_gone = |device: &Announced| match device.mcu_id {
        None => !has_bank,
        Some(id) => {
            let may_be_silent =
                device.addresses.iter().any(|address| silent.contains(address.as_str()));
            !present.contains(&id) && !may_be_silent && !any_may_be_silent
        }
    };
    let gone = announced().filter(|(_, device)| is_gone(device));
    gone.map(|(topic, _)| topic.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANK: u32 = 0;

    /// Batteries by MCU ID and addresses; [`BANK`] is the bank.
    fn announced(devices: &[(u32, &[&str])]) -> BTreeMap<String, Announced> {
        let device = |&(id, addresses): &(u32, &[&str])| {
            let mcu_id = Some(id).filter(|id| *id != BANK);
            let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
            (id.to_string(), Announced { mcu_id, addresses, ..Announced::default() })
        };
        devices.iter().map(device).collect()
    }

    #[track_caller]
    fn check(
        devices: &[(u32, &[&str])],
        listed: &[(&str, Option<u32>)],
        has_bank: bool,
        expected: &[u32],
    ) {
        let listed: Vec<_> =
            listed.iter().map(|(address, id)| Listed { address, mcu_id: id.map(McuId) }).collect();
        let expected: BTreeSet<_> = expected.iter().map(u32::to_string).collect();
        assert_eq!(gone(&announced(devices), &listed, has_bank), expected);
    }

    #[test]
    fn a_battery_is_gone_when_its_address_is_not_listed() {
        let two: &[(u32, &[&str])] = &[(1, &["a"]), (2, &["b"])];
        check(two, &[("a", Some(1)), ("b", Some(2))], false, &[]);
        check(two, &[("a", Some(1))], false, &[2]);
        check(two, &[], false, &[1, 2]);
        check(&[], &[("a", Some(1))], false, &[]);
    }

    #[test]
    fn a_silent_battery_is_not_gone_while_its_address_is_listed() {
        let two: &[(u32, &[&str])] = &[(1, &["a"]), (2, &["b"])];
        check(two, &[("a", None), ("b", None)], false, &[]);
        check(two, &[("a", None)], false, &[2]);
        check(two, &[("b", None)], false, &[1]);
        // By the second one of its addresses.
        check(&[(1, &["a", "b"])], &[("b", None)], false, &[]);
    }

    #[test]
    fn any_battery_may_be_at_a_new_address_that_is_silent() {
        let two: &[(u32, &[&str])] = &[(1, &["a"]), (2, &["b"])];
        check(two, &[("a", Some(1)), ("c", None)], false, &[]);
        check(two, &[("a", Some(1)), ("c", Some(2))], false, &[]);
        check(two, &[("a", Some(1)), ("c", Some(3))], false, &[2]);
    }

    #[test]
    fn a_battery_is_gone_when_another_is_at_its_address() {
        check(&[(1, &["a"])], &[("a", Some(2))], false, &[1]);
        // It has gone to another address, which the journal doesn't have yet.
        check(&[(1, &["a"])], &[("a", Some(2)), ("b", Some(1))], false, &[]);
    }

    #[test]
    fn a_bank_is_gone_when_there_is_none() {
        let devices: &[(u32, &[&str])] = &[(BANK, &[]), (1, &["a"])];
        check(devices, &[("a", Some(1))], true, &[]);
        check(devices, &[("a", Some(1))], false, &[BANK]);
        check(devices, &[("a", None)], false, &[BANK]);
    }

    #[test]
    fn remembered_as_json() {
        let mut components = Components::default();
        for (key, platform) in [("soc", "sensor"), ("b", "binary_sensor"), ("so", "sensor")] {
            components.insert(key, platform);
            components.insert(key, platform);
        }
        let addresses = vec!["a".to_owned()];
        let announced = Announced { mcu_id: Some(42), addresses, components, is_removed: false };
        let text = r#"{"mcu_id":42,"addresses":["a"],"#.to_owned()
            + r#""components":{"binary_sensor":"b","sensor":"soc so"}}"#;
        assert_eq!(serde_json::to_string(&announced).unwrap(), text);
        let read: Announced = serde_json::from_str(&text).unwrap();
        assert_eq!(read, announced);
        let components: Vec<_> = read.components.iter().collect();
        assert_eq!(components, [("b", "binary_sensor"), ("soc", "sensor"), ("so", "sensor")]);
    }
}
