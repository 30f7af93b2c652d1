//! Segments from the guest (RFC 9293, 3.10.7).

use super::connection::{Connection, Fate, Held, MOST_HELD, NEVER, Received, State};
use super::segment::{ACK, FIN, RST, SYN, Segment, SynOptions, before, distance};
use crate::user::wire::Wire;

/// Payloads below this are put together, so that a guest that sends byte by byte does not make us keep a packet each.
const SMALL: usize = 512;
/// Duplicate acknowledgments that mean a loss (RFC 5681).
const DUPLICATES: u32 = 3;

impl Connection {
    /// Takes the guest's first segment, or its answer to ours.
    fn take_syn(&mut self, segment: &Segment, options: SynOptions) {
        self.next_received = segment.sequence.wrapping_add(1);
        self.acknowledged = self.next_received;
        self.window_end = self.next_received;
        self.mss = u32::from(options.mss).min(super::connection::MOST_PAYLOAD as u32);
        match options.shift {
            Some(shift) => self.guest_shift = shift,
            None => (self.guest_shift, self.shift) = (0, 0),
        }
        // A SYN's window is never scaled.
        self.window = u32::from(segment.window);
    }

    /// The guest asks for a connection.
    pub fn begin(&mut self, segment: &Segment, options: SynOptions, now: u64) {
        self.take_syn(segment, options);
        self.heard(now);
    }

    /// Takes a segment of this connection. `payload` begins at `at` in `bytes`.
    pub fn take(
        &mut self,
        wire: &mut Wire,
        held: &mut Held,
        segment: &Segment,
        (bytes, at): (Vec<u8>, usize),
    ) -> Fate {
        self.heard(wire.now);
        match self.state {
            State::Connecting => {
                if segment.has(RST) && !segment.has(SYN) {
                    self.reset_host();
                    return Fate::Dies;
                }
                Fate::Lives
            }
            State::SynSent => self.take_answer(wire, held, segment, &bytes[at - segment.header..at]),
            State::SynReceived | State::Open | State::TimeWait => {
                self.take_established(wire, held, segment, (bytes, at))
            }
        }
    }

    /// What the guest says to a forwarded connection.
    fn take_answer(&mut self, wire: &mut Wire, held: &Held, segment: &Segment, header: &[u8]) -> Fate {
        if !segment.has(ACK) || segment.acknowledgment != self.next_sent || self.in_flight() == 0 {
            return Fate::Lives;
        }
        if segment.has(RST) {
            self.reset_host();
            return Fate::Dies;
        }
        if segment.has(SYN) {
            self.take_syn(segment, SynOptions::parse(header.get(20..).unwrap_or_default()));
            self.first_sent = self.next_sent;
            self.opened();
            self.send_empty(wire, held, ACK);
        }
        Fate::Lives
    }

    fn opened(&mut self) {
        self.state = State::Open;
        self.retransmit_at = NEVER;
        self.attempts = 0;
    }

    fn take_established(
        &mut self,
        wire: &mut Wire,
        held: &mut Held,
        segment: &Segment,
        (bytes, at): (Vec<u8>, usize),
    ) -> Fate {
        let in_window = distance(self.next_received, segment.sequence) <= super::connection::RECEIVE_LIMIT;
        if segment.has(RST) {
            if segment.sequence == self.next_received || in_window {
                self.reset_host();
                return Fate::Dies;
            }
            return Fate::Lives;
        }
        if segment.has(SYN) {
            if self.state == State::SynReceived {
                self.send_syn(wire, held, ACK);
            } else {
                // A guest that has restarted answers this with a reset (RFC 5961).
                self.ack_now = true;
            }
            return Fate::Lives;
        }
        if !segment.has(ACK) {
            return Fate::Lives;
        }
        if self.state == State::SynReceived {
            if segment.acknowledgment != self.next_sent {
                return Fate::Lives;
            }
            self.first_sent = self.next_sent;
            self.opened();
        }
        if !self.take_acknowledgment(wire, held, segment) {
            self.ack_now = true;
            return Fate::Lives;
        }
        if segment.len > 0 || segment.has(FIN) {
            self.take_payload(wire, held, segment, (bytes, at));
        }
        Fate::Lives
    }

    /// False if it acknowledges what has never been sent.
    fn take_acknowledgment(&mut self, wire: &mut Wire, held: &mut Held, segment: &Segment) -> bool {
        let acknowledgment = segment.acknowledgment;
        if before(self.next_sent, acknowledgment) {
            return false;
        }
        if before(acknowledgment, self.first_sent) {
            return true;
        }
        let window = u32::from(segment.window) << self.guest_shift;
        let progress = distance(self.first_sent, acknowledgment);
        if progress == 0 {
            let same = window == self.window && segment.len == 0 && !segment.has(FIN);
            if same && !self.sent.is_empty() {
                self.duplicate(wire, held);
            }
        }
        self.window = window;
        if window > 0 && self.sent.is_empty() {
            self.retransmit_at = NEVER;
            self.attempts = 0;
        }
        if progress > 0 {
            self.progress(wire, held, acknowledgment, progress);
        }
        true
    }

    fn duplicate(&mut self, wire: &mut Wire, held: &Held) {
        self.duplicates += 1;
        if self.duplicates == DUPLICATES && !self.recovering {
            self.lost();
            self.send_again(wire, held);
            self.arm_retransmission(wire.now);
        }
    }

    fn progress(&mut self, wire: &mut Wire, held: &mut Held, acknowledgment: u32, progress: u32) {
        self.first_sent = acknowledgment;
        self.duplicates = 0;
        self.attempts = 0;
        while let Some(first) = self.sent.front()
            && !before(acknowledgment, first.sequence.wrapping_add(first.len))
        {
            let payload = first.len - u32::from(first.flags & FIN != 0);
            held.sent = held.sent.saturating_sub(payload as usize);
            let frame = self.sent.pop_front().and_then(|sent| sent.bytes);
            frame.into_iter().for_each(|frame| held.keep(frame));
        }
        if self.congestion_window != u32::MAX {
            self.congestion_window = self.congestion_window.saturating_add(progress);
        }
        if self.recovering {
            if before(acknowledgment, self.recovering_to) {
                // The next one is missing as well (RFC 6582).
                self.send_again(wire, held);
            } else {
                self.recovering = false;
            }
        }
        if self.sent.is_empty() {
            self.retransmit_at = NEVER;
        } else {
            self.arm_retransmission(wire.now);
        }
    }

    fn take_payload(
        &mut self,
        wire: &Wire,
        held: &mut Held,
        segment: &Segment,
        (bytes, at): (Vec<u8>, usize),
    ) {
        let known = distance(segment.sequence, self.next_received);
        let total = distance(segment.sequence, segment.end());
        // What is old, what comes too early, and what the host is not waiting for: the guest hears what is expected.
        if known > total || self.guest_ended || self.state == State::TimeWait || (known == total && total > 0)
        {
            self.ack_now = true;
            return;
        }
        let skip = (known as usize).min(segment.len);
        let window = distance(self.next_received, self.window_end) as usize;
        let len = (segment.len - skip).min(window);
        let cut = len < segment.len - skip;
        if held.received + len > MOST_HELD {
            self.ack_now = true;
            return;
        }
        if len > 0 {
            self.hold(held, bytes, at + skip, len);
        }
        self.next_received = self.next_received.wrapping_add(len as u32);
        if segment.has(FIN) && !cut {
            self.next_received = self.next_received.wrapping_add(1);
            self.guest_ended = true;
            self.ack_now = true;
        } else if cut {
            self.ack_now = true;
        } else {
            self.owe_ack(wire.now);
        }
    }

    /// Keeps `len` bytes at `at` of `bytes` for the host.
    fn hold(&mut self, held: &mut Held, mut bytes: Vec<u8>, at: usize, len: usize) {
        held.received += len;
        self.received_len += len;
        if let Some(last) = self.received.back_mut()
            && len < SMALL
            && last.end - last.at < SMALL * 16
        {
            last.bytes.truncate(last.end);
            last.bytes.extend_from_slice(&bytes[at..at + len]);
            last.end += len;
            return;
        }
        if bytes.capacity() > 2 * bytes.len() + SMALL {
            bytes.shrink_to_fit();
        }
        self.received.push_back(Received { bytes, at, end: at + len });
    }
}
