//! Gates: the code by which regions go on to handlers of Rust's. All regions have the same frame, so one of each will do.
//!
//! A region jumps to a gate with its frame, the budget in [`BUDGET`], and what the gate wants to know. The gate stores the
//! budget, takes down the frame, and jumps to its handler.

mod called;

use super::{
    field,
    lower::{PRESERVED, frame},
    x64::{A, Alu, Assembler, BUDGET, COUNT, INSN, Rm, STACK, W64},
};
use emu_core::{
    decode::Handler,
    region::layout::{self, handlers},
};

/// A gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// To [`handlers::AT`], with 8 times the number of a point in [`INSN`].
    At,
    /// To [`handlers::LOOK_AROUND`], with the same.
    LookAround,
    /// To [`handlers::INDIRECT`], with the same.
    Indirect,
    /// To [`handlers::UNLINKED`], with the address of the link in [`COUNT`].
    Unlinked,
    /// To [`handlers::HEAT`], with the instance in [`A`].
    Heat,
    /// To [`handlers::REGION`] with the entry of the instance in [`A`].
    Entry,
    /// To [`handlers::RETURNED`] with what is in the frame.
    Returned,
    /// Calls the function of the instance in [`A`], and goes on by what it returns.
    Called,
    /// The same as a handler.
    CalledHandler,
}

const ALL: [Gate; 9] = [
    Gate::At,
    Gate::LookAround,
    Gate::Indirect,
    Gate::Unlinked,
    Gate::Heat,
    Gate::Entry,
    Gate::Returned,
    Gate::Called,
    Gate::CalledHandler,
];

/// Addresses of the gates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gates([usize; ALL.len()]);

impl Gates {
    /// Where `gate` is.
    pub fn address(&self, gate: Gate) -> usize {
        self.0[gate as usize]
    }

    /// [`Gate::CalledHandler`].
    pub fn called_handler(&self) -> Handler {
        // SAFETY: a handler has been made there.
        unsafe { std::mem::transmute::<usize, Handler>(self.address(Gate::CalledHandler)) }
    }

    /// If their code, from [`make`], lies at `address`.
    pub fn at(address: usize) -> Self {
        let (_, offsets) = make();
        Gates(offsets.map(|offset| address + offset))
    }
}

/// Makes the gates. Returns their code, and where in it each begins.
pub fn make() -> (Vec<u8>, [usize; ALL.len()]) {
    let mut asm = Assembler::default();
    let labels = ALL.map(|_| asm.label());
    for gate in ALL {
        asm.place(labels[gate as usize]);
        match handler(gate) {
            Some(handler) => to_handler(&mut asm, gate, handler),
            None if gate == Gate::Called => called::gate(&mut asm, &labels),
            None => {
                set_up(&mut asm);
                asm.extend(W64, A, Rm::Mem(INSN, layout::INSTANCE as i32));
                asm.jump(labels[Gate::Called as usize]);
            }
        }
    }
    asm.link();
    let offsets = labels.map(|label| asm.offset_of(label));
    (asm.bytes, offsets)
}

fn to_handler(asm: &mut Assembler, gate: Gate, handler: Handler) {
    prepare(asm, gate);
    asm.store(W64, field(layout::BUDGET), BUDGET);
    take_down(asm);
    asm.constant(A, handler as usize as u64);
    asm.jump_to(Rm::Reg(A));
}

fn handler(gate: Gate) -> Option<Handler> {
    Some(match gate {
        Gate::At => handlers::AT,
        Gate::Entry => handlers::REGION,
        Gate::LookAround => handlers::LOOK_AROUND,
        Gate::Indirect => handlers::INDIRECT,
        Gate::Unlinked => handlers::UNLINKED,
        Gate::Heat => handlers::HEAT,
        Gate::Returned => handlers::RETURNED,
        Gate::Called | Gate::CalledHandler => return None,
    })
}

/// Has the handler's second argument in [`INSN`].
fn prepare(asm: &mut Assembler, gate: Gate) {
    match gate {
        Gate::At | Gate::LookAround | Gate::Indirect => {
            asm.extend(W64, A, Rm::Mem(STACK, frame::INSTANCE));
            asm.alu(Alu::Add, W64, INSN, Rm::Mem(A, layout::INSTANCE_POINTS as i32));
            asm.extend(W64, INSN, Rm::Mem(INSN, 0));
        }
        Gate::Unlinked => {
            asm.extend(W64, A, Rm::Mem(STACK, frame::INSTANCE));
            asm.store(W64, field(layout::LEAVING), A);
            asm.copy(INSN, COUNT);
        }
        Gate::Returned => {
            asm.extend(W64, A, Rm::Mem(STACK, frame::INSTANCE));
            asm.store(W64, field(layout::LEAVING), A);
            asm.extend(W64, INSN, Rm::Mem(STACK, frame::EXIT));
        }
        Gate::Called | Gate::CalledHandler => {}
        Gate::Heat | Gate::Entry => asm.extend(W64, INSN, Rm::Mem(A, layout::INSTANCE_ENTRY as i32)),
    }
}

/// Makes the frame, from the handler's arguments.
pub fn set_up(asm: &mut Assembler) {
    for r in PRESERVED {
        asm.save(r);
    }
    asm.address(STACK, Rm::Mem(STACK, -frame::SIZE));
    asm.store(W64, Rm::Mem(STACK, frame::CPU), super::x64::CPU);
    asm.extend(W64, BUDGET, field(layout::BUDGET));
}

/// Takes it down.
pub fn take_down(asm: &mut Assembler) {
    asm.address(STACK, Rm::Mem(STACK, frame::SIZE));
    for r in PRESERVED.into_iter().rev() {
        asm.restore(r);
    }
}
