//! Sending: virtio 1.2, 5.1.6.2.

use super::{
    super::{Chain, Queues},
    Net, header,
};
use emu_core::backend::{MAX_PACKET, Packet};

/// What becomes of a chain.
enum Outgoing {
    Packet(Packet),
    /// Nothing is sent.
    Dropped,
    /// The driver does not keep to the specification.
    Malformed(&'static str),
}

/// The packet of a chain.
fn packet(chain: &Chain) -> Outgoing {
    let Some(len) = chain.readable.len().checked_sub(header::LEN) else {
        return Outgoing::Malformed("a packet without its header");
    };
    if !chain.writable.is_empty() {
        return Outgoing::Malformed("a packet to be written");
    }
    if len > MAX_PACKET {
        return Outgoing::Dropped;
    }
    let (mut head, mut bytes) = ([0; header::LEN], Vec::new());
    chain.readable.copy_to(0, &mut head);
    chain.readable.append_to(header::LEN..header::LEN + len, &mut bytes);
    header::packet(&head, bytes).map_or(Outgoing::Dropped, Outgoing::Packet)
}

impl Net {
    /// Sends what is in the transmit queue of `pair`. No more than the queue holds: chains go back at the end.
    pub(super) fn transmit(&mut self, pair: u16, queues: &mut Queues) {
        let mut done = Vec::new();
        while let Some(chain) = queues.pop(2 * pair + 1) {
            match packet(&chain) {
                Outgoing::Packet(packet) => {
                    if self.pairs > 1 {
                        self.steering.sent(&packet.bytes, pair);
                    }
                    self.cable.send(packet);
                }
                Outgoing::Dropped => {}
                Outgoing::Malformed(reason) => queues.fail(reason),
            }
            done.push((chain, 0));
        }
        self.cable.flush();
        queues.complete_all(done);
    }
}
