//! Facts about x86: registers, flags, control-register bits, MSR numbers, vectors. No behaviour.

mod control;
mod exception;
mod flags;
pub mod msr;
mod segment;
mod width;

pub use control::{Cr0, Cr4, Efer, Xcr0};
pub use exception::{Exception, PageFaultCode, vector};
pub use flags::Flags;
pub use segment::{Seg, Segment, attr, system_type};
pub use width::Width;
