//! Network cards: which there are, and their addresses.

use std::str::FromStr;

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

/// A network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkCardSpec {
    /// What the guest finds.
    pub model: NetworkModel,
    /// Its address.
    pub mac: [u8; 6],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_or_refused() {
        let models: [NetworkModel; 3] = ["virtio", "e1000", "rtl8139"].map(|name| name.parse().unwrap());
        assert_eq!(models, [NetworkModel::Virtio, NetworkModel::E1000, NetworkModel::Rtl8139]);
        assert!("ne2000".parse::<NetworkModel>().unwrap_err().contains("use virtio, e1000 or rtl8139"));
    }
}
