//! Memory of a machine that stands, by linear or by physical address.
//!
//! Only RAM: reading a device can change what it does. A linear address is translated without regard to rights.

use crate::machine::Machine;

const PAGE: u64 = 4096;

/// How addresses are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// As vCPU number so translates them.
    Linear(usize),
    /// Not translated, and not cut by the A20 gate.
    Physical,
}

/// Physical address of `address`; `None` if nothing is mapped there.
pub fn physical(machine: &Machine, space: Space, address: u64) -> Option<u64> {
    match space {
        Space::Physical => Some(address),
        Space::Linear(vcpu) => machine.linear_to_physical(machine.states().get(vcpu)?, address),
    }
}

/// Reads into `bytes`. Returns how many there are before the first that is not there.
pub fn read(machine: &Machine, space: Space, address: u64, bytes: &mut [u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let at = address.wrapping_add(done as u64);
        let end = bytes.len().min(done + left_in_page(at));
        let Some(physical) = physical(machine, space, at) else { break };
        if machine.memory().ram().read(physical, &mut bytes[done..end]).is_err() {
            break;
        }
        done = end;
    }
    done
}

/// Writes `bytes`, if there is memory for all of them. False: there is not.
pub fn write(machine: &Machine, space: Space, address: u64, bytes: &[u8]) -> bool {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < bytes.len() {
        let at = address.wrapping_add(done as u64);
        let end = bytes.len().min(done + left_in_page(at));
        match physical(machine, space, at) {
            Some(physical) if machine.memory().ram().is_ram(physical) => pieces.push((physical, done..end)),
            _ => return false,
        }
        done = end;
    }
    pieces.into_iter().all(|(physical, range)| machine.write_physical(physical, &bytes[range]))
}

fn left_in_page(address: u64) -> usize {
    (PAGE - address % PAGE) as usize
}
