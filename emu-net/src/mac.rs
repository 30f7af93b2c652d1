//! MAC addresses: what users write, and what a card has if they write nothing.

use std::{fmt, str::FromStr};

/// A card's address: not a multicast address, and not all zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress([u8; 6]);

/// Why text is no card's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six bytes.
    #[error("`{0}` is no MAC address: write six bytes in hexadecimal, as in 52:54:00:12:34:56")]
    Syntax(String),
    /// A group's.
    #[error("{0} is a multicast address, which no card can have: the first byte must be even")]
    Multicast(String),
    /// Nobody's.
    #[error("{0} is nobody's address: write another, as in 52:54:00:12:34:56")]
    Zero(String),
}

impl MacAddress {
    /// The address of the card number `card` of the machine that is called `machine`: the same in every run, and
    /// locally administered, so that it is no vendor's.
    pub fn of_card(machine: &str, card: u32) -> Self {
        // FNV-1a: any hash would do, but it must stay the same for ever, as guests name their interfaces after it.
        let bytes = machine.bytes().chain([0]).chain(card.to_le_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let mut address = [0; 6];
        address.copy_from_slice(&(hash ^ hash >> 32).to_le_bytes()[..6]);
        address[0] = address[0] & 0xfc | 0x02;
        MacAddress(address)
    }

    /// Its bytes as sent.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let syntax = || MacError::Syntax(text.into());
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut parts = text.split(separator);
        let mut address = [0; 6];
        for byte in &mut address {
            let part = parts.next().filter(|part| (1..=2).contains(&part.len())).ok_or_else(syntax)?;
            // `from_str_radix` takes a sign.
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(syntax());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| syntax())?;
        }
        match (parts.next(), address) {
            (Some(_), _) => Err(syntax()),
            (None, [0, 0, 0, 0, 0, 0]) => Err(MacError::Zero(text.into())),
            (None, _) if address[0] & 1 != 0 => Err(MacError::Multicast(text.into())),
            (None, _) => Ok(MacAddress(address)),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_card_has_an_address_of_its_own_and_always_the_same() {
        let address = MacAddress::of_card("debian", 0);
        assert_eq!(address, MacAddress::of_card("debian", 0));
        assert_ne!(address, MacAddress::of_card("debian", 1));
        assert_ne!(address, MacAddress::of_card("debian2", 0));
        assert_eq!(address.octets()[0] & 3, 2, "locally administered, one card's");
        assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn addresses_outlive_versions_of_the_program() {
        assert_eq!(MacAddress::of_card("debian", 0).to_string(), "42:69:de:ab:50:9d");
    }

    #[rstest]
    #[case("52:54:00:12:34", "six bytes")]
    #[case("52:54:00:12:34:56:78", "six bytes")]
    #[case("52:54:00:12:34:+6", "six bytes")]
    #[case("52:54-00:12:34:56", "six bytes")]
    #[case("", "six bytes")]
    #[case("01:00:5e:00:00:01", "multicast")]
    #[case("ff:ff:ff:ff:ff:ff", "multicast")]
    #[case("0:0:0:0:0:0", "nobody")]
    fn what_is_no_address_is_refused_with_the_reason(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<MacAddress>().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
