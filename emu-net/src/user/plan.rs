//! Who has which address in the user network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The gateway's and the name server's address on the cable: locally administered.
pub(super) const ROUTER_MAC: [u8; 6] = [0x52, 0x55, 0x0a, 0x00, 0x02, 0x02];
/// The gateway: the guest reaches the host's loopback interface there.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The name server, answered by the host's resolver.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// What DHCP gives to the first card that asks, and where forwards lead.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub(super) const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
pub(super) const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 255);
/// The gateway in IPv6.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 2);
/// The name server in IPv6.
pub const DNS6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 3);
/// The prefix that is advertised: site-local, so that guests prefer IPv4 where both would do (RFC 6724), as the host
/// may have no IPv6.
pub(super) const PREFIX6: Ipv6Addr = Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0);
/// The gateway's link-local address, which routers are known by.
pub(super) const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Bytes in an IP packet on this cable.
pub(super) const MTU: usize = 1500;

/// Whether the address is the gateway's.
pub(super) fn is_gateway(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address == GATEWAY,
        IpAddr::V6(address) => address == GATEWAY6 || address == ROUTER6,
    }
}

/// Whether the address is the name server's.
pub(super) fn is_dns(address: IpAddr) -> bool {
    address == IpAddr::V4(DNS) || address == IpAddr::V6(DNS6)
}

/// Whether the guest may have this address: another's in this network.
pub(super) fn is_guest(address: IpAddr) -> bool {
    let taken = is_gateway(address) || is_dns(address);
    !taken
        && match address {
            IpAddr::V4(address) => {
                let octets = address.octets();
                octets[..3] == [10, 0, 2] && !matches!(octets[3], 0 | 255)
            }
            IpAddr::V6(address) => {
                address.segments()[..4] == PREFIX6.segments()[..4] || address.is_unicast_link_local()
            }
        }
}

/// Where on the host's side a packet to `address` goes, if it leaves this network.
pub(super) fn outside(address: IpAddr) -> Option<IpAddr> {
    if is_gateway(address) {
        return Some(loopback(address));
    }
    let unusable = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    let here = match address {
        IpAddr::V4(v4) => {
            is_guest(address) || v4 == DNS || v4 == BROADCAST || v4.is_broadcast() || v4.octets()[0] == 0
        }
        // A mapped address would lead round the rules for IPv4.
        IpAddr::V6(v6) => is_guest(address) || v6 == DNS6 || v6.to_ipv4_mapped().is_some(),
    };
    (!unusable && !here).then_some(address)
}

/// The host's loopback address of the same family.
fn loopback(family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// Who the guest sees as the sender of what came from `address`, in the family of `family`.
pub(super) fn inside(address: IpAddr, family: IpAddr) -> IpAddr {
    let gateway = match family {
        IpAddr::V4(_) => IpAddr::V4(GATEWAY),
        IpAddr::V6(_) => IpAddr::V6(GATEWAY6),
    };
    let address = address.to_canonical();
    let same = address.is_ipv4() == family.is_ipv4();
    if same && outside(address) == Some(address) { address } else { gateway }
}
