//! Model-specific registers that are plain storage to the rest of the CPU.

use serde::{Deserialize, Serialize};

/// MSRs by their manual names. SDM vol. 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the manual's names")]
pub struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub fmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub tsc_adjust: u64,
    pub tsc_aux: u64,
    pub pat: u64,
    pub mtrr_def_type: u64,
    pub mtrr_fixed: [u64; 11],
    pub mtrr_physbase: [u64; 8],
    pub mtrr_physmask: [u64; 8],
    pub misc_enable: u64,
    pub feature_control: u64,
    pub spec_ctrl: u64,
    pub debugctl: u64,
    pub xss: u64,
    pub mcg_status: u64,
    pub microcode_revision: u64,
}

impl Msrs {
    /// After RESET#.
    pub fn reset() -> Self {
        Msrs {
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            tsc_adjust: 0,
            tsc_aux: 0,
            pat: 0x0007_0406_0007_0406,
            mtrr_def_type: 0,
            mtrr_fixed: [0; 11],
            mtrr_physbase: [0; 8],
            mtrr_physmask: [0; 8],
            // Fast strings.
            misc_enable: 1,
            // Locked by firmware, nothing enabled.
            feature_control: 1,
            spec_ctrl: 0,
            debugctl: 0,
            xss: 0,
            mcg_status: 0,
            microcode_revision: 0,
        }
    }

    /// What PC firmware leaves in the MTRRs of every processor: write-back memory, but uncacheable in the VGA
    /// window and from `hole` (a power of two below) to 4 GiB, where devices are. Kernels that find
    /// the MTRRs disabled do without the PAT, too.
    pub fn set_firmware_memory_types(&mut self, hole: u64, physical_address_bits: u32) {
        const WRITE_BACK: u64 = 0x0606_0606_0606_0606;
        self.mtrr_fixed = [WRITE_BACK; 11];
        // A0000..BFFFF.
        self.mtrr_fixed[2] = 0;
        self.mtrr_physbase[0] = hole;
        let size = (1u64 << 32) - hole;
        self.mtrr_physmask[0] = ((1 << physical_address_bits) - size) | 1 << 11;
        // Enabled, fixed ranges enabled, write-back.
        self.mtrr_def_type = 1 << 11 | 1 << 10 | 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_window_is_uncacheable_and_the_rest_is_not() {
        let mut msrs = Msrs::reset();
        msrs.set_firmware_memory_types(0xC000_0000, 40);
        assert_eq!((msrs.mtrr_physbase[0], msrs.mtrr_physmask[0]), (0xC000_0000, 0xFF_C000_0800));
        assert_eq!(
            (msrs.mtrr_fixed[1], msrs.mtrr_fixed[2], msrs.mtrr_def_type),
            (0x0606_0606_0606_0606, 0, 0xC06)
        );
    }
}
