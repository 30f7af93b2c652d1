//! One TCP connection: the guest's, which ends here, and the host's socket that it is joined to.
//!
//! The cable neither loses nor reorders, and nobody else is on it. So there is no congestion control until a card drops
//! a packet after all; no selective acknowledgment, no timestamps; and what arrives out of order is forgotten, as its
//! sender has it still. Data is never held twice: what the guest sends waits in the packets it came in until the host's
//! socket takes it, what the host sends is read into packets that stay until the guest has acknowledged them, and is
//! read only as far as the guest's window is open.

use super::segment::{ACK, FIN, HEADER, PSH, RST, SYN, distance};
use crate::user::frame::{ETHERNET, Route, TCP};
use crate::user::outlet::Owner;
use crate::user::wire::Wire;
use emu_core::backend::{Packet, Segmentation, SegmentationKind};
use socket2::Socket;
use std::{collections::VecDeque, net::SocketAddr};

/// The most that is taken from the guest before the host takes it.
pub(super) const RECEIVE_LIMIT: u32 = 1 << 20;
/// The same when many connections hold much.
pub(super) const RECEIVE_LIMIT_SHORT: u32 = 1 << 16;
/// By how much our windows are shifted.
const SHIFT: u8 = 6;
/// The most that is sent to the guest before it acknowledges.
const SEND_LIMIT: u32 = 2 << 20;
/// Segments sent that are not acknowledged.
const MOST_SENT: usize = 512;
/// The longest payload of a packet: with the headers it fits into the length field of IPv4.
pub(super) const MOST_PAYLOAD: usize = 65535 - 60;
/// Bytes that all connections together may hold for the host, and for the guest.
pub(super) const MOST_HELD: usize = 64 << 20;
/// Long frames that are kept.
const MOST_SPARE: usize = 48;
/// Nanoseconds until what is not acknowledged is sent again, at first.
const RETRANSMIT: u64 = 400_000_000;
/// The longest that is waited between two attempts.
const RETRANSMIT_MOST: u64 = 30_000_000_000;
/// Attempts: for some five minutes.
const ATTEMPTS: u32 = 15;
/// Nanoseconds for which a small segment's acknowledgment waits for something that goes with it.
const DELAYED_ACK: u64 = 2_000_000;
/// Nanoseconds without a word after which the guest is asked whether it still knows of the connection.
const IDLE: u64 = 600_000_000_000;
/// Nanoseconds in which a lost last acknowledgment is made good for.
const TIME_WAIT: u64 = 2_000_000_000;
pub(super) const NEVER: u64 = u64::MAX;

/// Bytes that connections hold, all together.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// For the host.
    pub received: usize,
    /// For the guest.
    pub sent: usize,
    /// Long frames to be used again: fresh memory of the host's costs more than what is done with it.
    pub spare: Vec<Vec<u8>>,
}

impl Held {
    /// Keeps the frame of a segment that is done with.
    pub fn keep(&mut self, frame: Vec<u8>) {
        if frame.capacity() > MOST_PAYLOAD / 2 && self.spare.len() < MOST_SPARE {
            self.spare.push(frame);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The guest has asked; the host is connecting.
    Connecting,
    /// The guest has been told that it is connected.
    SynReceived,
    /// A forward: the guest has been asked.
    SynSent,
    /// Both ways, or what is left of them.
    Open,
    /// All is said; a repeated FIN is answered.
    TimeWait,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    Dies,
}

/// Payload from the guest, in the packet that it came in.
pub(super) struct Received {
    pub bytes: Vec<u8>,
    pub at: usize,
    pub end: usize,
}

/// A segment that the guest has not acknowledged.
pub(super) struct Sent {
    pub sequence: u32,
    /// Of sequence space.
    pub len: u32,
    pub flags: u8,
    /// `None` while it is on its way to the card.
    pub bytes: Option<Vec<u8>>,
}

pub(super) struct Connection {
    pub slot: usize,
    pub generation: u32,
    pub guest: SocketAddr,
    /// As the guest sees it.
    pub remote: SocketAddr,
    pub mac: [u8; 6],
    pub state: State,
    pub socket: Option<Socket>,
    /// The packet that asked for the connection, for an error about it.
    pub request: Vec<u8>,

    // What the host's socket is ready for, until it says otherwise.
    pub readable: bool,
    pub writable: bool,
    /// The end of the host's data has been seen ahead.
    pub ended: bool,
    pub read_hint: usize,

    // From the guest.
    pub next_received: u32,
    /// The acknowledgment that was sent last.
    pub acknowledged: u32,
    /// Where the window ends that the guest has been told of.
    pub window_end: u32,
    pub window_unscaled: bool,
    pub shift: u8,
    pub received: VecDeque<Received>,
    pub received_len: usize,
    pub guest_ended: bool,
    pub write_closed: bool,
    pub ack_now: bool,

    // To the guest.
    pub first_sent: u32,
    pub next_sent: u32,
    pub window: u32,
    pub guest_shift: u8,
    pub mss: u32,
    pub sent: VecDeque<Sent>,
    pub fin_sent: bool,
    pub duplicates: u32,
    pub congestion_window: u32,
    /// Losses before this are one loss.
    pub recovering_to: u32,
    pub recovering: bool,

    // Time.
    pub retransmit_at: u64,
    pub attempts: u32,
    pub ack_at: u64,
    pub idle_at: u64,
    /// The earliest entry in the queue of timers.
    pub queued_at: u64,
    /// It is among those that are looked at in this turn.
    pub dirty: bool,
}

impl Connection {
    pub fn new(guest: SocketAddr, remote: SocketAddr, state: State, sequence: u32) -> Self {
        Connection {
            slot: 0,
            generation: 0,
            guest,
            remote,
            mac: [0; 6],
            state,
            socket: None,
            request: Vec::new(),
            readable: false,
            writable: false,
            ended: false,
            read_hint: 4096,
            next_received: 0,
            acknowledged: 0,
            window_end: 0,
            window_unscaled: true,
            shift: SHIFT,
            received: VecDeque::new(),
            received_len: 0,
            guest_ended: false,
            write_closed: false,
            ack_now: false,
            first_sent: sequence,
            next_sent: sequence,
            window: 0,
            guest_shift: 0,
            mss: 536,
            sent: VecDeque::new(),
            fin_sent: false,
            duplicates: 0,
            congestion_window: u32::MAX,
            recovering_to: sequence,
            recovering: false,
            retransmit_at: NEVER,
            attempts: 0,
            ack_at: NEVER,
            idle_at: NEVER,
            queued_at: NEVER,
            dirty: false,
        }
    }

    pub fn route(&self) -> Route {
        Route { mac: self.mac, guest: self.guest.ip(), remote: self.remote.ip() }
    }

    /// Sent and not acknowledged.
    pub fn in_flight(&self) -> u32 {
        distance(self.first_sent, self.next_sent)
    }

    /// Bytes that may be sent now.
    pub fn room(&self, held: &Held) -> usize {
        let in_flight = self.in_flight();
        let most = self.window.min(self.congestion_window).min(SEND_LIMIT);
        let room = most.saturating_sub(in_flight);
        // A sliver of a window is not worth a packet, unless nothing would ever come after it.
        if in_flight > 0 && (room < self.mss || self.sent.len() >= MOST_SENT || held.sent >= MOST_HELD) {
            return 0;
        }
        let least = if held.sent >= MOST_HELD { self.mss as usize } else { MOST_PAYLOAD };
        (room as usize).min(least)
    }

    /// The window to tell the guest of now, and to remember as told.
    fn window_field(&mut self, held: &Held, syn: bool) -> u16 {
        let limit = if held.received > MOST_HELD / 2 { RECEIVE_LIMIT_SHORT } else { RECEIVE_LIMIT };
        let told = distance(self.next_received, self.window_end);
        let told = if told > RECEIVE_LIMIT { 0 } else { told };
        // A window that was given is not taken back.
        let window = limit.saturating_sub(self.received_len as u32).max(told);
        let shift = if syn { 0 } else { self.shift };
        self.window_unscaled = syn;
        let field = window.div_ceil(1 << shift).min(65535) as u16;
        self.window_end = self.next_received.wrapping_add(u32::from(field) << shift);
        field
    }

    /// Whether the guest should hear that the window has grown.
    pub fn window_grew(&self) -> bool {
        let told = distance(self.next_received, self.window_end);
        let told = if told > RECEIVE_LIMIT { 0 } else { told };
        let window = RECEIVE_LIMIT.saturating_sub(self.received_len as u32);
        let most = 65535 << self.shift;
        // A SYN could not say it, but there is time until the guest has sent so much.
        !self.window_unscaled && window.min(most) >= told + (RECEIVE_LIMIT / 4).min(most / 2)
    }

    /// Writes all headers of a segment, which carries what is in `bytes` after them.
    fn write_headers(&mut self, bytes: &mut [u8], sequence: u32, flags: u8, held: &Held) {
        let route = self.route();
        let header = if flags & SYN != 0 { HEADER + 8 } else { HEADER };
        let window = self.window_field(held, flags & SYN != 0);
        route.write_headers(bytes, TCP);
        let tcp = &mut bytes[route.headers()..];
        tcp[..2].copy_from_slice(&self.remote.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&self.guest.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        let acknowledgment = if flags & ACK != 0 { self.next_received } else { 0 };
        tcp[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
        tcp[12] = (header as u8 / 4) << 4;
        tcp[13] = flags;
        tcp[14..16].copy_from_slice(&window.to_be_bytes());
        tcp[18..20].fill(0);
        if flags & ACK != 0 {
            self.acknowledged = self.next_received;
            self.ack_now = false;
            self.ack_at = NEVER;
        }
    }

    /// Makes a packet of a frame.
    fn packet(&mut self, mut bytes: Vec<u8>, sequence: u32, flags: u8, held: &Held) -> Packet {
        self.write_headers(&mut bytes, sequence, flags, held);
        let route = self.route();
        let checksum = route.offer_checksum(&mut bytes, TCP, 16);
        let headers = route.headers() + HEADER;
        let long = bytes.len() > headers + self.mss as usize;
        let kind = if self.guest.is_ipv4() { SegmentationKind::Tcp4 } else { SegmentationKind::Tcp6 };
        let segmentation =
            long.then_some(Segmentation { kind, size: self.mss as u16, headers: headers as u16, ecn: false });
        Packet { bytes, checksum: Some(checksum), segmentation, trusted: true }
    }

    /// An empty frame to be filled: room for the headers, and `payload` bytes more.
    pub fn frame(&self, payload: usize) -> Vec<u8> {
        let headers = self.route().headers() + HEADER;
        let mut frame = Vec::with_capacity(headers + payload);
        frame.resize(headers, 0);
        frame
    }

    /// The same, in a frame that has been used if one fits.
    pub fn frame_for(&self, payload: usize, held: &mut Held) -> Vec<u8> {
        let headers = self.route().headers() + HEADER;
        if payload > MOST_PAYLOAD / 2
            && let Some(mut frame) = held.spare.pop().filter(|frame| frame.capacity() == headers + payload)
        {
            frame.truncate(headers);
            frame.resize(headers, 0);
            return frame;
        }
        self.frame(payload)
    }

    /// Sends a segment without data.
    pub fn send_empty(&mut self, wire: &mut Wire, held: &Held, flags: u8) {
        let frame = self.frame(0);
        let packet = self.packet(frame, self.next_sent, flags, held);
        wire.outlet.send(packet);
    }

    /// Sends SYN, or SYN and ACK.
    pub fn send_syn(&mut self, wire: &mut Wire, held: &Held, flags: u8) {
        let mut frame = self.frame(8);
        let at = frame.len();
        // The cable carries packets of any length.
        let mss = (MOST_PAYLOAD as u16).to_be_bytes();
        frame.extend_from_slice(&[2, 4, mss[0], mss[1]]);
        // Window scaling is offered, or accepted.
        if flags & ACK == 0 || self.shift > 0 {
            frame.extend_from_slice(&[1, 3, 3, SHIFT]);
        } else {
            frame.extend_from_slice(&[1, 1, 1, 1]);
        }
        debug_assert_eq!(frame.len(), at + 8);
        let packet = self.packet(frame, self.first_sent, flags | SYN, held);
        wire.outlet.send(packet);
        self.next_sent = self.first_sent.wrapping_add(1);
        self.arm_retransmission(wire.now);
    }

    /// Ends it abruptly.
    pub fn send_reset(&mut self, wire: &mut Wire, held: &Held) {
        self.send_empty(wire, held, RST | ACK);
    }

    /// Sends new data, or with [`FIN`] the end. `frame` is from [`frame`](Self::frame), with the data.
    pub fn send_data(&mut self, wire: &mut Wire, held: &mut Held, frame: Vec<u8>, flags: u8) {
        let payload = frame.len() - self.route().headers() - HEADER;
        held.sent += payload;
        let len = payload as u32 + u32::from(flags & FIN != 0);
        let (sequence, flags) = (self.next_sent, flags | ACK | if payload > 0 { PSH } else { 0 });
        self.next_sent = sequence.wrapping_add(len);
        if self.sent.is_empty() {
            self.arm_retransmission(wire.now);
        }
        let packet = self.packet(frame, sequence, flags, held);
        self.sent.push_back(Sent { sequence, len, flags, bytes: None });
        wire.outlet.send_owned(packet, self.owner(sequence));
    }

    fn owner(&self, sequence: u32) -> Owner {
        Owner { slot: self.slot, generation: self.generation, sequence }
    }

    /// Sends the oldest segment again.
    pub fn send_again(&mut self, wire: &mut Wire, held: &Held) {
        let Some(first) = self.sent.front_mut() else { return };
        let (sequence, flags) = (first.sequence, first.flags);
        // Without its bytes it is still on its way.
        let Some(bytes) = first.bytes.take() else { return };
        let packet = self.packet(bytes, sequence, flags, held);
        wire.outlet.send_owned(packet, self.owner(sequence));
    }

    /// Takes a segment's bytes back that have been handed to the card.
    pub fn restore(&mut self, sequence: u32, bytes: Vec<u8>) {
        let base = self.sent.front().map_or(0, |sent| sent.sequence);
        let index =
            self.sent.binary_search_by_key(&distance(base, sequence), |sent| distance(base, sent.sequence));
        if let Ok(index) = index {
            self.sent[index].bytes = Some(bytes);
        }
    }

    /// A timer for what was just sent, from its first attempt on.
    pub fn arm_retransmission(&mut self, now: u64) {
        let shift = self.attempts.min(10);
        self.retransmit_at = now + (RETRANSMIT << shift).min(RETRANSMIT_MOST);
    }

    /// The guest was heard.
    pub fn heard(&mut self, now: u64) {
        self.idle_at = now + IDLE;
    }

    /// An acknowledgment is owed, but need not go alone.
    pub fn owe_ack(&mut self, now: u64) {
        if distance(self.acknowledged, self.next_received) >= 2 * self.mss.min(1460) {
            self.ack_now = true;
        } else if self.ack_at == NEVER {
            self.ack_at = now + DELAYED_ACK;
        }
    }

    /// When it is to be looked at again.
    pub fn deadline(&self) -> u64 {
        self.retransmit_at.min(self.ack_at).min(self.idle_at)
    }

    /// All is said.
    pub fn begin_time_wait(&mut self, now: u64) {
        self.state = State::TimeWait;
        self.socket = None;
        self.idle_at = NEVER;
        self.retransmit_at = now + TIME_WAIT;
    }

    /// Does what is due.
    pub fn expire(&mut self, wire: &mut Wire, held: &Held) -> Fate {
        let now = wire.now;
        if self.ack_at <= now {
            self.ack_at = NEVER;
            self.ack_now = true;
        }
        if self.idle_at <= now {
            // An old byte again: a guest that knows of the connection says where it is.
            self.heard(now);
            self.probe(wire, held);
        }
        if self.retransmit_at > now {
            return Fate::Lives;
        }
        self.retransmit_at = NEVER;
        self.attempts += 1;
        if self.state == State::TimeWait || self.attempts > ATTEMPTS {
            return Fate::Dies;
        }
        match self.state {
            State::SynReceived => self.send_syn(wire, held, ACK),
            State::SynSent => self.ask_guest(wire, held),
            State::Open if self.sent.is_empty() => self.probe_window(wire, held),
            State::Open => {
                self.lost();
                self.send_again(wire, held);
                self.arm_retransmission(now);
            }
            State::Connecting | State::TimeWait => {}
        }
        Fate::Lives
    }

    fn probe(&mut self, wire: &mut Wire, held: &Held) {
        let frame = self.frame(0);
        let packet = self.packet(frame, self.next_sent.wrapping_sub(1), ACK, held);
        wire.outlet.send(packet);
    }

    /// The window is shut: asks whether it still is.
    fn probe_window(&mut self, wire: &mut Wire, held: &Held) {
        self.attempts = self.attempts.min(6);
        self.probe(wire, held);
        self.arm_retransmission(wire.now);
    }

    /// A card has dropped a packet: less is sent at once until it shows that it can take more.
    pub fn lost(&mut self) {
        if !self.recovering {
            self.recovering = true;
            self.recovering_to = self.next_sent;
            self.congestion_window = (self.in_flight() / 2).max(4 * self.mss);
        }
    }

    /// A forward: asks the guest for a connection, or who has the guest's address.
    pub fn ask_guest(&mut self, wire: &mut Wire, held: &Held) {
        match wire.mac_of(self.guest.ip()) {
            Some(mac) => {
                self.mac = mac;
                self.send_syn(wire, held, 0);
            }
            None => {
                crate::user::link::solicit(wire, self.guest.ip());
                self.arm_retransmission(wire.now);
            }
        }
    }

    /// Makes the host's side see a connection that was reset, not closed.
    pub fn reset_host(&mut self) {
        if let Some(socket) = self.socket.take() {
            // Without this it is closed in order, which is all there is to it then.
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

const _: () = assert!(MOST_PAYLOAD + ETHERNET + 60 <= emu_core::backend::MAX_PACKET);
