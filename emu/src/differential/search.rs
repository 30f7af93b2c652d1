//! The first instruction after which two machines differ that differ after a slice.
//!
//! Machines do not go back, but they do the same every time: each step of the search begins at power-on.
//!
//! 1. *The slice.* Both run slice by slice, all of memory is compared after each.
//! 2. *The piece.* One machine executes as little as its engine can in one go, a block or a way through a region; the other
//!    one follows. If that shows no difference, they change roles: a machine that follows executes short distances, and the
//!    engine that is wrong has to execute its own. Then pieces get longer.
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

/// Instructions in a piece at least.
const PIECES: [u64; 4] = [0, 64, 512, 4096];

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
    for (size, leader) in PIECES.into_iter().flat_map(|size| [(size, 1), (size, 0)]) {
        let pieces = Pieces { slices: slice, leader, size };
        if let Some(piece) = find_piece(trial, pieces, &parting)? {
            return find_instruction(trial, pieces, &parting, piece);
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

/// How machines go through a slice in pieces.
#[derive(Clone, Copy)]
struct Pieces {
    /// Slices before it.
    slices: usize,
    /// The machine that says how long pieces are.
    leader: usize,
    /// Instructions in one at least.
    size: u64,
}

impl Pieces {
    /// Both machines of `pair`, which stand at instruction `begin`, execute one piece, at most to `goal`.
    fn next(&self, pair: &Pair, begin: u64, goal: u64) -> Result<[Report; 2], RunError> {
        let mut led = pair.0[self.leader].run(Order::Within(goal, Pace::Piece(self.size)))?;
        while led.standings[0].executed == begin {
            // An event and no instruction: that is compared together with the next one.
            led = pair.0[self.leader].run(Order::Within(goal, Pace::Piece(self.size)))?;
        }
        let reached = led.standings[0].executed;
        let followed = pair.0[1 - self.leader].run(Order::Within(reached, Pace::Goal))?;
        Ok(if self.leader == 0 { [led, followed] } else { [followed, led] })
    }
}

/// The first piece after which the machines differ, up to the end of the slice, which is what `parting` tells of. Of memory,
/// what differs there is compared.
fn find_piece(trial: &Trial, pieces: Pieces, parting: &Parting) -> Result<Option<Parting>, RunError> {
    let pair = pair_after(trial, pieces.slices)?;
    let mut before = parting.before.clone();
    let goal = parting.after[pieces.leader].executed;
    while before.executed < goal {
        let reports = pieces.next(&pair, before.executed, goal)?;
        if let Some(parting) = Parting::of(&pair, &before, &reports, &parting.addresses()) {
            return Ok(Some(parting));
        }
        before = reports[0].standings[0].clone();
    }
    Ok(None)
}

/// The first instruction of `piece`, one of the `pieces` of the slice that `parting` tells of, after which the machines
/// differ. If there is none, it is all of the piece.
fn find_instruction(
    trial: &Trial,
    pieces: Pieces,
    parting: &Parting,
    piece: Parting,
) -> Result<Difference, RunError> {
    let pair = pair_after(trial, pieces.slices)?;
    let goal = parting.after[pieces.leader].executed;
    let mut reports = pair.both(Order::Stand)?;
    let mut executed = reports[0].standings[0].executed;
    while executed < piece.before.executed {
        // As before: translated code that has not been executed then must not be now.
        reports = pieces.next(&pair, executed, goal)?;
        executed = reports[0].standings[0].executed;
    }
    let (mut before, mut lines) = (piece.before.clone(), Vec::new());
    while before.executed < piece.after[pieces.leader].executed {
        lines.extend(reports[1 - pieces.leader].next.take());
        reports = pair.both(Order::Within(before.executed + 1, Pace::Goal))?;
        if let Some(parting) = Parting::of(&pair, &before, &reports, &piece.addresses()) {
            return Ok(tell(trial, parting, lines.pop().into_iter().collect()));
        }
        before = reports[0].standings[0].clone();
    }
    Ok(tell(trial, piece, lines))
}
