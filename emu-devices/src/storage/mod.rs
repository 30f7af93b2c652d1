//! Disks and CD-ROM drives, and the controllers they are connected to.
//!
//! [`ata`] and [`atapi`] are what is inside a drive: commands and what they mean. They do nothing by themselves: a
//! controller hands over a command and gets a plan, carries the data, and tells how it went. [`ahci`] and [`ide`] are
//! their two controllers, which differ in how they carry it. [`nvme`] is drive and controller in one.
//!
//! A controller asks a drive's backend under its own lock, and hears later, when it takes that lock again: each of its
//! requests has a number, and an answer to one that a reset has ended meanwhile is only counted. Memory of the guest is
//! never touched after the controller has said that it is idle: it says so when all its requests have been answered.

pub mod ahci;
pub mod ata;
pub mod atapi;
pub mod ide;
pub mod nvme;
#[cfg(test)]
mod test_backend;
