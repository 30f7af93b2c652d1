//! The models that can be asked for by name.
//!
//! `x86-64-v1` to `x86-64-v3` are the levels of the x86-64 psABI ("Micro-Architecture Levels"). Features that no
//! level asks for (AES among them) are in `max` and `host` alone; `+name` adds them to any model.

use super::{CpuModel, CpuModelError, FeatureSet, Generation, feature::Offer, host};

/// A model as the user finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedModel {
    /// What the user writes.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    choice: Choice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Level(Offer),
    Host,
}

/// Every model.
pub const MODELS: &[NamedModel] = &[
    NamedModel {
        name: "x86-64-v1",
        summary: "what every x86-64 processor has",
        choice: Choice::Level(Offer::Every),
    },
    NamedModel {
        name: "x86-64-v2",
        summary: "v1 with SSE3 to SSE4.2, POPCNT, CMPXCHG16B, LAHF and SAHF in 64-bit mode",
        choice: Choice::Level(Offer::V2),
    },
    V3,
    NamedModel { name: "max", summary: "everything that emu can do", choice: Choice::Level(Offer::Max) },
    NamedModel {
        name: "host",
        summary: "what emu can do of what this host's processor has",
        choice: Choice::Host,
    },
];

const V3: NamedModel = NamedModel {
    name: "x86-64-v3",
    summary: "v2 with AVX, AVX2, BMI1, BMI2, F16C, FMA, LZCNT, MOVBE",
    choice: Choice::Level(Offer::V3),
};

/// The model of a machine whose user asks for none.
pub const DEFAULT: NamedModel = V3;

impl NamedModel {
    /// The model called `name`.
    pub fn find(name: &str) -> Result<&'static Self, CpuModelError> {
        let found = MODELS.iter().find(|model| model.name == name);
        found.ok_or_else(|| CpuModelError::UnknownModel(name.to_owned()))
    }

    /// The CPU that it describes, alone in its machine.
    pub fn cpu(&self) -> CpuModel {
        let features = match self.choice {
            Choice::Level(offer) => FeatureSet::of(offer),
            Choice::Host => host::features(),
        };
        CpuModel::new(self.name, Generation::Current, features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu_model::Feature;

    #[test]
    fn level_3_is_level_2_and_what_the_psabi_adds() {
        let added = "movbe fma avx f16c bmi1 avx2 bmi2 lzcnt";
        let [v2, v3] = ["x86-64-v2", "x86-64-v3"].map(|name| NamedModel::find(name).unwrap().cpu());
        let more: Vec<_> = v3.features().iter().filter(|&feature| !v2.has(feature)).collect();
        assert!(v2.features().iter().all(|feature| v3.has(feature)));
        assert!(added.split(' ').all(|name| more.contains(&Feature::named(name).unwrap())), "{more:?}");
        assert_eq!(more.len(), added.split(' ').count(), "{more:?}");
    }

    #[test]
    fn the_default_is_one_of_the_models() {
        assert_eq!(NamedModel::find(DEFAULT.name), Ok(&DEFAULT));
        assert_eq!(CpuModel::default(), DEFAULT.cpu());
    }
}
