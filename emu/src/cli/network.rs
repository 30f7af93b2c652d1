//! The options of network cards, put together: which address, forward and capture belongs to which card.

use crate::{
    config::{NetOption, NetworkCardSpec, NetworkModel, network_problem},
    exit::OptionError,
};
use clap::Args;
use emu_net::{MacAddress, NetworkSpec, user::Forward};
use std::path::PathBuf;

/// The options.
#[derive(Debug, Default, Args)]
pub struct NetworkOptions {
    /// A network card on user[,restrict], tap:NAME or socket:PATH, with model=virtio, e1000 or rtl8139 behind it; none is
    /// no card; repeatable [default: user]
    #[arg(long, value_name = "NETWORK[,model=CARD]", help_heading = "Network")]
    net: Vec<NetOption>,

    /// A port of the host's that leads to one of the guest's: tcp:[ADDRESS:]PORT:GUESTPORT, or udp; repeatable
    #[arg(long, value_name = "PROTOCOL:...", help_heading = "Network", value_parser = parse_forward)]
    forward: Vec<Forward>,

    /// The address of the next network card; repeatable
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    mac: Vec<MacAddress>,

    /// Write what passes the first card's cable to a file, for Wireshark and others
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pcap: Option<PathBuf>,
}

fn parse_forward(text: &str) -> Result<Forward, String> {
    text.parse::<Forward>().map_err(|error| network_problem(&format!("--forward {text}"), &error))
}

/// The card that a machine has if nothing is said of its network.
fn user_network() -> NetOption {
    NetOption { network: NetworkSpec::User { restrict: false }, model: NetworkModel::default() }
}

impl NetworkOptions {
    /// The cards of the machine that is called `machine`: their addresses are made from that.
    pub fn cards(self, machine: &str) -> Result<Vec<NetworkCardSpec>, OptionError> {
        let NetworkOptions { net, forward, mac, mut pcap } = self;
        let net = if net.is_empty() { vec![user_network()] } else { net };
        let nets: Vec<NetOption> = net.into_iter().filter(|net| net.network != NetworkSpec::None).collect();
        if let Some(extra) = mac.get(nets.len()) {
            let problem = "has no network card to go with; add --net user";
            return Err(OptionError::new("--mac", extra, problem));
        }
        if let (Some(path), true) = (&pcap, nets.is_empty()) {
            let problem = "has no network card to go with; add --net user";
            return Err(OptionError::new("--pcap", path.display(), problem));
        }
        let is_user = |net: &NetOption| matches!(net.network, NetworkSpec::User { .. });
        let user = nets.iter().position(is_user);
        if let (Some(forward), None) = (forward.first(), user) {
            return Err(OptionError::new(
                "--forward",
                forward,
                "has no user network to go with; add --net user",
            ));
        }
        let card = |(number, net): (usize, NetOption)| NetworkCardSpec {
            model: net.model,
            mac: mac.get(number).copied().unwrap_or_else(|| MacAddress::of_card(machine, number as u32)),
            network: net.network,
            forwards: if Some(number) == user { forward.clone() } else { Vec::new() },
            capture: pcap.take(),
        };
        Ok(nets.into_iter().enumerate().map(card).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use rstest::rstest;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: NetworkOptions,
    }

    fn cards(line: &str) -> Result<Vec<NetworkCardSpec>, OptionError> {
        Line::try_parse_from(["emu"].into_iter().chain(line.split_whitespace())).unwrap().options.cards("emu")
    }

    #[test]
    fn options_belong_to_cards() {
        let line =
            "--net tap:t0 --net user,model=e1000 --forward tcp:2222:22 --mac 52:54:00:00:00:01 --pcap a.pcap";
        let cards = cards(line).unwrap();
        assert_eq!(cards[0].mac.octets(), [0x52, 0x54, 0, 0, 0, 1]);
        assert_eq!(cards[1].mac, MacAddress::of_card("emu", 1));
        assert_eq!(cards.iter().map(|card| card.forwards.len()).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((cards[0].capture.is_some(), cards[1].capture.is_some()), (true, false));
    }

    #[test]
    fn a_machine_has_a_card_on_the_user_network_unless_something_else_is_said() {
        let only = cards("--forward tcp:2222:22").unwrap();
        assert_eq!((only.len(), &only[0].network), (1, &NetworkSpec::User { restrict: false }));
        assert_eq!(only[0].forwards.len(), 1);
        assert!(cards("--net none").unwrap().is_empty());
    }

    #[rstest]
    #[case("--net none --mac 52:54:00:00:00:01", "no network card")]
    #[case("--net none --pcap a", "no network card")]
    #[case("--net tap:t0 --forward tcp:2222:22", "no user network")]
    fn an_option_without_its_card_is_refused(#[case] line: &str, #[case] reason: &str) {
        let error = cards(line).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
