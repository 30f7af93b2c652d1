//! The reset control register, RST_CNT at port 0xCF9. ICH9 datasheet, 13.7.5.
//!
//! It lies in the middle of the PCI address port, so the PCI host bridge decodes it.

use serde::{Deserialize, Serialize};

const SYS_RST: u8 = 1 << 1;
const RST_CPU: u8 = 1 << 2;
const FULL_RST: u8 = 1 << 3;

/// What is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetKind {
    /// INIT# to the processors.
    Soft,
    /// RESET# to the whole machine.
    Hard,
}

/// The register, and whom it tells.
pub struct ResetControl {
    rst_cnt: u8,
    request: Box<dyn Fn(ResetKind) + Send + Sync>,
}

impl ResetControl {
    /// The register at power-on. `request` is called on the vCPU's thread with the device locked: it has to note
    /// the request and return.
    pub fn new(request: Box<dyn Fn(ResetKind) + Send + Sync>) -> Self {
        ResetControl { rst_cnt: 0, request }
    }

    /// The register.
    pub fn read(&self) -> u8 {
        self.rst_cnt
    }

    /// A write: RST_CPU going from 0 to 1 resets.
    pub fn write(&mut self, value: u8) {
        let before = self.rst_cnt;
        self.rst_cnt = value & (SYS_RST | RST_CPU | FULL_RST);
        if before & RST_CPU == 0 && value & RST_CPU != 0 {
            (self.request)(if value & SYS_RST != 0 { ResetKind::Hard } else { ResetKind::Soft });
        }
    }

    /// The register as after RESET#, or as saved.
    pub fn set(&mut self, value: u8) {
        self.rst_cnt = value & (SYS_RST | RST_CPU | FULL_RST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use rstest::rstest;
    use std::sync::Arc;

    #[rstest]
    #[case::acpi(&[0x06], &[ResetKind::Hard])]
    #[case::two_steps(&[0x02, 0x06], &[ResetKind::Hard])]
    #[case::full(&[0x0E], &[ResetKind::Hard])]
    #[case::processor_only(&[0x04], &[ResetKind::Soft])]
    #[case::no_edge(&[0x04, 0x06], &[ResetKind::Soft])]
    #[case::only_prepared(&[0x02, 0x0A], &[])]
    fn the_rising_edge_of_rst_cpu_resets(#[case] writes: &[u8], #[case] expected: &[ResetKind]) {
        let seen = Arc::new(Mutex::new(vec![]));
        let log = seen.clone();
        let mut control = ResetControl::new(Box::new(move |kind| log.lock().push(kind)));
        writes.iter().for_each(|&value| control.write(value));
        assert_eq!(*seen.lock(), expected);
    }
}
