//! What memory accesses are to: so that none is taken to change what another reads.

use cranelift_codegen::ir::{AliasRegion, AliasRegionData, MemFlagsData};
use cranelift_frontend::FunctionBuilder;

/// Memory flags by what is accessed. No two of these overlap.
#[derive(Debug, Clone, Copy)]
pub struct Spaces {
    /// The CPU.
    pub cpu: MemFlagsData,
    /// The TLB.
    pub tlb: MemFlagsData,
    /// The guest's memory.
    pub guest: MemFlagsData,
    /// What host code keeps on its stack.
    pub stack: MemFlagsData,
    /// The word by which other threads ask for attention, and where it is.
    pub attention: MemFlagsData,
}

impl Spaces {
    pub(super) fn new(builder: &mut FunctionBuilder<'_>) -> Self {
        let mut region = |user_id, description: &'static str| -> AliasRegion {
            let data = AliasRegionData { user_id, description: description.into() };
            builder.func.dfg.alias_regions.insert(data)
        };
        let own = MemFlagsData::trusted();
        Spaces {
            cpu: own.with_alias_region(Some(region(1, "CPU"))),
            tlb: own.with_alias_region(Some(region(2, "TLB"))),
            guest: MemFlagsData::new().with_notrap().with_alias_region(Some(region(3, "guest"))),
            stack: own.with_alias_region(Some(region(4, "stack"))),
            attention: own.with_alias_region(Some(region(5, "attention"))),
        }
    }
}
