//! Home Assistant's discovery: one retained message per device, from which it makes the device and
//! its entities: <https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>.

use std::time::Duration;

use bluenova_record::McuId;
use bluenova_status::stale_after;
use serde_json::{Map, Value, json};

use crate::{
    Topics,
    announced::Components,
    entities::{Entity, Kind, Role},
    state::PROBLEMS,
};

/// Time that a message may be late beyond the one at which its battery would be stale: by a slow
/// broker, or by a row that has come at the last moment.
const LATEST_BY: Duration = Duration::from_secs(30);

/// Key of the entity whose attributes are the battery's problems.
const WITH_PROBLEMS: &str = "errors_present";

/// The part of the announcements that all devices of a listener share.
#[derive(Clone, Debug)]
pub struct Discovery {
    prefix: String,
    version: String,
    /// Time without a message after which Home Assistant itself makes an entity unavailable.
    expire_after: Duration,
}

/// Time without a message after which Home Assistant itself makes an entity unavailable. That is
/// for connections that break without a last will.
///
/// The listener decides when a battery is stale, by its one rule, and publishes it. So this is
/// longer: a battery that falls silent, and returns before it is stale, stays available throughout.
fn expire_after(interval: Duration) -> Duration {
    stale_after(interval).saturating_add(LATEST_BY)
}

/// A device in Home Assistant, without its entities.
pub(crate) struct Device {
    /// Unique in Home Assistant.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) battery: Option<McuId>,
    pub(crate) state: String,
    /// Topics that must all be `online`: the listener's, and its own.
    pub(crate) availability: [String; 2],
}

impl Device {
    pub(crate) fn battery(mcu_id: McuId, name: Option<&str>, topics: &Topics) -> Self {
        let unnamed = || format!("BlueNova {mcu_id}");
        Self {
            id: topics.device(Some(mcu_id)),
            name: name.map_or_else(unnamed, ToOwned::to_owned),
            battery: Some(mcu_id),
            state: topics.state(mcu_id),
            availability: [topics.listener_availability(), topics.availability_of(Some(mcu_id))],
        }
    }

    pub(crate) fn bank(topics: &Topics) -> Self {
        Self {
            id: topics.device(None),
            name: "BlueNova bank".to_owned(),
            battery: None,
            state: topics.bank_state(),
            availability: [topics.listener_availability(), topics.availability_of(None)],
        }
    }
}

impl Discovery {
    /// Discovery under `prefix`, which is `homeassistant` unless it was changed there, by a
    /// listener of this version that records a row every `interval`. The prefix is one that
    /// [`topic_prefix`](crate::topic_prefix) accepts.
    pub fn new(prefix: &str, version: &str, interval: Duration) -> Self {
        let expire_after = expire_after(interval);
        Self { prefix: prefix.to_owned(), version: version.to_owned(), expire_after }
    }

    /// The topic under `prefix` on which Home Assistant publishes `online` when it has started: its
    /// birth message.
    pub fn birth_topic(prefix: &str) -> String {
        format!("{prefix}/status")
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
        for (key, platform) in earlier.iter() {
            // A component with a platform only is one to remove.
            components.insert(key.to_owned(), json!({ "platform": platform }));
        }
        for entity in entities {
            components.insert(entity.key.to_owned(), self.component(device, entity));
        }
        let availability = device.availability.each_ref().map(|topic| json!({ "topic": topic }));
        json!({
            "device": description(device),
            "origin": self.origin(),
            "state_topic": device.state,
            "availability": availability,
            "availability_mode": "all",
            "components": components,
        })
    }

    /// The least from which Home Assistant makes the device with this id, and these components.
    pub(crate) fn bare_message(&self, device: &str, components: &Components) -> Value {
        let component = |(key, platform): (&str, &str)| {
            let component = json!({ "platform": platform, "unique_id": unique_id(device, key) });
            (key.to_owned(), component)
        };
        let components: Map<_, _> = components.iter().map(component).collect();
        json!({
            "device": { "identifiers": [device] },
            "origin": self.origin(),
            // It must have one, and nothing is published there.
            "state_topic": device,
            "components": components,
        })
    }

    fn origin(&self) -> Value {
        json!({ "name": "bluenovalistener", "sw_version": self.version })
    }

    fn component(&self, device: &Device, entity: &Entity) -> Value {
        let Entity { key, name, kind, role } = entity;
        let platform = kind.platform();
        let mut component = json!({
            "platform": platform,
            "unique_id": unique_id(&device.id, key),
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
            Kind::Total { device_class, unit, precision } => {
                component["state_class"] = "total_increasing".into();
                component["suggested_display_precision"] = (*precision).into();
                component["device_class"] = (*device_class).into();
                component["unit_of_measurement"] = (*unit).into();
            }
            Kind::Plain | Kind::Text => {}
            Kind::Time => component["device_class"] = "timestamp".into(),
            Kind::Binary { device_class } => {
                component["device_class"] = (*device_class).into();
                component["payload_on"] = "true".into();
                component["payload_off"] = "false".into();
            }
        }
        if *key == WITH_PROBLEMS {
            component["json_attributes_topic"] = device.state.as_str().into();
            component["json_attributes_template"] = format!(
                "{{{{ {{'severity': value_json.severity, 'problems': value_json.{PROBLEMS} | \
                 map(attribute='text') | list}} | tojson }}}}"
            )
            .into();
        }
        if *role == Role::Detail {
            component["entity_category"] = "diagnostic".into();
            component["enabled_by_default"] = false.into();
        }
        component
    }
}

fn unique_id(device: &str, key: &str) -> String {
    format!("{device}_{key}")
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
        Kind::Number { .. } | Kind::Total { .. } | Kind::Plain | Kind::Time => {
            format!("{{{{ value_json.{key} }}}}")
        }
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::entities;

    const MCU_ID: McuId = McuId(0x9F3C_07B2);

    fn discovery() -> Discovery {
        Discovery::new("homeassistant", "1.2.3", Duration::from_secs(10))
    }

    fn topics() -> Topics {
        Topics::new("bluenova", "0a1b2c3d")
    }

    fn message(name: Option<&str>, cells: usize) -> Value {
        let device = Device::battery(MCU_ID, name, &topics());
        discovery().message(&device, &entities::battery(cells), &Components::default())
    }

    /// The file is what Home Assistant gets; where it is to change, `BLUENOVA_BLESS=1` writes it.
    fn check_file(name: &str, message: &Value) {
        let path = format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = serde_json::to_string_pretty(message).unwrap() + "\n";
        if std::env::var_os("BLUENOVA_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{path}");
    }

    #[test]
    fn the_message_of_a_battery_with_four_cells() {
        check_file("battery_of_4_cells.json", &message(Some("Garage"), 4));
    }

    #[test]
    fn the_message_of_a_bank() {
        let message = discovery().message(
            &Device::bank(&topics()),
            &entities::bank(),
            &Components::default(),
        );
        check_file("bank.json", &message);
    }

    #[test]
    fn ids_are_unique_over_all_devices() {
        let other = Device::battery(McuId(0x9F3C_07B3), None, &topics());
        let bank = Device::bank(&topics());
        let messages = [
            message(None, 16),
            discovery().message(&other, &entities::battery(16), &Components::default()),
            discovery().message(&bank, &entities::bank(), &Components::default()),
        ];
        let mut ids = HashSet::new();
        let mut entity_ids = HashSet::new();
        for message in &messages {
            for component in message["components"].as_object().unwrap().values() {
                assert!(ids.insert(component["unique_id"].as_str().unwrap()));
                assert!(entity_ids.insert(component["default_entity_id"].as_str().unwrap()));
            }
        }
    }

    #[test]
    fn a_component_that_is_dropped_keeps_its_platform_alone() {
        let mut earlier = Components::default();
        earlier.insert("old", "sensor");
        earlier.insert("soc", "binary_sensor");
        let device = Device::bank(&topics());
        let message = discovery().message(&device, &entities::bank(), &earlier);
        assert_eq!(message["components"]["old"], json!({ "platform": "sensor" }));
        assert_eq!(message["components"]["soc"]["platform"], "sensor");
    }

    /// Published every interval, or every 30 s if that is shorter.
    #[test]
    fn an_entity_expires_after_its_battery_is_stale_and_after_three_publishes() {
        for interval in [1, 2, 5, 10, 30, 60, 600, 3600].map(Duration::from_secs) {
            let expires = expire_after(interval);
            let period = interval.min(Duration::from_secs(30));
            assert!(expires >= stale_after(interval) + LATEST_BY, "{interval:?}");
            assert!(expires > 3 * period, "{interval:?}");
        }
        assert_eq!(expire_after(Duration::from_secs(1)), Duration::from_secs(33));
        assert_eq!(expire_after(Duration::from_secs(10)), Duration::from_secs(60));
        assert_eq!(expire_after(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn slugs() {
        let long = "Battery ".repeat(8);
        for (name, expected) in [
            ("Garage", "garage"),
            ("Battery  1/left", "battery_1_left"),
            ("__a#+b__", "a_b"),
            ("Küche", "k_che"),
            ("🔋", "bluenova_9f3c07b2"),
            ("", "bluenova_9f3c07b2"),
            (&long, "battery_battery_battery_battery_battery_battery_battery_battery"),
        ] {
            assert_eq!(slug(&Device::battery(MCU_ID, Some(name), &topics())), expected, "{name}");
        }
    }

    proptest! {
        /// A name is a name in the message, and nothing else of the message depends on it but the
        /// ids that Home Assistant proposes.
        #[test]
        fn a_hostile_name_stays_inside(name in "[#+/\"\\\\{}%$ \n\u{0}a-z🔋ü]{0,60}") {
            let json = message(Some(&name), 4).to_string();
            let mut message: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&message["device"]["name"], &name);
            let mut plain = super::tests::message(Some("x"), 4);
            for message in [&mut message, &mut plain] {
                message["device"]["name"].take();
                for component in message["components"].as_object_mut().unwrap().values_mut() {
                    let id = component["default_entity_id"].take();
                    let (_, object) = id.as_str().unwrap().split_once('.').unwrap();
                    let is_allowed = |c| matches!(c, 'a'..='z' | '0'..='9' | '_');
                    prop_assert!(object.chars().all(is_allowed), "{object}");
                }
            }
            prop_assert_eq!(message, plain);
        }
    }
}
