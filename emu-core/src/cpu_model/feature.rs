//! The one table of features: where CPUID (or IA32_ARCH_CAPABILITIES) shows each, which models offer it, what
//! it builds on, and which instructions decode because of it. SDM vol. 2, CPUID; vol. 4, 2.1.

use iced_x86::CpuidFeature;
use std::fmt;

/// The least model that offers a feature. Features of the system (paging, MSRs, mitigations that are not
/// needed) belong to every model: the levels of x86-64 are about what applications may execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offer {
    /// Every model.
    Every,
    /// x86-64-v2 and up.
    V2,
    /// x86-64-v3 and up.
    V3,
    /// No level: `max`, and `host` where the host has it.
    Max,
}

/// Output registers of CPUID, in the order of its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names")]
pub enum Register {
    Eax = 0,
    Ebx = 1,
    Ecx = 2,
    Edx = 3,
}

/// Where a feature is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A register of a CPUID leaf and sub-leaf.
    Cpuid(u32, u32, Register),
    /// The MSR IA32_ARCH_CAPABILITIES.
    ArchCapabilities,
}

impl fmt::Display for Place {
    /// As manuals write it: `CPUID.01H:ECX`, and with its sub-leaf `CPUID.07H.0:EBX`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place::Cpuid(leaf, subleaf, register) = *self else {
            return f.write_str("IA32_ARCH_CAPABILITIES");
        };
        write!(f, "CPUID.{leaf:02X}H")?;
        if matches!(leaf, 7 | 0xD) {
            write!(f, ".{subleaf}")?;
        }
        write!(f, ":{}", ["EAX", "EBX", "ECX", "EDX"][register as usize])
    }
}

const L1C: Place = Place::Cpuid(1, 0, Register::Ecx);
const L1D: Place = Place::Cpuid(1, 0, Register::Edx);
const L6A: Place = Place::Cpuid(6, 0, Register::Eax);
const L7B: Place = Place::Cpuid(7, 0, Register::Ebx);
const L7C: Place = Place::Cpuid(7, 0, Register::Ecx);
const L7D: Place = Place::Cpuid(7, 0, Register::Edx);
const L72D: Place = Place::Cpuid(7, 2, Register::Edx);
const LDA: Place = Place::Cpuid(0xD, 1, Register::Eax);
const X1C: Place = Place::Cpuid(0x8000_0001, 0, Register::Ecx);
const X1D: Place = Place::Cpuid(0x8000_0001, 0, Register::Edx);
const X7D: Place = Place::Cpuid(0x8000_0007, 0, Register::Edx);
const X8B: Place = Place::Cpuid(0x8000_0008, 0, Register::Ebx);
const CAP: Place = Place::ArchCapabilities;

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// The feature.
    pub feature: Feature,
    /// Name as in /proc/cpuinfo, or Intel's.
    pub name: &'static str,
    /// Where it is announced.
    pub place: Place,
    /// Bit there.
    pub bit: u32,
    /// Least model.
    pub offer: Offer,
    /// Features it cannot be without.
    pub needs: &'static [Feature],
    /// Instructions that decode because of it.
    pub decodes: &'static [CpuidFeature],
}

/// Declares [`Feature`] and [`TABLE`] from the same rows, so that neither can lack one.
macro_rules! table {
    ($($feature:ident $name:literal $place:ident[$bit:literal] $offer:ident needs[$($needs:ident)*] decodes[$($decodes:ident)*])*) => {
        /// A feature that a CPU model can offer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Feature {
            $(#[doc = concat!("`", $name, "`")] $feature,)*
        }

        /// All features; the row of a feature is at its number.
        pub const TABLE: &[Row] = &[
            $(Row {
                feature: Feature::$feature,
                name: $name,
                place: $place,
                bit: $bit,
                offer: Offer::$offer,
                needs: &[$(Feature::$needs),*],
                decodes: &[$(CpuidFeature::$decodes),*],
            },)*
        ];
    };
}

table! {
    Fpu             "fpu"                L1D[0]  Every needs[] decodes[FPU FPU287 FPU387]
    Vme             "vme"                L1D[1]  Every needs[] decodes[]
    De              "de"                 L1D[2]  Every needs[] decodes[]
    Pse             "pse"                L1D[3]  Every needs[] decodes[]
    Tsc             "tsc"                L1D[4]  Every needs[] decodes[TSC]
    Msr             "msr"                L1D[5]  Every needs[] decodes[MSR]
    Pae             "pae"                L1D[6]  Every needs[] decodes[]
    Mce             "mce"                L1D[7]  Every needs[] decodes[]
    Cx8             "cx8"                L1D[8]  Every needs[] decodes[CX8]
    Apic            "apic"               L1D[9]  Every needs[] decodes[]
    Sep             "sep"                L1D[11] Every needs[] decodes[SEP]
    Mtrr            "mtrr"               L1D[12] Every needs[Msr] decodes[]
    Pge             "pge"                L1D[13] Every needs[] decodes[]
    Mca             "mca"                L1D[14] Every needs[Msr Mce] decodes[]
    Cmov            "cmov"               L1D[15] Every needs[] decodes[CMOV]
    Pat             "pat"                L1D[16] Every needs[Msr] decodes[]
    Pse36           "pse36"              L1D[17] Every needs[Pse] decodes[]
    Clflush         "clflush"            L1D[19] Every needs[] decodes[CLFSH]
    Mmx             "mmx"                L1D[23] Every needs[Fpu] decodes[MMX]
    Fxsr            "fxsr"               L1D[24] Every needs[Fpu] decodes[FXSR]
    Sse             "sse"                L1D[25] Every needs[Fxsr Mmx] decodes[SSE]
    Sse2            "sse2"               L1D[26] Every needs[Sse] decodes[SSE2]
    SelfSnoop       "ss"                 L1D[27] Every needs[] decodes[]

    Sse3            "sse3"               L1C[0]  V2    needs[Sse2] decodes[SSE3]
    // The carry-less product is slower in software than the tables that kernels use without it.
    Pclmulqdq       "pclmulqdq"          L1C[1]  Max   needs[Sse2] decodes[PCLMULQDQ]
    // An idle loop on MWAIT polls: see `microcode::mwait`.
    Monitor         "monitor"            L1C[3]  Max   needs[] decodes[MONITOR]
    Ssse3           "ssse3"              L1C[9]  V2    needs[Sse3] decodes[SSSE3]
    Fma             "fma"                L1C[12] V3    needs[Avx] decodes[FMA]
    Cx16            "cx16"               L1C[13] V2    needs[Cx8 Lm] decodes[CMPXCHG16B]
    Pcid            "pcid"               L1C[17] Every needs[Lm] decodes[]
    Sse41           "sse4_1"             L1C[19] V2    needs[Ssse3] decodes[SSE4_1]
    Sse42           "sse4_2"             L1C[20] V2    needs[Sse41] decodes[SSE4_2]
    X2apic          "x2apic"             L1C[21] Every needs[Apic Msr] decodes[]
    Movbe           "movbe"              L1C[22] V3    needs[] decodes[MOVBE]
    Popcnt          "popcnt"             L1C[23] V2    needs[] decodes[POPCNT]
    TscDeadline     "tsc_deadline_timer" L1C[24] Every needs[Apic Tsc Msr] decodes[]
    Aes             "aes"                L1C[25] Max   needs[Sse2] decodes[AES]
    Xsave           "xsave"              L1C[26] Every needs[Fxsr] decodes[XSAVE]
    Avx             "avx"                L1C[28] V3    needs[Xsave Sse42] decodes[AVX]
    F16c            "f16c"               L1C[29] V3    needs[Avx] decodes[F16C]
    Rdrand          "rdrand"             L1C[30] Every  needs[] decodes[RDRAND]
    Hypervisor      "hypervisor"         L1C[31] Every needs[] decodes[]

    Arat            "arat"               L6A[2]  Every needs[Apic] decodes[]

    Fsgsbase        "fsgsbase"           L7B[0]  Every needs[Lm] decodes[FSGSBASE]
    TscAdjust       "tsc_adjust"         L7B[1]  Every needs[Tsc Msr] decodes[]
    Bmi1            "bmi1"               L7B[3]  V3    needs[] decodes[BMI1]
    Avx2            "avx2"               L7B[5]  V3    needs[Avx] decodes[AVX2]
    Smep            "smep"               L7B[7]  Every needs[] decodes[]
    Bmi2            "bmi2"               L7B[8]  V3    needs[] decodes[BMI2]
    Erms            "erms"               L7B[9]  Every needs[] decodes[]
    Invpcid         "invpcid"            L7B[10] Every needs[Pcid] decodes[INVPCID]
    Rdseed          "rdseed"             L7B[18] Every  needs[] decodes[RDSEED]
    Adx             "adx"                L7B[19] Max   needs[] decodes[ADX]
    Smap            "smap"               L7B[20] Every needs[] decodes[SMAP]
    Clflushopt      "clflushopt"         L7B[23] Every needs[Clflush] decodes[CLFLUSHOPT]
    Clwb            "clwb"               L7B[24] Max   needs[Clflush] decodes[CLWB]
    Sha             "sha_ni"             L7B[29] Max   needs[Sse2] decodes[SHA]

    Umip            "umip"               L7C[2]  Every needs[] decodes[]
    Pku             "pku"                L7C[3]  Max   needs[Xsave Lm] decodes[PKU]
    Gfni            "gfni"               L7C[8]  Max   needs[Sse2] decodes[GFNI]
    Vaes            "vaes"               L7C[9]  Max   needs[Avx Aes] decodes[VAES]
    Vpclmulqdq      "vpclmulqdq"         L7C[10] Max   needs[Avx Pclmulqdq] decodes[VPCLMULQDQ]
    La57            "la57"               L7C[16] Max   needs[Lm] decodes[]
    Rdpid           "rdpid"              L7C[22] Max   needs[Msr] decodes[RDPID]
    Cldemote        "cldemote"           L7C[25] Max   needs[] decodes[CLDEMOTE]

    Fsrm            "fsrm"               L7D[4]  Every needs[] decodes[]
    Serialize       "serialize"          L7D[14] Max   needs[] decodes[SERIALIZE]
    SpecCtrl        "spec_ctrl"          L7D[26] Every needs[Msr] decodes[]
    Stibp           "stibp"              L7D[27] Every needs[SpecCtrl] decodes[]
    FlushL1d        "flush_l1d"          L7D[28] Every needs[Msr] decodes[]
    ArchCapabilities "arch_capabilities" L7D[29] Every needs[Msr] decodes[]
    Ssbd            "ssbd"               L7D[31] Every needs[SpecCtrl] decodes[]

    Xsaveopt        "xsaveopt"           LDA[0]  Every needs[Xsave] decodes[XSAVEOPT]
    Xsavec          "xsavec"             LDA[1]  Every needs[Xsave] decodes[XSAVEC]
    Xgetbv1         "xgetbv1"            LDA[2]  Every needs[Xsave] decodes[]
    Xsaves          "xsaves"             LDA[3]  Every needs[Xsavec Msr] decodes[XSAVES]

    LahfLm          "lahf_lm"            X1C[0]  V2    needs[Lm] decodes[]
    Lzcnt           "lzcnt"              X1C[5]  V3    needs[] decodes[LZCNT]
    Prefetchw       "3dnowprefetch"      X1C[8]  Every needs[] decodes[]
    Syscall         "syscall"            X1D[11] Every needs[Msr Lm] decodes[SYSCALL]
    Nx              "nx"                 X1D[20] Every needs[Pae Msr] decodes[]
    Pdpe1gb         "pdpe1gb"            X1D[26] Every needs[Lm] decodes[]
    Rdtscp          "rdtscp"             X1D[27] Every needs[Tsc Msr] decodes[RDTSCP]
    Lm              "lm"                 X1D[29] Every needs[Pae Msr] decodes[X64]
    InvariantTsc    "invtsc"             X7D[8]  Every needs[Tsc] decodes[]
    Wbnoinvd        "wbnoinvd"           X8B[9]  Max   needs[] decodes[WBNOINVD]

    BhiCtrl         "bhi_ctrl"           L72D[4] Every needs[SpecCtrl] decodes[]
    // What this CPU is not vulnerable to (it does not speculate): kernels then need no slow precautions.
    RdclNo          "rdcl_no"            CAP[0]  Every needs[ArchCapabilities] decodes[]
    IbrsAll         "ibrs_all"           CAP[1]  Every needs[ArchCapabilities SpecCtrl] decodes[]
    SkipL1dfl       "skip_l1dfl_vmentry" CAP[3]  Every needs[ArchCapabilities] decodes[]
    SsbNo           "ssb_no"             CAP[4]  Every needs[ArchCapabilities] decodes[]
    MdsNo           "mds_no"             CAP[5]  Every needs[ArchCapabilities] decodes[]
    PschangeMcNo    "pschange_mc_no"     CAP[6]  Every needs[ArchCapabilities] decodes[]
    TaaNo           "taa_no"             CAP[8]  Every needs[ArchCapabilities] decodes[]
    SbdrSsdpNo      "sbdr_ssdp_no"       CAP[13] Every needs[ArchCapabilities] decodes[]
    FbsdpNo         "fbsdp_no"           CAP[14] Every needs[ArchCapabilities] decodes[]
    PsdpNo          "psdp_no"            CAP[15] Every needs[ArchCapabilities] decodes[]
    BhiNo           "bhi_no"             CAP[20] Every needs[ArchCapabilities] decodes[]
    PbrsbNo         "pbrsb_no"           CAP[24] Every needs[ArchCapabilities] decodes[]
    GdsNo           "gds_no"             CAP[26] Every needs[ArchCapabilities] decodes[]
    RfdsNo          "rfds_no"            CAP[27] Every needs[ArchCapabilities] decodes[]
    ItsNo           "its_no"             CAP[62] Every needs[ArchCapabilities] decodes[]
}

impl Feature {
    /// Its row in the table.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The feature called `name`: as in the table, or another common spelling.
    pub fn named(name: &str) -> Option<Self> {
        let name = match name {
            "pni" => "sse3",
            "sse4.1" | "sse41" => "sse4_1",
            "sse4.2" | "sse42" => "sse4_2",
            "sha" => "sha_ni",
            "abm" => "lzcnt",
            "clfsh" => "clflush",
            "prefetchw" => "3dnowprefetch",
            "constant_tsc" | "nonstop_tsc" => "invtsc",
            "ibrs" | "ibpb" => "spec_ctrl",
            other => other,
        };
        TABLE.iter().find(|row| row.name == name).map(|row| row.feature)
    }
}

/// A set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeatureSet([u64; 2]);

const _: () = assert!(TABLE.len() <= 128, "FeatureSet has 128 bits");

impl FeatureSet {
    /// The set that a model of level `offer` has.
    pub fn of(offer: Offer) -> Self {
        TABLE.iter().filter(|row| row.offer <= offer).map(|row| row.feature).collect()
    }

    /// Whether `feature` is in the set.
    #[inline]
    pub const fn has(&self, feature: Feature) -> bool {
        self.0[feature as usize / 64] >> (feature as usize % 64) & 1 != 0
    }

    /// Adds `feature` and all that it needs.
    pub fn insert(&mut self, feature: Feature) {
        self.0[feature as usize / 64] |= 1 << (feature as usize % 64);
        for &needed in feature.row().needs {
            self.insert(needed);
        }
    }

    /// Removes `feature` and all that needs it.
    pub fn remove(&mut self, feature: Feature) {
        self.0[feature as usize / 64] &= !(1 << (feature as usize % 64));
        for row in TABLE.iter().filter(|row| row.needs.contains(&feature)) {
            if self.has(row.feature) {
                self.remove(row.feature);
            }
        }
    }

    /// The features in the set, in the table's order.
    pub fn iter(&self) -> impl Iterator<Item = Feature> + '_ {
        TABLE.iter().map(|row| row.feature).filter(|&feature| self.has(feature))
    }
}

impl FromIterator<Feature> for FeatureSet {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        let mut set = FeatureSet::default();
        for feature in features {
            set.insert(feature);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_at_their_features_numbers_and_share_no_name_or_bit() {
        for (number, row) in TABLE.iter().enumerate() {
            assert_eq!(row.feature as usize, number);
            assert!(row.bit < if row.place == Place::ArchCapabilities { 64 } else { 32 });
            for other in &TABLE[..number] {
                assert_ne!(row.name, other.name);
                assert!((row.place, row.bit) != (other.place, other.bit), "{} and {}", row.name, other.name);
            }
        }
    }

    #[test]
    fn no_feature_is_offered_by_a_lesser_model_than_what_it_needs() {
        for row in TABLE {
            assert!(row.needs.iter().all(|needed| needed.row().offer <= row.offer), "{}", row.name);
        }
    }

    #[test]
    fn removing_takes_dependants_along_and_inserting_what_is_needed() {
        let mut set = FeatureSet::of(Offer::Max);
        set.remove(Feature::Xsave);
        assert!(!set.has(Feature::Xsaves) && !set.has(Feature::Pku) && set.has(Feature::Fxsr));
        set.insert(Feature::Xsaves);
        assert!(set.has(Feature::Xsave) && set.has(Feature::Xsavec) && !set.has(Feature::Xsaveopt));
    }
}
