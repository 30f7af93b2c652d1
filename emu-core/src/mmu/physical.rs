//! Accesses by guest-physical address: RAM, where code is kept in view, or a device.

use crate::{
    arch::Width,
    cpu::Cpu,
    memory::host::{self, after_loads, before_stores},
};
use std::sync::atomic::Ordering;

impl Cpu {
    /// Loads `len` (1, 2, 4, 8) bytes at a guest-physical address, within one page.
    #[inline]
    pub fn read_physical(&mut self, physical: u64, len: u64) -> u64 {
        match self.memory.ram().host_ptr(physical) {
            // SAFETY: the access lies within one page, which RAM keeps mapped.
            Some(host) => unsafe { host::load(host, width(len)) },
            None => self.device_read(physical, len as u8),
        }
    }

    /// Stores the low `len` (1, 2, 4, 8) bytes of `value` at a guest-physical address, within one page.
    #[inline]
    pub fn write_physical(&mut self, physical: u64, len: u64, value: u64) {
        match self.memory.ram().host_ptr(physical) {
            Some(host) => {
                self.before_write(physical, len);
                // SAFETY: as in `read_physical`.
                unsafe { host::store(host, width(len), value) }
            }
            None => self.device_write(physical, len as u8, value),
        }
    }

    pub(super) fn read_physical_bytes(&mut self, physical: u64, buffer: &mut [u8]) {
        if let Some(host) = self.memory.ram().host_ptr(physical) {
            // SAFETY: the bytes lie within one page, which RAM keeps mapped.
            unsafe { std::ptr::copy_nonoverlapping(host, buffer.as_mut_ptr(), buffer.len()) };
            after_loads();
            return;
        }
        let mut at = 0;
        while at < buffer.len() {
            let len = device_chunk(physical + at as u64, buffer.len() - at);
            let value = self.device_read(physical + at as u64, len as u8);
            buffer[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
            at += len;
        }
    }

    pub(super) fn write_physical_bytes(&mut self, physical: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(host) = self.memory.ram().host_ptr(physical) {
            self.before_write(physical, bytes.len() as u64);
            before_stores();
            // SAFETY: the bytes lie within one page, which RAM keeps mapped.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), host, bytes.len()) };
            return;
        }
        let mut at = 0;
        while at < bytes.len() {
            let len = device_chunk(physical + at as u64, bytes.len() - at);
            let mut value = [0; 8];
            value[..len].copy_from_slice(&bytes[at..at + len]);
            self.device_write(physical + at as u64, len as u8, u64::from_le_bytes(value));
            at += len;
        }
    }

    fn device_read(&mut self, physical: u64, len: u8) -> u64 {
        let value = self.io.mmio_read(self.id, physical, len);
        self.device_was_accessed();
        value
    }

    fn device_write(&mut self, physical: u64, len: u8, value: u64) {
        self.io.mmio_write(self.id, physical, len, value);
        self.device_was_accessed();
    }

    /// After an access to a device, which may ask for anything by it: what it asks for, such as an interrupt, comes before
    /// the next instruction, and not at the end of the block.
    #[inline]
    pub(crate) fn device_was_accessed(&mut self) {
        if self.signal.attention().load(Ordering::Relaxed) != 0 {
            self.leave_block = true;
        }
    }

    /// A store to RAM is about to happen: if it touches code, blocks decoded from there are thrown away.
    #[inline]
    pub fn before_write(&mut self, physical: u64, len: u64) {
        let memory = &self.memory;
        if memory.code().has_code(physical) {
            let hit = memory.code().written(self.id, physical, len);
            if hit != 0 {
                self.invalidate_code(physical & !0xFFF, hit);
            }
        }
    }
}

/// The width of `len` (1, 2, 4, 8) bytes.
fn width(len: u64) -> Width {
    Width::from_bytes(len as usize).unwrap_or(Width::W64)
}

/// Largest aligned power-of-two access, at most 8 bytes, at `address` within `left` bytes.
fn device_chunk(address: u64, left: usize) -> usize {
    let mut len = 8;
    while len > left || !address.is_multiple_of(len as u64) {
        len /= 2;
    }
    len
}

// The granule of code tracking must divide a page.
const _: () = assert!(4096 % crate::memory::GRANULE == 0);
