//! What was announced to Home Assistant, and what of it is gone.

use std::collections::{BTreeMap, HashSet};

use bluenova_record::McuId;
use serde::{Deserialize, Serialize};

/// Platform of each component, by its key.
pub(crate) type Components = BTreeMap<String, String>;

/// A device that was announced. It is remembered until it is removed, beyond the end of the
/// program: otherwise nobody would ever remove it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Announced {
    /// MCU ID of the battery; `None` for the bank.
    pub(crate) mcu_id: Option<u32>,
    /// The addresses at which the battery was, as on the command line.
    pub(crate) addresses: Vec<String>,
    /// Its components, those that were removed later among them.
    pub(crate) components: Components,
}

/// A battery of the command line, for [`gone`].
pub(crate) struct Listed<'a> {
    pub(crate) address: &'a str,
    /// Its MCU ID, if it has sent one since the start.
    pub(crate) mcu_id: Option<McuId>,
}

/// The topics of the announced devices that are gone: batteries that aren't on the command line any
/// more, so that another battery, or none, is at their addresses; and the bank if there is none.
///
/// While a battery is silent that was never seen at its address, it may be any of them: no battery
/// is gone then.
pub(crate) fn gone(
    announced: &BTreeMap<String, Announced>,
    listed: &[Listed<'_>],
    has_bank: bool,
) -> Vec<String> {
    let present: HashSet<u32> =
        listed.iter().filter_map(|battery| battery.mcu_id).map(|McuId(id)| id).collect();
    let silent: HashSet<&str> = listed
        .iter()
        .filter(|battery| battery.mcu_id.is_none())
        .map(|battery| battery.address)
        .collect();
    let seen: HashSet<&str> =
        announced.values().flat_map(|device| &device.addresses).map(String::as_str).collect();
    let any_may_be_silent = silent.iter().any(|address| !seen.contains(address));
    let is_gone = |device: &Announced| match device.mcu_id {
        None => !has_bank,
        Some(id) => {
            let may_be_silent =
                device.addresses.iter().any(|address| silent.contains(address.as_str()));
            !present.contains(&id) && !may_be_silent && !any_may_be_silent
        }
    };
    let gone = announced.iter().filter(|(_, device)| is_gone(device));
    gone.map(|(topic, _)| topic.clone()).collect()
}
