//! What CPU a guest finds: named models, the features each offers, and what CPUID says of them.
//!
//! One table ([`feature::TABLE`]) decides. A feature that a model does not offer is absent from CPUID, its
//! control-register bits and MSRs are reserved, and its instructions do not decode.
//!
//! All models, whatever their level, call themselves Intel's, family 6, model 26 (the first one of x86-64-v2):
//! kernels and C libraries then choose by feature bits alone, look for no erratum of a later processor, and
//! take `rep movs` for the fast copy that it is here. The brand string says the level instead.

mod cpuid;
pub mod feature;
mod generation;
mod host;
mod models;
mod spec;

pub use cpuid::{CpuidContext, xsave_component, xsave_size};
pub use feature::{Feature, FeatureSet};
pub use generation::Generation;
pub use models::{DEFAULT, MODELS, NamedModel};
pub use spec::CpuModelError;

use crate::arch::Xcr0;
use feature::{Place, TABLE};
use iced_x86::{Code, CpuidFeature, DecoderOptions};

/// Rate of the core crystal clock, which is also the local APIC timer's.
pub const CRYSTAL_HERTZ: u64 = 25_000_000;
/// Ratio of TSC to crystal.
pub const TSC_RATIO: u32 = 40;
/// Rate of the time-stamp counter.
pub const TSC_HERTZ: u64 = CRYSTAL_HERTZ * TSC_RATIO as u64;

/// Family 6, model 26, stepping 3.
const SIGNATURE: u32 = 0x0001_06A3;

/// One CPU model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuModel {
    name: &'static str,
    features: FeatureSet,
    /// Bit n: forms that need iced's `CpuidFeature` number n decode.
    decodes: [u64; 3],
    cpus: u32,
    generation: Generation,
}

impl CpuModel {
    /// The model called `name`.
    pub fn named(name: &str) -> Result<Self, CpuModelError> {
        NamedModel::find(name).map(NamedModel::cpu)
    }

    /// The processor of a generation before CPUID, as it was. No PC's firmware starts a guest on one.
    pub fn early(generation: Generation) -> Self {
        Self::new(generation.name(), generation, FeatureSet::default())
    }

    fn new(name: &'static str, generation: Generation, features: FeatureSet) -> Self {
        let mut decodes = [0; 3];
        let offered = features.iter().flat_map(|feature| feature.row().decodes).copied();
        for feature in offered.chain(generation.decodes().iter().copied()) {
            decodes[feature as usize / 64] |= 1 << (feature as usize % 64);
        }
        CpuModel { name, features, decodes, cpus: 1, generation }
    }

    /// The same model, offering `feature` and what it needs as well.
    pub fn with(mut self, feature: Feature) -> Self {
        self.features.insert(feature);
        Self::new(self.name, self.generation, self.features).with_cpus(self.cpus)
    }

    /// The same model without `feature` and what needs it.
    pub fn without(mut self, feature: Feature) -> Self {
        self.features.remove(feature);
        Self::new(self.name, self.generation, self.features).with_cpus(self.cpus)
    }

    /// The same model in a machine of `cpus` vCPUs: CPUID tells the topology.
    pub fn with_cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus.max(1);
        self
    }

    /// Number of vCPUs in the machine.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// Name of the model (features added or removed do not show).
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Which processor of the line it is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What it offers.
    pub fn features(&self) -> &FeatureSet {
        &self.features
    }

    /// Whether it offers `feature`.
    #[inline]
    pub const fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    /// CPUID.1:EAX, which EDX holds after reset.
    pub fn signature(&self) -> u32 {
        SIGNATURE
    }

    /// MAXPHYADDR.
    pub fn physical_address_bits(&self) -> u32 {
        40
    }

    /// Width of linear addresses.
    pub fn linear_address_bits(&self) -> u32 {
        if self.has(Feature::La57) { 57 } else { 48 }
    }

    /// The bits that XCR0 can have.
    pub fn xcr0(&self) -> Xcr0 {
        let mut components = Xcr0::X87;
        components.set(Xcr0::SSE, self.has(Feature::Sse));
        components.set(Xcr0::AVX, self.has(Feature::Avx));
        components.set(Xcr0::PKRU, self.has(Feature::Pku));
        components
    }

    /// IA32_ARCH_CAPABILITIES.
    pub fn arch_capabilities(&self) -> u64 {
        let rows = TABLE.iter().filter(|row| row.place == Place::ArchCapabilities && self.has(row.feature));
        rows.fold(0, |bits, row| bits | 1 << row.bit)
    }

    /// Whether this CPU knows the instruction form `code`. Costs a search; the decoder asks once per form. (In
    /// the space of hints a form that is not known does nothing; that is the decoder's to say.)
    pub fn allows(&self, code: Code) -> bool {
        let known = |feature: &CpuidFeature| {
            self.decodes[*feature as usize / 64] >> (*feature as usize % 64) & 1 != 0
        };
        code.cpuid_features().iter().all(known)
    }

    /// What iced-x86's decoder must be told, because bytes mean *another* instruction without the feature.
    pub fn decoder_options(&self) -> u32 {
        let mut options = DecoderOptions::NONE;
        let mut without = |feature, option| options |= if self.has(feature) { 0 } else { option };
        // TZCNT is BSF, LZCNT is BSR, WBNOINVD is WBINVD with a prefix that means nothing.
        without(Feature::Bmi1, DecoderOptions::NO_MPFX_0FBC);
        without(Feature::Lzcnt, DecoderOptions::NO_MPFX_0FBD);
        without(Feature::Wbnoinvd, DecoderOptions::NO_WBNOINVD);
        without(Feature::LahfLm, DecoderOptions::NO_LAHF_SAHF_64);
        options
    }
}

impl Default for CpuModel {
    fn default() -> Self {
        DEFAULT.cpu()
    }
}

/// What every model decodes: what has no CPUID bit.
const BASELINE: [CpuidFeature; 12] = [
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::CPUID,
    CpuidFeature::MULTIBYTENOP,
    CpuidFeature::PAUSE,
    // Prefetches are hints: who does not know them does nothing.
    CpuidFeature::PREFETCHW,
    CpuidFeature::PREFETCHWT1,
    CpuidFeature::RDPMC,
    CpuidFeature::SMM,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(Code::Add_rm32_r32, true, true, true)]
    #[case(Code::Popcnt_r32_rm32, false, true, true)]
    #[case(Code::Pcmpestri_xmm_xmmm128_imm8, false, true, true)]
    #[case(Code::Cmpxchg16b_m128, false, true, true)]
    #[case(Code::Syscall, true, true, true)]
    #[case(Code::Xsave64_mem, true, true, true)]
    #[case(Code::Invpcid_r64_m128, true, true, true)]
    #[case(Code::Wrfsbase_r64, true, true, true)]
    #[case(Code::Fld_m80fp, true, true, true)]
    #[case(Code::Fcmovb_st0_sti, true, true, true)]
    #[case(Code::Prefetchw_m8, true, true, true)]
    #[case(Code::Nop_rm32, true, true, true)]
    #[case(Code::Ud2, true, true, true)]
    #[case(Code::Rsm, true, true, true)]
    #[case(Code::Adcx_r32_rm32, false, false, false)]
    #[case(Code::VEX_Vaddps_xmm_xmm_xmmm128, false, false, true)]
    #[case(Code::VEX_Vpaddb_ymm_ymm_ymmm256, false, false, true)]
    #[case(Code::VEX_Vfmadd132sd_xmm_xmm_xmmm64, false, false, true)]
    #[case(Code::VEX_Vcvtph2ps_ymm_xmmm128, false, false, true)]
    #[case(Code::VEX_Pext_r64_r64_rm64, false, false, true)]
    #[case(Code::VEX_Vaesenc_xmm_xmm_xmmm128, false, false, false)]
    #[case(Code::VEX_Vpclmulqdq_ymm_ymm_ymmm256_imm8, false, false, false)]
    #[case(Code::EVEX_Vaddps_xmm_k1z_xmm_xmmm128b32, false, false, false)]
    #[case(Code::Vmcall, false, false, false)]
    #[case(Code::Vmmcall, false, false, false)]
    #[case(Code::Femms, false, false, false)]
    #[case(Code::Loadall386, false, false, false)]
    fn models_decode_what_their_level_has(
        #[case] code: Code,
        #[case] v1: bool,
        #[case] v2: bool,
        #[case] v3: bool,
    ) {
        for (name, allowed) in [("x86-64-v1", v1), ("x86-64-v2", v2), ("x86-64-v3", v3)] {
            assert_eq!(CpuModel::named(name).unwrap().allows(code), allowed, "{name}");
        }
    }

    #[test]
    fn vector_forms_of_the_other_extensions_need_both() {
        let both: CpuModel = "x86-64-v3,+aes,+gfni,+vpclmulqdq".parse().unwrap();
        assert!(both.allows(Code::VEX_Vaesenc_xmm_xmm_xmmm128));
        assert!(!both.allows(Code::VEX_Vaesenc_ymm_ymm_ymmm256), "VAES");
        assert!(both.allows(Code::VEX_Vgf2p8mulb_ymm_ymm_ymmm256));
        assert!(both.allows(Code::VEX_Vpclmulqdq_ymm_ymm_ymmm256_imm8));
        let without = both.without(Feature::Avx);
        assert!(without.allows(Code::Aesenc_xmm_xmmm128) && without.allows(Code::Gf2p8mulb_xmm_xmmm128));
        assert!(!without.allows(Code::VEX_Vaesenc_xmm_xmm_xmmm128));
        assert!(!without.has(Feature::Avx2) && !without.xcr0().contains(Xcr0::AVX));
    }

    #[test]
    fn max_decodes_everything_in_the_table_and_no_avx512() {
        let max = CpuModel::named("max").unwrap();
        assert!(max.allows(Code::Sha1rnds4_xmm_xmmm128_imm8) && max.allows(Code::Rdseed_r64));
        assert!(max.allows(Code::VEX_Vaddps_ymm_ymm_ymmm256) && max.allows(Code::VEX_Vpaddb_ymm_ymm_ymmm256));
        assert!(!max.allows(Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er));
        assert_eq!(max.decoder_options(), 0);
    }

    #[test]
    fn a_missing_feature_gives_its_bytes_their_old_meaning() {
        let options = CpuModel::named("x86-64-v2").unwrap().decoder_options();
        let mut decoder =
            iced_x86::Decoder::new(64, &[0xF3, 0x0F, 0xBD, 0xC1, 0xF3, 0x0F, 0xBC, 0xC1], options);
        assert_eq!(decoder.decode().code(), Code::Bsr_r32_rm32);
        assert_eq!(decoder.decode().code(), Code::Bsf_r32_rm32);
    }
}
