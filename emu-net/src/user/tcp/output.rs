//! Between the host's socket and the guest: what can be moved is moved.

use super::connection::{Connection, Fate, Held, MOST_PAYLOAD, NEVER, State};
use super::segment::{ACK, FIN};
use crate::user::wire::{Wire, unreachable};
use rustix::{
    buffer::spare_capacity,
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg},
};
use std::{
    io::{self, IoSlice},
    net::Shutdown,
};

/// Pieces that are written at once.
const PIECES: usize = 64;
/// Packets that one connection makes before others have their turn.
const TURN: usize = 8;

impl Connection {
    /// Moves what can be moved. The second is true if there is more to do at once.
    pub fn pump(&mut self, wire: &mut Wire, held: &mut Held) -> (Fate, bool) {
        match self.state {
            State::Connecting => (self.finish_connecting(wire, held), false),
            State::SynReceived | State::SynSent => (Fate::Lives, false),
            State::TimeWait => {
                self.send_owed(wire, held);
                (Fate::Lives, false)
            }
            State::Open => match self.exchange(wire, held) {
                Ok(more) => (self.close_if_done(wire, held), more),
                Err(error) => {
                    log::debug!("connection of {} to {}: {error}", self.guest, self.remote);
                    self.send_reset(wire, held);
                    (Fate::Dies, false)
                }
            },
        }
    }

    fn exchange(&mut self, wire: &mut Wire, held: &mut Held) -> io::Result<bool> {
        self.write_to_host(held)?;
        let more = self.read_from_host(wire, held)?;
        self.send_owed(wire, held);
        Ok(more)
    }

    /// The host's attempt to connect has come to an end, or not yet.
    fn finish_connecting(&mut self, wire: &mut Wire, held: &mut Held) -> Fate {
        let Some(socket) = self.socket.as_ref().filter(|_| self.writable) else { return Fate::Lives };
        let failure = match socket.take_error() {
            Ok(None) if socket.peer_addr().is_ok() => None,
            // Not yet, whatever it was.
            Ok(None) => return Fate::Lives,
            Ok(Some(error)) | Err(error) => Some(error),
        };
        match failure {
            None => {
                self.state = State::SynReceived;
                self.request = Vec::new();
                self.send_syn(wire, held, ACK);
                Fate::Lives
            }
            Some(error) => {
                self.refuse(wire, held, &error);
                Fate::Dies
            }
        }
    }

    /// Tells the guest that there is no connection, and why.
    pub fn refuse(&mut self, wire: &mut Wire, held: &Held, error: &io::Error) {
        log::debug!("connection of {} to {}: {error}", self.guest, self.remote);
        if let Some(reason) = unreachable(error) {
            let request = std::mem::take(&mut self.request);
            wire.send_unreachable(&self.route(), reason, &request);
        }
        // Not every system believes the message.
        self.send_reset(wire, held);
    }

    fn write_to_host(&mut self, held: &mut Held) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        while self.writable && !self.received.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut offered = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.received) {
                *slice = IoSlice::new(&piece.bytes[piece.at..piece.end]);
                offered += slice.len();
            }
            let count = self.received.len().min(PIECES);
            let mut ancillary = SendAncillaryBuffer::default();
            let mut written = match sendmsg(socket, &slices[..count], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => 0,
                Err(error) => return Err(error.into()),
            };
            self.writable = written == offered;
            held.received = held.received.saturating_sub(written);
            self.received_len -= written;
            while let Some(first) = self.received.front_mut() {
                let step = written.min(first.end - first.at);
                first.at += step;
                written -= step;
                if first.at < first.end {
                    break;
                }
                self.received.pop_front();
            }
        }
        if self.guest_ended && self.received.is_empty() && !self.write_closed {
            self.write_closed = true;
            // The other side may have gone already.
            let _ = socket.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Reads as much as the guest has room for. True if there may be more.
    fn read_from_host(&mut self, wire: &mut Wire, held: &mut Held) -> io::Result<bool> {
        for _ in 0..TURN {
            if !self.readable || self.fin_sent || wire.outlet.is_blocked() {
                return Ok(false);
            }
            let room = self.room(held);
            if room == 0 {
                self.wait_for_window(wire);
                return Ok(false);
            }
            let want = room.min(self.read_hint);
            let mut frame = self.frame_for(want, held);
            let headers = frame.len();
            let Some(socket) = &self.socket else { return Ok(false) };
            match recv(socket, spare_capacity(&mut frame), RecvFlags::empty()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    held.keep(frame);
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
            let len = frame.len() - headers;
            if len * 2 < want {
                let exact = frame.clone();
                held.keep(std::mem::replace(&mut frame, exact));
            }
            if len == 0 {
                self.fin_sent = true;
                self.send_data(wire, held, frame, FIN);
                return Ok(false);
            }
            self.adapt_reading(len, want);
            self.send_data(wire, held, frame, 0);
        }
        Ok(true)
    }

    /// The next read is as long as this one lets expect.
    fn adapt_reading(&mut self, len: usize, want: usize) {
        if len < want {
            // That was all for now; the end of the data is told once.
            self.readable = self.ended;
            self.read_hint = (len * 2).max(4096).min(self.read_hint.max(4096));
        } else if want == self.read_hint {
            let whole = MOST_PAYLOAD - MOST_PAYLOAD % (self.mss as usize).max(1);
            self.read_hint = (want * 4).min(whole.clamp(4096, MOST_PAYLOAD));
        }
    }

    fn wait_for_window(&mut self, wire: &Wire) {
        if self.sent.is_empty() && self.retransmit_at == NEVER {
            self.arm_retransmission(wire.now);
        }
    }

    fn send_owed(&mut self, wire: &mut Wire, held: &Held) {
        // A card without room hears it later, once for all.
        if !wire.outlet.is_blocked() && (self.ack_now || self.window_grew()) {
            self.send_empty(wire, held, ACK);
        }
    }

    fn close_if_done(&mut self, wire: &mut Wire, held: &Held) -> Fate {
        if !(self.fin_sent && self.sent.is_empty() && self.write_closed) {
            return Fate::Lives;
        }
        if self.ack_now {
            self.send_empty(wire, held, ACK);
        }
        self.begin_time_wait(wire.now);
        Fate::Lives
    }
}
