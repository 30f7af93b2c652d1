//! `--net`: network cards, their addresses, and what their cables lead to.

use emu_net::{MacAddress, NetworkSpec, user::Forward};
use std::{path::PathBuf, str::FromStr};

/// A kind of network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkModel {
    /// A virtio network device.
    #[default]
    Virtio,
    /// Intel 82540EM.
    E1000,
    /// Realtek RTL8139C+.
    Rtl8139,
}

impl FromStr for NetworkModel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "virtio" => Ok(NetworkModel::Virtio),
            "e1000" => Ok(NetworkModel::E1000),
            "rtl8139" => Ok(NetworkModel::Rtl8139),
            other => Err(format!("\"{other}\" is no network card; use virtio, e1000 or rtl8139")),
        }
    }
}

/// What the value of `--net` says: a network, and the card on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetOption {
    /// What the cable leads to.
    pub network: NetworkSpec,
    /// What the guest finds.
    pub model: NetworkModel,
}

impl FromStr for NetOption {
    type Err = String;

    /// The model is the last part: whatever is in front of it belongs to the network, which may be a path with commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let (network, model) = text.rsplit_once(",model=").unwrap_or((text, "virtio"));
        let parsed = network.parse::<NetworkSpec>();
        let parsed = parsed.map_err(|error| problem(&format!("--net {network}"), &error))?;
        Ok(NetOption { network: parsed, model: model.parse()? })
    }
}

/// An error without the option and its value, which whoever reports it says again.
pub fn problem(option: &str, error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    text.strip_prefix(option).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text).to_owned()
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkCardSpec {
    /// What the guest finds.
    pub model: NetworkModel,
    /// Its address.
    pub mac: MacAddress,
    /// What the cable leads to.
    pub network: NetworkSpec,
    /// Ports of the host's that lead to the guest.
    pub forwards: Vec<Forward>,
    /// Where what passes is written down.
    pub capture: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("user", NetworkSpec::User { restrict: false }, NetworkModel::Virtio)]
    #[case("user,restrict,model=e1000", NetworkSpec::User { restrict: true }, NetworkModel::E1000)]
    #[case("socket:/tmp/a,b,model=rtl8139", NetworkSpec::Socket("/tmp/a,b".into()), NetworkModel::Rtl8139)]
    #[case("none", NetworkSpec::None, NetworkModel::Virtio)]
    fn a_network_and_its_card_are_named(
        #[case] text: &str,
        #[case] network: NetworkSpec,
        #[case] model: NetworkModel,
    ) {
        assert_eq!(text.parse(), Ok(NetOption { network, model }));
    }

    #[rstest]
    #[case("user,model=ne2000", "\"ne2000\" is no network card; use virtio, e1000 or rtl8139")]
    #[case("wifi", "there is no such network")]
    #[case("wifi,model=e1000", "there is no such network")]
    fn a_mistake_is_named_once(#[case] text: &str, #[case] begin: &str) {
        let error = text.parse::<NetOption>().unwrap_err();
        assert!(error.starts_with(begin), "{error}");
    }
}
