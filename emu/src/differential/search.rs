//! The first instruction after which two machines differ that differ after a slice.
//!
//! Machines do not go back, but they do the same every time: each step of the search begins at power-on.
//!
//! 1. *The slice.* Both run slice by slice, all of memory is compared after each.
//! 2. *The piece.* One machine executes as little as its engine can in one go, a block or a way through a region; the other
//!    one follows. If that shows no difference, they change roles: a machine that follows executes short distances, and the
//!    engine that is wrong has to execute its own.
//! 3. *The instruction.* Both execute the piece one instruction at a time. What is wrong whenever an instruction is executed
//!    is found at the instruction; what is wrong only where several are executed in one go is told of the piece.

use super::{
    Pair, Trial,
    report::Difference,
    worker::{Order, Report},
};
use crate::{
    exit::RunError,
    machine::{Pace, Standing},
};
use emu_harness::report::Line;

/// Where two machines part.
struct Parting {
    /// Where both stood last.
    before: Standing,
    /// Where they first differ.
    after: [Standing; 2],
    /// Pages that differ there, by their addresses, with what is in them.
    pages: Vec<(u64, [Vec<u8>; 2])>,
}

impl Parting {
    /// Of `pair`, which stood the same `before`, if it does not now. Of memory, `pages` are looked at.
    fn of(pair: &Pair, before: &Standing, reports: &[Report; 2], pages: &[u64]) -> Option<Parting> {
        let after = reports.each_ref().map(|report| report.standings[0].clone());
        let pages: Vec<_> = pages.iter().filter_map(|page| pair.differing_page(*page)).collect();
        let differ = after[0] != after[1] || reports[0].end != reports[1].end || !pages.is_empty();
        differ.then(|| Parting { before: before.clone(), after, pages })
    }

    fn addresses(&self) -> Vec<u64> {
        self.pages.iter().map(|(address, _)| *address).collect()
    }
}

/// The first difference, which is to be found behind `equal` slices and not later than behind `end`.
pub fn locate(trial: &Trial, equal: usize, end: usize) -> Result<Difference, RunError> {
    let Some((slice, parting)) = find_slice(trial, equal, end)? else {
        return Err(
            anyhow::anyhow!("what differed after {end} slices is the same when it is done again").into()
        );
    };
    for leader in [1, 0] {
        if let Some(piece) = find_piece(trial, slice, leader, &parting)? {
            return find_instruction(trial, slice, leader, piece);
        }
    }
    Ok(tell(trial, parting, Vec::new()))
}

/// `parting` in words; `lines` are what was executed in between.
fn tell(trial: &Trial, parting: Parting, lines: Vec<Line>) -> Difference {
    Difference::new(trial.engines, (parting.before, parting.after), &parting.pages, lines)
}

/// A pair that has run `slices` slices.
fn pair_after(trial: &Trial, slices: usize) -> Result<Pair, RunError> {
    let pair = Pair::start(trial)?;
    if slices > 0 {
        pair.both(Order::Slices(slices))?;
    }
    Ok(pair)
}

/// The first slice, by the number of slices before it, behind which the machines differ.
fn find_slice(trial: &Trial, equal: usize, end: usize) -> Result<Option<(usize, Parting)>, RunError> {
    let pair = pair_after(trial, equal)?;
    let [stand, _] = pair.both(Order::Stand)?;
    let mut before = stand.standings[0].clone();
    for slice in equal..end {
        let reports = pair.both(Order::Slices(1))?;
        if let Some(parting) = Parting::of(&pair, &before, &reports, &pair.differing_pages()) {
            return Ok(Some((slice, parting)));
        }
        before = reports[0].standings[0].clone();
    }
    Ok(None)
}

/// The first piece of the slice behind `slice` slices after which the machines differ, where machine `leader` says how long
/// pieces are. Of memory, what differs behind the slice is compared.
fn find_piece(
    trial: &Trial,
    slice: usize,
    leader: usize,
    parting: &Parting,
) -> Result<Option<Parting>, RunError> {
    let pair = pair_after(trial, slice)?;
    let mut before = parting.before.clone();
    let goal = parting.after[leader].executed;
    while before.executed < goal {
        let led = pair.0[leader].run(Order::Within(goal, Pace::Piece))?;
        let reached = led.standings[0].executed;
        if reached == before.executed {
            // An event and no instruction: that is compared together with the next one.
            continue;
        }
        let followed = pair.0[1 - leader].run(Order::Within(reached, Pace::Goal))?;
        let reports = if leader == 0 { [led, followed] } else { [followed, led] };
        if let Some(parting) = Parting::of(&pair, &before, &reports, &parting.addresses()) {
            return Ok(Some(parting));
        }
        before = reports[0].standings[0].clone();
    }
    Ok(None)
}

/// The first instruction of the piece `parting`, which is in the slice behind `slice` slices, after which the machines
/// differ. If there is none, it is all of the piece.
fn find_instruction(
    trial: &Trial,
    slice: usize,
    leader: usize,
    parting: Parting,
) -> Result<Difference, RunError> {
    let pair = pair_after(trial, slice)?;
    let mut before = parting.before.clone();
    let mut reports = pair.both(Order::Stand)?;
    if reports[0].standings[0].executed < before.executed {
        reports = pair.both(Order::Within(before.executed, Pace::Goal))?;
    }
    let mut lines = Vec::new();
    while before.executed < parting.after[leader].executed {
        lines.extend(reports[1 - leader].next.take());
        reports = pair.both(Order::Within(before.executed + 1, Pace::Goal))?;
        if let Some(parting) = Parting::of(&pair, &before, &reports, &parting.addresses()) {
            return Ok(tell(trial, parting, lines.pop().into_iter().collect()));
        }
        before = reports[0].standings[0].clone();
    }
    Ok(tell(trial, parting, lines))
}
