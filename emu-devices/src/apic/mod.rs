//! Advanced programmable interrupt controllers: one local APIC per vCPU, the I/O APIC, and the message fabric
//! between them.
//!
//! SDM vol. 3, chapter 11; 82093AA datasheet. Not modelled: the three-wire APIC bus with its arbitration and
//! checksum errors (the fabric never loses a message), CMCI, interrupt remapping, and the thermal and
//! performance sources (their LVT entries exist and stay silent).
//!
//! # Locks
//! Locks are taken in one order only: *device, I/O APIC, local APIC, then the leaves* ([`VcpuSignal`] and the
//! timer queue). A local APIC never calls another APIC while it is locked: a register write returns an
//! [`Effect`] (an IPI to send, an EOI to broadcast), and [`ApicBus`] performs it after unlocking. So an I/O
//! APIC may deliver with its own lock held, and an EOI that reaches it may make it deliver again.
//!
//! [`VcpuSignal`]: emu_core::engine::VcpuSignal

mod bus;
mod io;
mod local;
mod message;

pub use bus::{ApicBus, ApicWires};
pub use io::{IoApic, IoApicPins, IoApicState, PINS};
pub use local::{Acknowledge, ApicConfig, Effect, Ipi, LocalApic, LocalApicState, Shorthand};
pub use message::{BROADCAST, DeliveryMode, Destination, Message};

/// Where the local APIC's register page is after reset.
pub const LOCAL_APIC_BASE: u64 = 0xFEE0_0000;
/// Length of the local APIC's register page.
pub const LOCAL_APIC_LEN: u64 = 0x1000;
/// Where a PC has its first I/O APIC.
pub const IO_APIC_BASE: u64 = 0xFEC0_0000;
/// Length of the I/O APIC's register window.
pub const IO_APIC_LEN: u64 = 0x1000;
/// APIC ID of the I/O APIC at power-on; tables of the firmware name it.
pub const IO_APIC_ID: u8 = 0;

/// Somebody who wants to know of the end of level-triggered interrupts: an I/O APIC.
pub trait EoiSink: Send + Sync {
    /// A local APIC has ended the level-triggered interrupt `vector`. Called with no APIC locked.
    fn end_of_interrupt(&self, vector: u8);
}
