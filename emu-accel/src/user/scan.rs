//! Code that must not be executed on the host's processor even in user mode: instructions whose result is the host's and
//! not the guest's, without a fault that would tell. SDM vol. 2.
//!
//! Every byte is taken for the possible start of an instruction, so that it does not matter where code jumps to. A page
//! is refused for a pattern that is not an instruction at all at worst, and then stays with the software CPU.
//!
//! Let pass: SLDT, STR, SMSW, SGDT, SIDT, VERR, VERW and LAR, which fault where the host has UMIP, and else tell of the
//! host's tables what no program goes by; XGETBV and the XSAVE family, since XCR0 has to be the same.

/// What is found in a page of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Nothing that could tell.
    Harmless,
    /// CPUID, and nothing worse.
    Cpuid,
    /// Something that goes wrong on the host's processor.
    Refused,
}

/// Second bytes behind 0FH that are refused whatever follows: LSL, by which Linux' vDSO tells processors apart; RDTSC;
/// SYSENTER.
const TWO_BYTES: [u8; 3] = [0x03, 0x31, 0x34];
/// CPUID's.
const CPUID: u8 = 0xA2;
/// Third bytes behind 0FH 01H: RDPKRU, WRPKRU, RDTSCP, RDPRU.
const SYSTEM: [u8; 4] = [0xEE, 0xEF, 0xF9, 0xFD];
/// The least third byte behind 0FH C7H that may be RDPID's (or RDSEED's, which may fail anyway).
const RDPID: u8 = 0xF8;
/// INT3 and INT1 in a row: behind a trap it could not be told which it was.
const TRAPS: [u8; 2] = [0xCC, 0xF1];

/// What is in the page with these bytes. What begins in the page and ends in another counts as refused.
pub fn page(bytes: &[u8]) -> Finding {
    let mut found = Finding::Harmless;
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == 0x0F) {
        rest = &rest[at + 1..];
        match behind_0f(rest) {
            Finding::Refused => return Finding::Refused,
            Finding::Cpuid => found = Finding::Cpuid,
            Finding::Harmless => (),
        }
    }
    if bytes.windows(2).any(|pair| pair == TRAPS) { Finding::Refused } else { found }
}

/// What 0FH and `rest` may be.
fn behind_0f(rest: &[u8]) -> Finding {
    let third = rest.get(1).copied();
    let is_refused = match rest.first() {
        None => true,
        Some(&CPUID) => return Finding::Cpuid,
        Some(0x01) => third.is_none_or(|third| SYSTEM.contains(&third)),
        Some(0xC7) => third.is_none_or(|third| third >= RDPID),
        Some(second) => TWO_BYTES.contains(second),
    };
    if is_refused { Finding::Refused } else { Finding::Harmless }
}

#[cfg(test)]
mod tests {
    use super::{Finding::*, *};
    use rstest::rstest;

    #[rstest]
    #[case::cpuid(&[0x0F, 0xA2], Cpuid)]
    #[case::cpuid_in_an_immediate(&[0xB8, 0x0F, 0xA2, 0, 0], Cpuid)]
    #[case::cpuid_and_worse(&[0x0F, 0xA2, 0x0F, 0x31], Refused)]
    #[case::rdtsc(&[0x0F, 0x31], Refused)]
    #[case::rdtscp(&[0x0F, 0x01, 0xF9], Refused)]
    #[case::wrpkru(&[0x0F, 0x01, 0xEF], Refused)]
    #[case::rdpid(&[0xF3, 0x0F, 0xC7, 0xF8], Refused)]
    #[case::lsl(&[0x0F, 0x03, 0xC0], Refused)]
    #[case::cut_off(&[0x90, 0x0F], Refused)]
    #[case::group_cut_off(&[0x90, 0x0F, 0xC7], Refused)]
    #[case::traps(&[0xCC, 0xF1], Refused)]
    #[case::xgetbv(&[0x0F, 0x01, 0xD0], Harmless)]
    #[case::cmpxchg16b(&[0x48, 0x0F, 0xC7, 0x0F], Harmless)]
    #[case::rdrand(&[0x48, 0x0F, 0xC7, 0xF0], Harmless)]
    #[case::syscall(&[0x0F, 0x05], Harmless)]
    fn what_tells_of_the_host_is_found(#[case] bytes: &[u8], #[case] finding: Finding) {
        let mut code = [0x90; 4096];
        // What is cut off is so at the page's end.
        let start = if bytes[0] == 0x90 { 4096 - bytes.len() } else { 100 };
        code[start..start + bytes.len()].copy_from_slice(bytes);
        assert_eq!(page(&code), finding);
    }
}
