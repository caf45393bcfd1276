//! Home Assistant's discovery: one retained message per device, from which it makes the device and
//! its entities: <https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>.

use std::time::Duration;

use bluenova_record::McuId;
use serde_json::{Map, Value, json};

use crate::{
    Topics,
    announced::Components,
    entities::{Entity, Kind, Role},
};

/// What all devices of a listener have in common.
#[derive(Clone, Debug)]
pub struct Discovery {
    prefix: String,
    version: String,
    /// Time without a message after which Home Assistant calls an entity unavailable by itself.
    expire_after: Duration,
}

/// A device, before its entities.
pub(crate) struct Device {
    /// Unique in Home Assistant.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) battery: Option<McuId>,
    pub(crate) state: String,
    /// Topics that must all say `online`.
    pub(crate) availability: [String; 2],
}

impl Device {
    pub(crate) fn battery(mcu_id: McuId, name: Option<&str>, topics: &Topics) -> Self {
        let unnamed = || format!("BlueNova {mcu_id}");
        Self {
            id: format!("bluenova_{mcu_id}"),
            name: name.map_or_else(unnamed, ToOwned::to_owned),
            battery: Some(mcu_id),
            state: topics.state(mcu_id),
            availability: [topics.listener_availability(), topics.availability(mcu_id)],
        }
    }

    pub(crate) fn bank(topics: &Topics) -> Self {
        Self {
            id: format!("bluenova_bank_{}", topics.listener()),
            name: "BlueNova bank".to_owned(),
            battery: None,
            state: topics.bank_state(),
            availability: [topics.listener_availability(), topics.bank_availability()],
        }
    }
}

impl Discovery {
    /// Discovery under `prefix`, which is `homeassistant` unless somebody has changed it there.
    pub fn new(prefix: &str, version: &str, expire_after: Duration) -> Self {
        Self { prefix: prefix.to_owned(), version: version.to_owned(), expire_after }
    }

    /// The topic on which Home Assistant says `online` when it has started: its birth message.
    pub fn birth_topic(&self) -> String {
        format!("{}/status", self.prefix)
    }

    /// The topic of a device.
    pub(crate) fn topic(&self, device: &str) -> String {
        format!("{}/device/{device}/config", self.prefix)
    }

    /// The message that announces a device. Components of `earlier` that there is no entity of any
    /// more are removed by it.
    pub(crate) fn message(
        &self,
        device: &Device,
        entities: &[Entity],
        earlier: &Components,
    ) -> Value {
        let mut components = Map::new();
        for (key, platform) in earlier {
            // A component with a platform only is one to remove.
            components.insert(key.clone(), json!({ "platform": platform }));
        }
        for entity in entities {
            components.insert(entity.key.to_owned(), self.component(device, entity));
        }
        let availability = device.availability.each_ref().map(|topic| json!({ "topic": topic }));
        json!({
            "device": description(device),
            "origin": { "name": "bluenovalistener", "sw_version": self.version },
            "state_topic": device.state,
            "availability": availability,
            "availability_mode": "all",
            "components": components,
        })
    }

    fn component(&self, device: &Device, entity: &Entity) -> Value {
        let Entity { key, name, kind, role } = entity;
        let platform = kind.platform();
        let mut component = json!({
            "platform": platform,
            "unique_id": format!("{}_{key}", device.id),
            "default_entity_id": format!("{platform}.{}_{key}", slug(device)),
            "name": name,
            "value_template": template(*kind, key),
            "expire_after": self.expire_after.as_secs(),
        });
        match kind {
            Kind::Number { device_class, unit, precision } => {
                component["state_class"] = "measurement".into();
                component["suggested_display_precision"] = (*precision).into();
                if let Some(class) = device_class {
                    component["device_class"] = (*class).into();
                }
                if let Some(unit) = unit {
                    component["unit_of_measurement"] = (*unit).into();
                }
            }
            Kind::Plain | Kind::Text => {}
            Kind::Time => component["device_class"] = "timestamp".into(),
            Kind::Binary { device_class, on_if } => {
                component["device_class"] = (*device_class).into();
                component["payload_on"] = on_if.to_string().into();
                component["payload_off"] = (!on_if).to_string().into();
            }
        }
        if *role == Role::Detail {
            component["entity_category"] = "diagnostic".into();
            component["enabled_by_default"] = false.into();
        }
        component
    }
}

fn description(device: &Device) -> Value {
    let mut description = json!({
        "identifiers": [device.id],
        "name": device.name,
        "manufacturer": "BlueNova",
        "model": if device.battery.is_some() { "LiFePO4 battery" } else { "Bank of batteries" },
    });
    if let Some(mcu_id) = device.battery {
        description["serial_number"] = mcu_id.to_string().into();
    }
    description
}

/// The template that takes a value out of the state. What it makes of `null`, "None", is for Home
/// Assistant a value that isn't known.
fn template(kind: Kind, key: &str) -> String {
    match kind {
        // An empty text would be no message to Home Assistant.
        Kind::Text => format!("{{{{ value_json.{key} or none }}}}"),
        Kind::Binary { .. } => {
            format!("{{{{ none if value_json.{key} is none else value_json.{key} | lower }}}}")
        }
        Kind::Number { .. } | Kind::Plain | Kind::Time => format!("{{{{ value_json.{key} }}}}"),
    }
}

/// The device's name as a part of an entity's id: small letters, digits and single underscores.
fn slug(device: &Device) -> String {
    let mut slug = String::new();
    for c in device.name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    let slug = slug.trim_end_matches('_');
    if slug.is_empty() { device.id.to_ascii_lowercase() } else { slug.to_owned() }
}
