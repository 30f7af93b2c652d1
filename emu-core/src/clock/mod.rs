//! The machine's only source of time.
//!
//! [`VmClock`] counts nanoseconds of machine time since power-on. It stops while the machine is paused and
//! runs in one of two modes: *real*, following the host's monotonic clock, and *counted*, where vCPUs advance
//! it by a fixed amount per instruction and a run is repeatable. TSC, APIC timer, PIT, RTC, HPET and the ACPI
//! PM timer all derive from it. This module is the only one that may ask the host what time it is.

mod host;
mod polling;
mod timers;
mod vm_clock;

pub use host::nanos as host_nanos;
pub use polling::{Polling, Sleep};
pub use timers::{Timer, TimerQueue};
pub use vm_clock::{VmClock, wall_clock, wall_clock_seconds};

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Converts `nanos` to ticks of a counter that runs at `hertz`, rounding down, without overflow for any
/// machine age.
#[inline]
pub fn nanos_to_ticks(nanos: u64, hertz: u64) -> u64 {
    if hertz.is_multiple_of(NANOS_PER_SECOND) {
        // The time-stamp counter is one of these, and is read often.
        return nanos.wrapping_mul(hertz / NANOS_PER_SECOND);
    }
    (u128::from(nanos) * u128::from(hertz) / u128::from(NANOS_PER_SECOND)) as u64
}

/// Converts `ticks` of a counter at `hertz` to nanoseconds, rounding up: after that time the counter has
/// certainly reached `ticks`.
pub fn ticks_to_nanos(ticks: u64, hertz: u64) -> u64 {
    let product = u128::from(ticks) * u128::from(NANOS_PER_SECOND);
    u64::try_from(product.div_ceil(u128::from(hertz))).unwrap_or(u64::MAX)
}
