//! What of the CPU is in variables of the function, and when it goes back to the CPU's memory.

use super::Translator;
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    types::{I8X16, I64},
};
use cranelift_frontend::Variable;
use emu_core::region::layout;

/// Bits of [`Translator::dirty`] after those of the general-purpose registers.
pub const FLAGS: u64 = 1 << 16;
/// The budget.
pub const BUDGET: u64 = 1 << 17;
pub(super) const GPRS: usize = 16;
pub(super) const LANES: usize = 32;

/// The bit of a lane of a vector register.
pub const fn lane_bit(register: u8, lane: usize) -> u64 {
    1 << (18 + lane_number(register, lane))
}

pub(super) const fn lane_number(register: u8, lane: usize) -> usize {
    2 * (register as usize & 15) + (lane & 1)
}

/// What an emitter knows at a place: see [`Translator::known`].
#[derive(Debug, Clone)]
pub struct Known {
    dirty: u64,
    values: Vec<Option<Value>>,
}

impl Translator {
    /// Forgets the values of variables, which are known in another block.
    pub(super) fn forget_values(&mut self) {
        self.values.clear();
    }

    /// The value of a variable.
    ///
    /// Within a block they are remembered here: asking the function builder for one behind a check costs a parameter of a
    /// block, which it finds out to be of no use later, and gives the same value another name.
    pub(super) fn value_of_variable(&mut self, variable: Variable) -> Value {
        let at = variable.as_u32() as usize;
        if let Some(Some(value)) = self.values.get(at) {
            return *value;
        }
        let value = self.builder.use_var(variable);
        self.remember(at, value);
        value
    }

    pub(super) fn set_variable(&mut self, variable: Variable, value: Value) {
        self.builder.def_var(variable, value);
        self.remember(variable.as_u32() as usize, value);
    }

    fn remember(&mut self, at: usize, value: Value) {
        if self.values.len() <= at {
            self.values.resize(at + 1, None);
        }
        self.values[at] = Some(value);
    }

    /// Before the branches at the end of a block: what is remembered is defined here, so that it is found at once.
    pub fn define_variables(&mut self) {
        for (at, value) in self.values.iter().enumerate() {
            if let Some(value) = value {
                self.builder.def_var(Variable::from_u32(at as u32), *value);
            }
        }
    }

    /// What is known along one way out of a block, to go back to before the next.
    pub fn known(&self) -> Known {
        Known { dirty: self.dirty, values: self.values.clone() }
    }

    /// Back to what was known.
    pub fn restore(&mut self, known: Known) {
        let Known { dirty, values } = known;
        (self.dirty, self.values) = (dirty, values);
    }

    /// A field of the CPU.
    pub(super) fn field(&mut self, ty: Type, at: usize) -> Value {
        self.builder.ins().load(ty, self.spaces.cpu, self.cpu, at as i32)
    }

    pub(super) fn set_field(&mut self, at: usize, value: Value) {
        self.builder.ins().store(self.spaces.cpu, value, self.cpu, at as i32);
    }

    /// Variables by bit of `dirty`, and where they are in the CPU.
    pub(super) fn variables(&self) -> impl Iterator<Item = (u64, Variable, usize)> + use<> {
        let (result, aux, budget) = (self.result, self.aux, self.budget);
        let gprs = self.gprs.into_iter().enumerate();
        let lanes = self.lanes.into_iter().enumerate();
        let others = [
            (FLAGS, result, layout::FLAGS_RESULT),
            (FLAGS, aux, layout::FLAGS_AUX),
            (BUDGET, budget, layout::BUDGET),
        ];
        gprs.map(|(n, variable)| (1 << n, variable, layout::REGS + 8 * n))
            .chain(others)
            .chain(lanes.map(|(n, variable)| (lane_bit((n / 2) as u8, n), variable, layout::VECTOR + 16 * n)))
    }

    pub(super) fn load_all(&mut self) {
        for (bit, variable, at) in self.variables() {
            if self.used & bit != 0 {
                let ty = if bit >= lane_bit(0, 0) { I8X16 } else { I64 };
                let value = self.field(ty, at);
                self.set_variable(variable, value);
            }
        }
        self.dirty = 0;
    }

    pub(super) fn store_dirty(&mut self) {
        for (bit, variable, at) in self.variables() {
            if self.dirty & bit != 0 {
                let value = self.value_of_variable(variable);
                self.set_field(at, value);
            }
        }
        self.dirty = 0;
    }
}
