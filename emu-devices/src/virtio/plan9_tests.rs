//! The 9P transport, as a driver sees it.

use super::{
    Plan9,
    common::{reg::DEVICE_STATUS, status},
    driver::{BUFFERS, Driver, WRITE},
};
use emu_core::backend::{MessageBackend, Reply};
use parking_lot::Mutex;
use std::sync::Arc;

/// A message, the room for its reply, and who is told that.
type Request = (Vec<u8>, usize, Reply);

/// Keeps requests until they are answered.
#[derive(Default)]
struct Server {
    waiting: Mutex<Vec<Request>>,
    resets: Mutex<u32>,
}

impl MessageBackend for Server {
    fn request(&self, message: Vec<u8>, room: usize, reply: Reply) {
        self.waiting.lock().push((message, room, reply));
    }

    fn reset(&self) {
        *self.resets.lock() += 1;
    }
}

/// A driver that has sent a message of three bytes with room for eight.
fn asked() -> (Driver<Plan9>, Arc<Server>, Request) {
    let server = Arc::<Server>::default();
    let mut driver = Driver::new(Plan9::new(server.clone(), "work"));
    driver.start(1, 0);
    driver.dma.write(BUFFERS, b"ask").unwrap();
    driver.chain(0, 0, &[(BUFFERS, 3, 0), (BUFFERS + 0x100, 8, WRITE)]);
    driver.offer(0, 0);
    driver.notify(0);
    let request = server.waiting.lock().pop().unwrap();
    (driver, server, request)
}

#[test]
fn a_message_goes_to_the_server_and_its_reply_to_the_guest() {
    let (mut driver, _server, (message, room, reply)) = asked();
    assert_eq!((message.as_slice(), room), (&b"ask"[..], 8));
    assert_eq!(driver.used(0), None, "not before there is a reply");
    reply(b"answer".to_vec());
    assert_eq!(driver.used(0), Some((0, 6)));
    assert_eq!(driver.memory(BUFFERS + 0x100, 6), b"answer");
}

#[test]
fn a_reply_that_has_no_room_needs_a_reset() {
    for bytes in [&b"too long a reply"[..], b""] {
        let (driver, _server, (_, _, reply)) = asked();
        reply(bytes.to_vec());
        assert_ne!(driver.status() & status::NEEDS_RESET, 0);
    }
}

#[test]
fn a_reply_after_a_reset_writes_nothing() {
    let (driver, server, (_, _, reply)) = asked();
    let resets = *server.resets.lock();
    driver.write(DEVICE_STATUS, 0);
    assert_eq!(*server.resets.lock(), resets + 1);
    reply(b"answer".to_vec());
    assert_eq!(driver.memory(BUFFERS + 0x100, 6), [0; 6]);
}
