//! The network's thread: takes packets of the guest's apart, hears from the host's sockets, and keeps the time.

use super::dhcp::{self, Dhcp};
use super::dns::{Answer, Asker, Resolver};
use super::echo::Echo;
use super::fragments::Fragments;
use super::frame::{
    Datagram, ICMP, ICMPV6, TCP, TYPE_ARP, TYPE_IPV4, TYPE_IPV6, UDP, checksum_holds, ethernet,
};
use super::link;
use super::plan::{self, ROUTER_MAC};
use super::poll::{Events, Ready, Source};
use super::tcp::Tcp;
use super::udp::{Parts, Udp};
use super::wire::Wire;
use emu_core::{
    backend::Packet,
    clock::{Polling, VmClock},
};

/// Nanoseconds between two looks for what is no more in use.
const SWEEP: u64 = 5_000_000_000;
/// Nanoseconds between two advertisements of the router.
const ADVERTISE: u64 = 600_000_000_000;
const DNS_PORT: u16 = 53;
/// Answers and datagrams from outside that are looked at again at once.
type Unfinished = Vec<Source>;

pub(super) struct Switch {
    pub wire: Wire,
    clock: VmClock,
    tcp: Tcp,
    udp: Udp,
    echo: Echo,
    dhcp: Dhcp,
    resolver: Resolver,
    fragments: Fragments,
    unfinished: Unfinished,
    polling: Polling,
    sweep_at: u64,
    advertise_at: u64,
}

impl Switch {
    pub fn new(wire: Wire, tcp: Tcp, udp: Udp) -> Self {
        let clock = VmClock::real(0);
        Switch {
            wire,
            clock,
            tcp,
            udp,
            echo: Echo::default(),
            dhcp: Dhcp::default(),
            resolver: Resolver::default(),
            fragments: Fragments::default(),
            unfinished: Vec::new(),
            polling: Polling::default(),
            sweep_at: SWEEP,
            advertise_at: ADVERTISE,
        }
    }

    /// Works until the inbox says that it is over.
    pub fn run(mut self) {
        let mut events = Events::new();
        let mut packets = Vec::new();
        loop {
            self.wire.now = self.clock.now();
            let mut mail = self.wire.inbox.take(packets);
            if mail.stop {
                return;
            }
            if let Some(receiver) = mail.receiver {
                self.wire.outlet.connect(receiver);
                self.tcp.card_has_room();
            }
            if mail.resumed {
                self.wire.outlet.resume();
                self.tcp.card_has_room();
            }
            mail.packets.drain(..).for_each(|packet| self.take(packet));
            packets = mail.packets;
            mail.answers.into_iter().for_each(|answer| self.take_answer(&answer));
            events.drain().for_each(|ready| self.dispatch(ready));
            let busy = self.turn();
            self.wait(busy, &mut events);
        }
    }

    /// Does what has become possible. True if there is more to do at once.
    fn turn(&mut self) -> bool {
        if std::mem::take(&mut self.wire.learned) {
            self.tcp.guest_appeared(&mut self.wire);
        }
        for source in std::mem::take(&mut self.unfinished) {
            self.read_datagrams(source);
        }
        self.expire();
        let more = self.tcp.pump(&mut self.wire);
        self.wire.outlet.flush();
        for (owner, bytes) in self.wire.outlet.returned() {
            self.tcp.restore(owner, bytes);
        }
        more || !self.unfinished.is_empty()
    }

    fn wait(&self, busy: bool, events: &mut Events) {
        let Wire { poll, inbox, .. } = &self.wire;
        if busy {
            return poll.wait(0, events);
        }
        let ready = || {
            poll.wait(0, events);
            !events.is_empty() || !inbox.is_empty()
        };
        let Some(sleep) = self.polling.poll(ready) else { return };
        let deadline = self.tcp.deadline().min(self.sweep_at).min(self.advertise_at);
        let nanos = if inbox.may_sleep() { deadline.saturating_sub(self.clock.now()) } else { 0 };
        poll.wait(nanos, events);
        inbox.awake();
        sleep.over();
    }

    fn expire(&mut self) {
        let now = self.wire.now;
        self.tcp.expire(&mut self.wire);
        if self.sweep_at <= now {
            self.sweep_at = now + SWEEP;
            self.udp.sweep(now);
            self.echo.sweep(now);
        }
        if self.advertise_at <= now {
            self.advertise_at = now + ADVERTISE;
            link::advertise_router(&mut self.wire, [0; 6], plan::ALL_NODES);
        }
    }

    fn dispatch(&mut self, ready: Ready) {
        match ready.source {
            Source::Wake => {}
            Source::Listener(number) => self.tcp.accept(&mut self.wire, number),
            Source::Tcp(slot, generation) => self.tcp.ready(slot, generation, ready),
            Source::Udp(..) | Source::UdpForward(_) | Source::Echo(..) if ready.readable => {
                self.read_datagrams(ready.source);
            }
            Source::Udp(..) | Source::UdpForward(_) | Source::Echo(..) => {}
        }
    }

    fn read_datagrams(&mut self, source: Source) {
        let more = match source {
            Source::Udp(slot, generation) => self.udp.ready(&mut self.wire, slot, generation),
            Source::UdpForward(number) => self.udp.forward_ready(&mut self.wire, number),
            Source::Echo(slot, generation) => {
                self.echo.ready(&mut self.wire, slot, generation);
                false
            }
            Source::Wake | Source::Listener(_) | Source::Tcp(..) => false,
        };
        if more {
            self.unfinished.push(source);
        }
    }

    fn take_answer(&mut self, answer: &Answer) {
        let Asker { guest, mac, server } = answer.asker;
        self.wire.deliver_udp(guest, mac, server, &answer.message);
    }

    /// Takes a packet from the card.
    fn take(&mut self, packet: Packet) {
        let Some((destination, source, kind)) = ethernet(&packet.bytes) else { return };
        let for_us = destination == ROUTER_MAC || destination[0] & 1 != 0;
        if !for_us || source[0] & 1 != 0 {
            return;
        }
        let datagram = match kind {
            TYPE_ARP => return link::take_arp(&mut self.wire, &packet.bytes),
            TYPE_IPV4 => Datagram::ipv4(&packet, source),
            TYPE_IPV6 => Datagram::ipv6(&packet, source),
            _ => None,
        };
        let Some(datagram) = datagram else { return };
        if datagram.fragment.is_none() {
            return self.take_datagram(packet, &datagram);
        }
        if let Some((packet, datagram)) = self.fragments.take(&packet.bytes, &datagram, self.wire.now) {
            self.take_datagram(packet, &datagram);
        }
    }

    fn take_datagram(&mut self, packet: Packet, datagram: &Datagram) {
        let payload = &packet.bytes[datagram.payload.clone()];
        let unchecked = !packet.trusted && packet.checksum.is_none();
        let optional =
            datagram.protocol == UDP && datagram.source.is_ipv4() && payload.get(6..8) == Some(&[0, 0]);
        let summed = matches!(datagram.protocol, TCP | UDP | ICMPV6) && !optional;
        if unchecked && summed && !checksum_holds(payload, datagram) {
            return;
        }
        if !plan::is_guest(datagram.source) {
            return self.take_from_stranger(&packet, datagram);
        }
        self.wire.learn(datagram.source, datagram.mac);
        match (datagram.protocol, datagram.source.is_ipv4()) {
            (TCP, _) if !datagram.destination.is_multicast() => {
                self.tcp.take(&mut self.wire, packet, datagram);
            }
            (UDP, _) => self.take_udp(&packet, datagram),
            (ICMP, true) => self.echo.take(&mut self.wire, &packet.bytes, datagram),
            (ICMPV6, false) if !link::take_discovery(&mut self.wire, payload, datagram) => {
                self.echo.take(&mut self.wire, &packet.bytes, datagram);
            }
            _ => {}
        }
    }

    /// From a card that has no address yet, or one that is not of this network.
    fn take_from_stranger(&mut self, packet: &Packet, datagram: &Datagram) {
        let unspecified = datagram.source.is_unspecified();
        match datagram.protocol {
            UDP if datagram.source.is_ipv4() => self.take_udp_of_stranger(packet, datagram),
            ICMPV6 if unspecified => {
                link::take_discovery(&mut self.wire, &packet.bytes[datagram.payload.clone()], datagram);
            }
            _ => {}
        }
    }

    fn take_udp_of_stranger(&mut self, packet: &Packet, datagram: &Datagram) {
        let Some(parts) = Parts::parse(&packet.bytes, datagram, false) else { return };
        if parts.destination.port() == dhcp::SERVER_PORT {
            self.dhcp.take(&mut self.wire, parts.payload, datagram);
        }
    }

    fn take_udp(&mut self, packet: &Packet, datagram: &Datagram) {
        let Some(parts) = Parts::parse(&packet.bytes, datagram, packet.segmentation.is_some()) else {
            return;
        };
        let to_all = datagram.destination.is_multicast() || datagram.destination == plan::BROADCAST;
        let to_all = to_all || datagram.destination == std::net::Ipv4Addr::BROADCAST;
        if parts.destination.port() == dhcp::SERVER_PORT && (to_all || plan::is_gateway(datagram.destination))
        {
            self.dhcp.take(&mut self.wire, parts.payload, datagram);
        } else if plan::is_dns(datagram.destination)
            && parts.destination.port() == DNS_PORT
            && !self.wire.restrict
        {
            let asker = Asker { guest: parts.source, mac: datagram.mac, server: parts.destination };
            self.resolver.ask(asker, parts.payload, &self.wire.inbox);
        } else if !to_all {
            self.udp.take(&mut self.wire, packet, datagram, &parts);
        }
    }
}
