use std::{collections::HashSet, net::Ipv6Addr};

use bluenova_websocket::Address;

use super::SettingsError;

const DEFAULT_BATTERY: &str = "10.0.0.2";

/// Maximum number of characters of a name.
const NAME_CHARS: usize = 32;

/// A battery to listen to.
#[derive(Clone, Debug)]
pub(crate) struct Battery {
    /// Name for people, in the log and on the page.
    pub(crate) name: String,
    pub(crate) address: Address,
}

/// Reads the values of `-b`, in their order.
pub(super) fn batteries(given: &[String]) -> Result<Vec<Battery>, SettingsError> {
    let mut batteries = match given {
        [] => vec![battery(DEFAULT_BATTERY)?],
        given => given.iter().map(|text| battery(text)).collect::<Result<_, _>>()?,
    };
    // Several batteries behind one host need a name each.
    let hosts: Vec<String> = batteries.iter().map(|battery| battery.name.clone()).collect();
    for battery in &mut batteries {
        let unnamed = battery.name == battery.address.host();
        if unnamed && hosts.iter().filter(|host| **host == battery.name).count() > 1 {
            battery.name = battery.address.to_string();
        }
    }
    let mut addresses = HashSet::new();
    let mut names = HashSet::new();
    for battery in &batteries {
        if !addresses.insert(battery.address.to_string()) {
            return Err(SettingsError::SameAddress(battery.address.clone()));
        }
        if !names.insert(&battery.name) {
            return Err(SettingsError::SameName(battery.name.clone()));
        }
    }
    Ok(batteries)
}

/// Reads `[NAME=]HOST[:PORT][/PATH]`.
fn battery(given: &str) -> Result<Battery, SettingsError> {
    // An equals sign further on belongs to the path.
    let (name, address) = match given.find(['=', ':', '/', '[']) {
        Some(at) if given[at..].starts_with('=') => (Some(&given[..at]), &given[at + 1..]),
        _ => (None, given),
    };
    if name == Some("") {
        return Err(SettingsError::NoName { given: given.to_owned() });
    }
    if address.parse::<Ipv6Addr>().is_ok() {
        let name = name.map(|name| format!("{name}=")).unwrap_or_default();
        let in_brackets = format!("{name}[{address}]");
        return Err(SettingsError::NoBrackets { given: given.to_owned(), in_brackets });
    }
    if address.split('/').next().is_some_and(|authority| authority.contains(',')) {
        return Err(SettingsError::SeveralBatteries { given: given.to_owned() });
    }
    let address: Address = address
        .parse()
        .map_err(|source| SettingsError::Address { given: given.to_owned(), source })?;
    let name = name.unwrap_or(address.host());
    if name.is_empty()
        || name.chars().count() > NAME_CHARS && name != address.host()
        || name.contains(char::is_control)
    {
        return Err(SettingsError::Name { given: given.to_owned() });
    }
    Ok(Battery { name: name.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &[&str], expected: &[(&str, &str)]) {
        let given: Vec<String> = given.iter().map(|&battery| battery.to_owned()).collect();
        let batteries = batteries(&given).unwrap();
        let names: Vec<_> =
            batteries.iter().map(|battery| (&*battery.name, battery.address.to_string())).collect();
        let names: Vec<_> = names.iter().map(|(name, address)| (*name, &**address)).collect();
        assert_eq!(names, expected, "{given:?}");
    }

    #[test]
    fn batteries_have_names() {
        check(&[], &[("10.0.0.2", "10.0.0.2:9000/ws/")]);
        check(&["bat.lan:90"], &[("bat.lan", "bat.lan:90/ws/")]);
        check(&["attic=10.0.0.3/x?a=b"], &[("attic", "10.0.0.3:9000/x?a=b")]);
        check(&["10.0.0.3/x?a=b"], &[("10.0.0.3", "10.0.0.3:9000/x?a=b")]);
        check(&["six=[::1]:1"], &[("six", "[::1]:1/ws/")]);
        check(
            &["h:1", "h:2", "other"],
            &[("h:1/ws/", "h:1/ws/"), ("h:2/ws/", "h:2/ws/"), ("other", "other:9000/ws/")],
        );
    }
}
