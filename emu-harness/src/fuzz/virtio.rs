//! Virtio devices under a guest without sense: bytes as accesses to registers, configuration space and memory, as chains
//! of buffers that are nearly right, and as what the host's end does meanwhile.
//!
//! Whatever has happened, at the end the device can be saved and what was saved restored; it comes out of a reset, works
//! with a driver that does nothing wrong, and answers a ring without sense by DEVICE_NEEDS_RESET.

mod balloon;
mod block;
mod console;
mod entropy;
mod guest;
mod plan9;
mod plan9_message;
mod vsock;

use super::devices::{Input, wires};
use emu_core::{bus::Snapshot, memory::Dma};
use emu_devices::virtio::{VirtioDevice, VirtioPci};
pub(super) use entropy::Silence;
use guest::{Guest, NEEDS_RESET, RUNNING};
use parking_lot::Mutex;
use std::sync::Arc;

/// Steps of one run.
const STEPS: usize = 256;

type Function<D> = Arc<Mutex<VirtioPci<D>>>;

/// A device's host's end, and what drivers say to the device.
trait Subject: Sized {
    type Device: VirtioDevice;
    /// A queue whose chains the device takes as soon as it hears of them.
    const TAKEN: u16;

    fn new(input: &mut Input<'_>) -> Self;
    fn device(&self, dma: &Dma) -> Self::Device;
    /// What a driver says first, and in which queue.
    fn greeting(&self) -> Vec<(u16, Vec<u8>)> {
        Vec::new()
    }
    /// What a driver may have written in a chain of `queue`.
    fn message(&self, queue: u16, input: &mut Input<'_>) -> Vec<u8>;
    /// Something that the host's end may do.
    fn act(&self, function: &Function<Self::Device>, input: &mut Input<'_>);
    /// The host's end does all that is waited for.
    fn settle(&self);
    /// What has to be so in the end. `memory` is the guest's.
    fn check(&self, _memory: &[u8]) {}
}

fn run<S: Subject>(data: &[u8]) {
    let mut input = Input(data);
    // The same is said to the restored device's host's end.
    let beginning = input;
    let subject = S::new(&mut input);
    let mut guest = Guest::new(&subject);
    guest.start(0);
    guest.greet();
    for _ in 0..STEPS {
        if input.0.is_empty() {
            break;
        }
        guest.step(&mut input);
        if input.next(1) & 1 != 0 {
            subject.act(&guest.function, &mut input);
        }
    }
    restore(&subject, &guest, beginning);
    recover(&subject, &mut guest);
    // One way at a time: it takes as long as everything else.
    corrupt(&subject, &mut guest, (data.len() % usize::from(guest::WRONG)) as u8);
    subject.check(&guest.memory());
}

fn restore<S: Subject>(subject: &S, guest: &Guest<'_, S>, mut beginning: Input<'_>) {
    subject.settle();
    let state = guest.function.lock().save();
    let other = S::new(&mut beginning);
    let args = (other.device(&guest.dma), wires(&guest.dma));
    let restored = VirtioPci::restore(args, state).expect("what a device saved is restored");
    let restored = restored.share();
    other.settle();
    drop(restored);
    other.settle();
}

/// The device comes out of a reset, and works.
fn recover<S: Subject>(subject: &S, guest: &mut Guest<'_, S>) {
    guest.open_windows();
    guest.set_status(0);
    subject.settle();
    assert_eq!(guest.status(), 0, "the reset does not end");
    guest.start(0);
    guest.greet();
    subject.settle();
    assert_eq!(guest.status(), RUNNING, "a driver that does nothing wrong");
}

/// A ring that makes no sense is found out, and the next reset helps.
fn corrupt<S: Subject>(subject: &S, guest: &mut Guest<'_, S>, kind: u8) {
    guest.make_wrong(S::TAKEN, kind);
    subject.settle();
    assert_eq!(guest.status(), RUNNING | NEEDS_RESET, "a ring that is wrong by {kind}");
    recover(subject, guest);
}

/// The virtio block device.
pub fn virtio_block(data: &[u8]) {
    run::<block::Host>(data);
}

/// The virtio console, by itself or with named ports.
pub fn virtio_console(data: &[u8]) {
    run::<console::Host>(data);
}

/// The virtio entropy device.
pub fn virtio_entropy(data: &[u8]) {
    run::<entropy::Host>(data);
}

/// The virtio memory balloon.
pub fn virtio_balloon(data: &[u8]) {
    run::<balloon::Host>(data);
}

/// The virtio socket device.
pub fn virtio_vsock(data: &[u8]) {
    run::<vsock::Host>(data);
}

/// A shared folder, from the ring to the host's files.
pub fn virtio_9p(data: &[u8]) {
    run::<plan9::Host>(data);
}
