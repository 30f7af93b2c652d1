//! Fragments of IP packets: put together again as they come from the guest (RFC 791, 3.2; RFC 8200, 4.5), and made of
//! what is too long for it.

use super::frame::{Datagram, ETHERNET, Fragment, Mac, Route};
use super::plan::MTU;
use emu_core::backend::{Packet, checksum};
use std::{collections::VecDeque, net::IpAddr};

/// Packets that are put together at once.
const MOST_PACKETS: usize = 16;
/// Fragments of one packet: of the least size that a link may have, and some more.
const MOST_FRAGMENTS: usize = 256;
/// The longest payload.
const MOST_BYTES: usize = 65535;
/// Nanoseconds after which what is incomplete is given up.
const TIMEOUT: u64 = 15_000_000_000;

struct Partial {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
    mac: Mac,
    since: u64,
    /// By offset; none overlaps another.
    pieces: Vec<(usize, Vec<u8>)>,
    /// The payload's length, known from the last fragment on.
    len: Option<usize>,
}

/// Packets of which not all fragments have come.
#[derive(Default)]
pub(super) struct Fragments(VecDeque<Partial>);

impl Fragments {
    /// Takes a fragment. Returns the whole packet's payload, in a frame of its own, when it was the last that lacked.
    pub fn take(&mut self, frame: &[u8], datagram: &Datagram, now: u64) -> Option<(Packet, Datagram)> {
        let fragment = datagram.fragment?;
        self.0.retain(|partial| now.saturating_sub(partial.since) < TIMEOUT);
        let same = |partial: &Partial| {
            (partial.source, partial.destination, partial.protocol, partial.id)
                == (datagram.source, datagram.destination, datagram.protocol, fragment.id)
        };
        let index = self.0.iter().position(same).unwrap_or_else(|| self.begin(datagram, fragment, now));
        let piece = &frame[datagram.payload.clone()];
        if !self.0[index].add(fragment, piece) {
            self.0.remove(index);
            return None;
        }
        if !self.0[index].complete() {
            return None;
        }
        self.0.remove(index).map(Partial::join)
    }

    fn begin(&mut self, datagram: &Datagram, fragment: Fragment, now: u64) -> usize {
        if self.0.len() == MOST_PACKETS {
            self.0.pop_front();
        }
        self.0.push_back(Partial {
            source: datagram.source,
            destination: datagram.destination,
            protocol: datagram.protocol,
            id: fragment.id,
            mac: datagram.mac,
            since: now,
            pieces: Vec::new(),
            len: None,
        });
        self.0.len() - 1
    }
}

impl Partial {
    /// False if the fragment contradicts the others, which makes the whole packet worthless (RFC 5722).
    fn add(&mut self, fragment: Fragment, piece: &[u8]) -> bool {
        let end = fragment.offset + piece.len();
        if end > MOST_BYTES
            || self.pieces.len() == MOST_FRAGMENTS
            || (fragment.more && !piece.len().is_multiple_of(8))
        {
            return false;
        }
        let at = self.pieces.partition_point(|(offset, _)| *offset < fragment.offset);
        if self.pieces.get(at).is_some_and(|(offset, bytes)| *offset == fragment.offset && bytes == piece) {
            return true;
        }
        let before = at.checked_sub(1).and_then(|before| self.pieces.get(before));
        let overlaps = before.is_some_and(|(offset, bytes)| offset + bytes.len() > fragment.offset)
            || self.pieces.get(at).is_some_and(|(offset, _)| *offset < end);
        if overlaps || piece.is_empty() {
            return false;
        }
        if !fragment.more && *self.len.get_or_insert(end) != end {
            return false;
        }
        self.pieces.insert(at, (fragment.offset, piece.to_vec()));
        self.len
            .is_none_or(|len| self.pieces.last().is_none_or(|(offset, bytes)| offset + bytes.len() <= len))
    }

    fn complete(&self) -> bool {
        self.len == Some(self.pieces.iter().map(|(_, bytes)| bytes.len()).sum())
    }

    fn join(self) -> (Packet, Datagram) {
        let mut bytes = vec![0; ETHERNET];
        self.pieces.iter().for_each(|(_, piece)| bytes.extend_from_slice(piece));
        let datagram = Datagram {
            mac: self.mac,
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            payload: ETHERNET..bytes.len(),
            fragment: None,
        };
        (Packet { bytes, ..Packet::default() }, datagram)
    }
}

/// Makes fragments of a frame that is too long, and whose checksums are made.
pub(super) fn split(frame: &[u8], route: &Route, protocol: u8, id: u32) -> Vec<Packet> {
    let headers = route.headers();
    let v4 = route.guest.is_ipv4();
    let extension = if v4 { 0 } else { 8 };
    let room = (MTU - (headers - ETHERNET) - extension) & !7;
    let payload = &frame[headers..];
    let piece = |(index, piece): (usize, &[u8])| {
        let offset = index * room;
        let more = offset + piece.len() < payload.len();
        let mut bytes = vec![0; headers + extension];
        bytes.extend_from_slice(piece);
        if v4 {
            route.write_headers(&mut bytes, protocol);
            let ip = &mut bytes[ETHERNET..ETHERNET + 20];
            ip[4..6].copy_from_slice(&(id as u16).to_be_bytes());
            ip[6..8].copy_from_slice(&((offset / 8) as u16 | u16::from(more) << 13).to_be_bytes());
            ip[10..12].fill(0);
            let sum = !checksum::sum(ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            route.write_headers(&mut bytes, 44);
            bytes[headers] = protocol;
            bytes[headers + 2..headers + 4].copy_from_slice(&(offset as u16 | u16::from(more)).to_be_bytes());
            bytes[headers + 4..headers + 8].copy_from_slice(&id.to_be_bytes());
        }
        Packet { bytes, trusted: true, ..Packet::default() }
    };
    payload.chunks(room).enumerate().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::frame::UDP;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn route(v4: bool) -> Route {
        let (guest, remote): (IpAddr, IpAddr) = match v4 {
            true => (Ipv4Addr::new(10, 0, 2, 15).into(), Ipv4Addr::new(10, 0, 2, 2).into()),
            false => (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()),
        };
        Route { mac: [2; 6], guest, remote }
    }

    fn parse(packet: &Packet, v4: bool) -> Datagram {
        if v4 { Datagram::ipv4(packet, [4; 6]).unwrap() } else { Datagram::ipv6(packet, [4; 6]).unwrap() }
    }

    proptest! {
        #[test]
        fn what_was_split_is_joined_in_any_order(
            payload in proptest::collection::vec(any::<u8>(), 1600..20000),
            v4: bool,
            turns in proptest::collection::vec(any::<proptest::sample::Index>(), 20),
        ) {
            let route = route(v4);
            let frame = [vec![0; route.headers()], payload.clone()].concat();
            let mut pieces = split(&frame, &route, UDP, 77);
            prop_assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.bytes.len() <= MTU + ETHERNET));
            for (at, turn) in turns.iter().enumerate() {
                let len = pieces.len();
                pieces.swap(at % len, turn.index(len));
            }
            let mut fragments = Fragments::default();
            let (last, others) = pieces.split_last().unwrap();
            for piece in others {
                prop_assert!(fragments.take(&piece.bytes, &parse(piece, v4), 0).is_none());
            }
            let (packet, datagram) = fragments.take(&last.bytes, &parse(last, v4), 0).unwrap();
            prop_assert_eq!(&packet.bytes[datagram.payload.clone()], &payload[..]);
            prop_assert_eq!(datagram.protocol, UDP);
        }
    }

    #[test]
    fn what_overlaps_is_given_up_and_what_is_incomplete_is_bounded() {
        let route = route(true);
        let mut fragments = Fragments::default();
        for id in 0..100 {
            let pieces = split(&[0; 5000], &route, UDP, id);
            assert!(fragments.take(&pieces[0].bytes, &parse(&pieces[0], true), 0).is_none());
            assert!(fragments.0.len() <= MOST_PACKETS);
        }
        // The same place, other bytes.
        let pieces = split(&[1; 5000], &route, UDP, 99);
        assert!(fragments.take(&pieces[0].bytes, &parse(&pieces[0], true), 0).is_none());
        assert!(fragments.0.iter().all(|partial| partial.id != 99));
        // They are not waited for for ever.
        let late = split(&[1; 5000], &route, UDP, 200);
        assert!(fragments.take(&late[0].bytes, &parse(&late[0], true), TIMEOUT).is_none());
        assert_eq!(fragments.0.len(), 1);
    }
}
