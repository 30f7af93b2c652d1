//! The model `host`: of the features that not every model has, those of the host's processor.
//!
//! What every model has stays, whatever the host: a guest's paging and MSRs are made here. On hosts that are not
//! x86 nothing is known against any feature, and the model has what `max` has.

use super::feature::{FeatureSet, Offer, Place, TABLE};

/// The features of the model.
pub fn features() -> FeatureSet {
    let mut features = FeatureSet::of(Offer::Max);
    for row in TABLE.iter().filter(|row| row.offer > Offer::Every) {
        if let Place::Cpuid(leaf, subleaf, register) = row.place
            && let Some(registers) = cpuid(leaf, subleaf)
            && registers[register as usize] >> row.bit & 1 == 0
        {
            features.remove(row.feature);
        }
    }
    features
}

/// EAX, EBX, ECX, EDX of the host's CPUID; zero where it has no such leaf, `None` where it is no x86.
#[cfg(target_arch = "x86_64")]
fn cpuid(leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // The lowest leaf of each range says in EAX which is its highest.
    if leaf > __cpuid(leaf & 0x8000_0000).eax {
        return Some([0; 4]);
    }
    let result = __cpuid_count(leaf, subleaf);
    Some([result.eax, result.ebx, result.ecx, result.edx])
}

#[cfg(not(target_arch = "x86_64"))]
fn cpuid(_leaf: u32, _subleaf: u32) -> Option<[u32; 4]> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu_model::Feature;

    #[test]
    fn it_lies_between_the_first_level_and_max() {
        let (least, host, most) = (FeatureSet::of(Offer::Every), features(), FeatureSet::of(Offer::Max));
        assert!(least.iter().all(|feature| host.has(feature)));
        assert!(host.iter().all(|feature| most.has(feature)));
    }

    /// The standard library asks CPUID by itself, and the operating system's support on top.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn it_agrees_with_what_the_standard_library_detects() {
        let host = features();
        let detected = [
            (Feature::Popcnt, is_x86_feature_detected!("popcnt")),
            (Feature::Sse42, is_x86_feature_detected!("sse4.2")),
            (Feature::Aes, is_x86_feature_detected!("aes")),
            (Feature::Bmi2, is_x86_feature_detected!("bmi2")),
            (Feature::Lzcnt, is_x86_feature_detected!("lzcnt")),
            (Feature::Sha, is_x86_feature_detected!("sha")),
            (Feature::Adx, is_x86_feature_detected!("adx")),
        ];
        for (feature, there) in detected {
            assert_eq!(host.has(feature), there, "{}", feature.name());
        }
    }
}
