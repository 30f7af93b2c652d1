//! CPUID leaves. SDM vol. 2, CPUID.
//!
//! The topology is one package of as many cores as there are vCPUs, one thread each. The TSC's and the local
//! APIC timer's rates are in leaf 15H (and for kernels that look there, 40000010H), so that nobody has to
//! measure them. Left out: leaf 1FH (leaf 0BH says the same), performance monitoring (leaf 0AH is zero).

use super::{CRYSTAL_HERTZ, CpuModel, Feature, TSC_HERTZ, TSC_RATIO, feature::Place, feature::TABLE};
use crate::arch::{Cr4, Xcr0};

/// What CPUID depends on, beyond the model.
#[derive(Debug, Clone, Copy)]
pub struct CpuidContext {
    /// APIC ID of the vCPU.
    pub apic_id: u32,
    /// IA32_APIC_BASE.EN.
    pub apic_enabled: bool,
    /// CR4.
    pub cr4: Cr4,
    /// XCR0.
    pub xcr0: Xcr0,
}

/// Highest basic leaf.
const MAX_BASIC: u32 = 0x16;
/// Highest extended leaf.
const MAX_EXTENDED: u32 = 0x8000_0008;
/// Highest leaf of the range that processors leave to hypervisors.
const MAX_HYPERVISOR: u32 = 0x4000_0010;
const VENDOR: &[u8; 12] = b"GenuineIntel";
const HYPERVISOR: &[u8; 12] = b"EmuEmuEmuEmu";
/// Bytes in a cache line.
const LINE: u32 = 64;

/// A level of cache for leaf 4.
struct Cache {
    /// 1 data, 2 instructions, 3 unified.
    kind: u32,
    level: u32,
    ways: u32,
    sets: u32,
}

const CACHES: [Cache; 4] = [
    Cache { kind: 1, level: 1, ways: 8, sets: 64 },
    Cache { kind: 2, level: 1, ways: 8, sets: 64 },
    Cache { kind: 3, level: 2, ways: 8, sets: 512 },
    Cache { kind: 3, level: 3, ways: 16, sets: 8192 },
];

/// XSAVE component `number` (2 and up): size, and offset in the standard format.
pub const fn xsave_component(number: u32) -> Option<(usize, usize)> {
    match number {
        2 => Some((256, 576)),
        9 => Some((8, 2688)),
        _ => None,
    }
}

/// Bytes of an XSAVE area for `components`, in standard or compacted format.
pub fn xsave_size(components: Xcr0, compacted: bool) -> usize {
    let mut end = 576;
    for number in (2..63).filter(|&n| components.bits() >> n & 1 != 0) {
        if let Some((size, offset)) = xsave_component(number) {
            end = if compacted { end + size } else { end.max(offset + size) };
        }
    }
    end
}

impl CpuModel {
    /// EAX, EBX, ECX, EDX of CPUID.
    pub fn cpuid(&self, leaf: u32, subleaf: u32, context: &CpuidContext) -> [u32; 4] {
        let hypervisor = self.has(Feature::Hypervisor);
        match leaf {
            0..=MAX_BASIC => self.basic(leaf, subleaf, context),
            0x4000_0000..=0x4FFF_FFFF if hypervisor => hypervisor_leaf(leaf),
            0x8000_0000..=MAX_EXTENDED => self.extended(leaf),
            // What does not exist reads as the highest basic leaf.
            _ => self.basic(MAX_BASIC, subleaf, context),
        }
    }

    fn basic(&self, leaf: u32, subleaf: u32, context: &CpuidContext) -> [u32; 4] {
        let own = match leaf {
            0 => text_leaf(MAX_BASIC, VENDOR),
            1 => self.leaf_1(context),
            // Caches are in leaf 4; prefetching is of 64 bytes.
            2 => [0x00F0_FF01, 0, 0, 0],
            4 => cache_leaf(subleaf, self.cpus()),
            // Smallest and largest monitor line; MWAIT's extension that breaks on masked interrupts; C1.
            5 if self.has(Feature::Monitor) => [LINE, LINE, 3, 0x10],
            // Highest sub-leaf; OSPKE.
            7 if subleaf == 0 => [2, 0, u32::from(context.cr4.contains(Cr4::PKE)) << 4, 0],
            0xB => topology_leaf(subleaf, self.cpus(), context.apic_id),
            0xD if self.has(Feature::Xsave) => self.xsave_leaf(subleaf, context),
            0x15 => [1, TSC_RATIO, CRYSTAL_HERTZ as u32, 0],
            0x16 => [
                (TSC_HERTZ / 1_000_000) as u32,
                (TSC_HERTZ / 1_000_000) as u32,
                (CRYSTAL_HERTZ / 1_000_000) as u32,
                0,
            ],
            _ => [0; 4],
        };
        // Leaves without sub-leaves ignore ECX.
        let subleaf = if matches!(leaf, 7 | 0xD) { subleaf } else { 0 };
        let mut offered = self.offered(leaf, subleaf);
        if leaf == 1 && !context.apic_enabled {
            offered[3] &= !(1 << 9);
        }
        std::array::from_fn(|n| own[n] | offered[n])
    }

    /// The feature bits of a leaf.
    fn offered(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let mut registers = [0; 4];
        for row in TABLE {
            if let Place::Cpuid(l, s, register) = row.place
                && (l, s) == (leaf, subleaf)
                && self.has(row.feature)
            {
                registers[register as usize] |= 1 << row.bit;
            }
        }
        registers
    }

    fn leaf_1(&self, context: &CpuidContext) -> [u32; 4] {
        let clflush = if self.has(Feature::Clflush) { LINE / 8 } else { 0 };
        let several = u32::from(self.cpus() > 1);
        let ids = self.cpus().next_power_of_two().min(255);
        let osxsave = u32::from(context.cr4.contains(Cr4::OSXSAVE));
        [self.signature(), clflush << 8 | ids << 16 | context.apic_id << 24, osxsave << 27, several << 28]
    }

    fn xsave_leaf(&self, subleaf: u32, context: &CpuidContext) -> [u32; 4] {
        let all = self.xcr0();
        match subleaf {
            0 => {
                let (now, most) = (xsave_size(context.xcr0, false), xsave_size(all, false));
                [all.bits() as u32, now as u32, most as u32, (all.bits() >> 32) as u32]
            }
            1 if self.has(Feature::Xsavec) => [0, xsave_size(context.xcr0, true) as u32, 0, 0],
            2..63 if all.bits() >> subleaf & 1 != 0 => {
                let (size, offset) = xsave_component(subleaf).unwrap_or_default();
                [size as u32, offset as u32, 0, 0]
            }
            _ => [0; 4],
        }
    }

    fn extended(&self, leaf: u32) -> [u32; 4] {
        let own = match leaf {
            0x8000_0000 => [MAX_EXTENDED, 0, 0, 0],
            0x8000_0002..=0x8000_0004 => self.brand_leaf(leaf - 0x8000_0002),
            // L2: 256 KiB, 8 ways.
            0x8000_0006 => [0, 0, 256 << 16 | 6 << 12 | LINE, 0],
            0x8000_0008 => {
                let linear = if self.has(Feature::Lm) { self.linear_address_bits() } else { 32 };
                [linear << 8 | self.physical_address_bits(), 0, 0, 0]
            }
            _ => [0; 4],
        };
        let offered = self.offered(leaf, 0);
        std::array::from_fn(|n| own[n] | offered[n])
    }

    fn brand_leaf(&self, part: u32) -> [u32; 4] {
        let mut brand = [0; 48];
        let text = format!("emu {}", self.name());
        let len = text.len().min(47);
        brand[..len].copy_from_slice(&text.as_bytes()[..len]);
        let at = part as usize * 16;
        std::array::from_fn(|n| word(&brand[at + 4 * n..]))
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// A leaf that says its highest number and a name, in the processor's order EBX, EDX, ECX.
fn text_leaf(max: u32, name: &[u8; 12]) -> [u32; 4] {
    [max, word(name), word(&name[8..]), word(&name[4..])]
}

fn hypervisor_leaf(leaf: u32) -> [u32; 4] {
    match leaf {
        // Hypervisors' names are in the order EBX, ECX, EDX.
        0x4000_0000 => [MAX_HYPERVISOR, word(HYPERVISOR), word(&HYPERVISOR[4..]), word(&HYPERVISOR[8..])],
        0x4000_0010 => [(TSC_HERTZ / 1000) as u32, (CRYSTAL_HERTZ / 1000) as u32, 0, 0],
        _ => [0; 4],
    }
}

fn cache_leaf(subleaf: u32, cpus: u32) -> [u32; 4] {
    let Some(cache) = CACHES.get(subleaf as usize) else { return [0; 4] };
    let cores = cpus.next_power_of_two() - 1;
    let sharing = if cache.level == 3 { cores } else { 0 };
    // Bit 8: self-initialising. The third level is inclusive (EDX bit 1).
    let eax = cache.kind | cache.level << 5 | 1 << 8 | sharing.min(0xFFF) << 14 | cores.min(0x3F) << 26;
    [eax, (cache.ways - 1) << 22 | (LINE - 1), cache.sets - 1, if cache.level == 3 { 2 } else { 0 }]
}

fn topology_leaf(subleaf: u32, cpus: u32, id: u32) -> [u32; 4] {
    let id_bits = cpus.next_power_of_two().trailing_zeros();
    let level = subleaf & 0xFF;
    match subleaf {
        0 => [0, 1, 1 << 8 | level, id],
        1 => [id_bits, cpus, 2 << 8 | level, id],
        _ => [0, 0, level, id],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> CpuidContext {
        CpuidContext { apic_id: 2, apic_enabled: true, cr4: Cr4::empty(), xcr0: Xcr0::X87 }
    }

    fn text(registers: [u32; 4]) -> Vec<u8> {
        registers.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn leaf_0_names_the_vendor() {
        let [max, b, c, d] = CpuModel::default().cpuid(0, 0, &context());
        assert_eq!(max, 0x16);
        assert_eq!(&text([b, d, c, 0])[..12], b"GenuineIntel");
    }

    #[test]
    fn the_brand_string_names_the_model() {
        let model = CpuModel::named("max").unwrap();
        assert_eq!(&text(model.cpuid(0x8000_0002, 0, &context()))[..8], b"emu max\0");
    }

    #[test]
    fn dynamic_bits_follow_the_control_registers() {
        let model = CpuModel::named("max").unwrap();
        let mut context = context();
        assert_eq!(model.cpuid(1, 0, &context)[2] >> 27 & 1, 0);
        assert_eq!(model.cpuid(1, 0, &context)[3] >> 9 & 1, 1);
        context.cr4 = Cr4::OSXSAVE | Cr4::PKE;
        context.apic_enabled = false;
        assert_eq!(model.cpuid(1, 0, &context)[2] >> 27 & 1, 1);
        assert_eq!(model.cpuid(1, 0, &context)[3] >> 9 & 1, 0);
        assert_eq!(model.cpuid(7, 0, &context)[2] >> 3 & 3, 3, "PKU and OSPKE");
        assert_eq!(model.cpuid(7, 1, &context), [0; 4]);
    }

    #[test]
    fn the_tsc_rate_is_the_crystal_times_the_ratio() {
        let [denominator, numerator, crystal, _] = CpuModel::default().cpuid(0x15, 0, &context());
        assert_eq!(u64::from(crystal) * u64::from(numerator) / u64::from(denominator), TSC_HERTZ);
    }

    #[test]
    fn three_cpus_are_three_cores_of_one_package() {
        let model = CpuModel::default().with_cpus(3);
        assert_eq!(model.cpuid(0xB, 0, &context()), [0, 1, 0x100, 2]);
        assert_eq!(model.cpuid(0xB, 1, &context()), [2, 3, 0x201, 2]);
        assert_eq!(model.cpuid(0xB, 2, &context()), [0, 0, 2, 2]);
        assert_eq!(model.cpuid(4, 0, &context())[0] >> 26, 3);
        assert_eq!(model.cpuid(4, 4, &context()), [0; 4]);
        assert_eq!(model.cpuid(1, 0, &context())[1] >> 24, 2);
    }

    #[test]
    fn leaves_that_do_not_exist_read_as_the_highest_basic_one() {
        let model = CpuModel::default();
        let highest = model.cpuid(0x16, 0, &context());
        assert_eq!(model.cpuid(0x17, 0, &context()), highest);
        assert_eq!(model.cpuid(0x8000_0009, 0, &context()), highest);
        assert_eq!(model.without(Feature::Hypervisor).cpuid(0x4000_0000, 0, &context()), highest);
    }

    #[test]
    fn xsave_sizes_follow_the_components() {
        let max = CpuModel::named("max").unwrap();
        assert_eq!(max.cpuid(0xD, 0, &context()), [0x207, 576, 2696, 0]);
        assert_eq!(max.cpuid(0xD, 9, &context()), [8, 2688, 0, 0]);
        let all = CpuidContext { xcr0: max.xcr0(), ..context() };
        assert_eq!(max.cpuid(0xD, 1, &all), [0xF, 840, 0, 0]);
        let v3 = CpuModel::named("x86-64-v3").unwrap();
        assert_eq!(v3.cpuid(0xD, 0, &CpuidContext { xcr0: v3.xcr0(), ..context() }), [7, 832, 832, 0]);
        assert_eq!(v3.cpuid(0xD, 2, &context()), [256, 576, 0, 0]);
        assert_eq!(v3.without(Feature::Avx).cpuid(0xD, 2, &all), [0; 4]);
    }

    #[test]
    fn a_kernel_finds_no_vulnerability_to_mitigate() {
        let capabilities = CpuModel::default().arch_capabilities();
        assert_eq!(capabilities, 1 << 62 | 0x0D10_E17B);
    }
}
