//! Saving an RTC and making it again.

use super::{
    LAST_NANO, Mc146818, NMI_DISABLE, RtcWires,
    calendar::TimeRegisters,
    registers::{B, C, UIP},
};
use emu_core::bus::Snapshot;
use serde::{Deserialize, Serialize};

/// Saved registers of the RTC. The time goes on with machine time, not with the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcState {
    index: u8,
    a: u8,
    b: u8,
    c: u8,
    ram: Vec<u8>,
    seconds: i64,
    epoch: i64,
    weekday_shift: u8,
    stopped: Option<TimeRegisters>,
    settled: i64,
}

impl Snapshot for Mc146818 {
    type State = RtcState;
    type Args = RtcWires;

    fn save(&self) -> RtcState {
        let Mc146818 {
            wires: _,
            asserted: _,
            index,
            a,
            b,
            c,
            ram,
            seconds,
            epoch,
            weekday_shift,
            stopped,
            shown: _,
            settled,
        } = self;
        RtcState {
            index: *index,
            a: *a,
            b: b.bits(),
            c: c.bits(),
            ram: ram.to_vec(),
            seconds: *seconds,
            epoch: *epoch,
            weekday_shift: *weekday_shift,
            stopped: *stopped,
            settled: *settled,
        }
    }

    fn restore(wires: RtcWires, state: RtcState) -> Result<Self, String> {
        let RtcState { index, a, b, c, ram, seconds, epoch, weekday_shift, stopped, settled } = state;
        let ram = ram.try_into().map_err(|_| "ram: an MC146818 has 128 bytes".to_owned())?;
        let far = |n: i64, limit: i64| n.unsigned_abs() > limit.unsigned_abs();
        if far(seconds, 1 << 40) || far(epoch, LAST_NANO) || far(settled, LAST_NANO) || weekday_shift > 6 {
            return Err("seconds, epoch, settled or weekday_shift: out of range".to_owned());
        }
        wires.nmi_mask.set(index & NMI_DISABLE != 0);
        let mut rtc = Mc146818 {
            wires,
            asserted: false,
            index,
            a: a & !UIP,
            b: B::from_bits_retain(b),
            c: C::from_bits_truncate(c),
            ram,
            seconds,
            epoch,
            weekday_shift,
            stopped,
            shown: Default::default(),
            settled,
        };
        rtc.drive();
        Ok(rtc)
    }
}
