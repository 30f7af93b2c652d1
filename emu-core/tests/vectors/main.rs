//! What vector instructions do beyond values: exceptions, MXCSR, the x87's tags, memory at page boundaries.

mod machine;
mod sse;
mod vex;
