//! Whole guests on the built emulator. Each test is named by what it proves.
//!
//! Guests run side by side as the test runner decides; a test that measures time has the machine to itself.

mod benchmark;
mod cards;
mod clocks;
mod control;
mod debian;
mod differential;
mod durability;
mod embedded;
mod engines;
mod full_disk;
mod gdb;
mod jit;
mod linux;
mod memtest;
mod modules;
mod options;
mod our_images;
mod outside;
mod share;
mod virtio;

use std::{
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

/// The longest that a guest may take to say the next thing. Not a measure of speed: machines that test are small
/// and busy.
const PATIENCE: Duration = Duration::from_secs(300);

static HOST: RwLock<()> = RwLock::new(());

/// Held while a guest runs beside others.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    // A test that failed with the lock in its hand has done no harm to the others.
    HOST.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held while a guest must have the host to itself.
fn alone() -> RwLockWriteGuard<'static, ()> {
    HOST.write().unwrap_or_else(PoisonError::into_inner)
}
