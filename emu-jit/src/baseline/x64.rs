//! Machine code for x86-64 hosts: the few encodings that the baseline compiler needs.
//!
//! Intel SDM volume 2, chapter 2. Operations are named by what they do, with their opcodes; an opcode above 0xFF has
//! the escape byte 0F. No prefixes beyond 66, F2, F3 and REX.

/// A general-purpose register of the host, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reg(pub u8);

/// Scratch registers: no value stays in them. Shift counts must be in [`COUNT`]; wide products are in [`A`] and [`D`].
pub const A: Reg = Reg(0);
/// See [`A`].
pub const COUNT: Reg = Reg(1);
/// See [`A`].
pub const D: Reg = Reg(2);
/// The stack pointer.
pub const STACK: Reg = Reg(4);
/// Second argument: the instruction.
pub const INSN: Reg = Reg(6);
/// First argument: the CPU, all the time.
pub const CPU: Reg = Reg(7);
/// The budget, all the time.
pub const BUDGET: Reg = Reg(11);

/// A register or memory operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rm {
    /// A register.
    Reg(Reg),
    /// Memory at a register plus a displacement.
    Mem(Reg, i32),
    /// Memory at base + index << scale + displacement; the index is not the stack pointer.
    Index(Reg, Reg, u8, i32),
}

/// Operations on two operands, by the number that the encodings have for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Compare = 7,
}

/// Shifts, by the number that the encodings have for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    RotateLeft = 0,
    Left = 4,
    Right = 5,
    Signed = 7,
}

/// Conditions, by their numbers in encodings; `number ^ 1` is the opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cc {
    Below = 2,
    NotBelow = 3,
    Equal = 4,
    NotEqual = 5,
    NotAbove = 6,
    Above = 7,
    Negative = 8,
    NotNegative = 9,
    Less = 12,
    NotLess = 13,
    NotGreater = 14,
    Greater = 15,
}

impl Cc {
    /// The opposite.
    pub fn opposite(self) -> Self {
        match self {
            Cc::Below => Cc::NotBelow,
            Cc::NotBelow => Cc::Below,
            Cc::Equal => Cc::NotEqual,
            Cc::NotEqual => Cc::Equal,
            Cc::NotAbove => Cc::Above,
            Cc::Above => Cc::NotAbove,
            Cc::Negative => Cc::NotNegative,
            Cc::NotNegative => Cc::Negative,
            Cc::Less => Cc::NotLess,
            Cc::NotLess => Cc::Less,
            Cc::NotGreater => Cc::Greater,
            Cc::Greater => Cc::NotGreater,
        }
    }
}

/// A place in the code that branches lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(u32);

/// Machine code as it grows.
#[derive(Debug, Default)]
pub struct Assembler {
    /// The code.
    pub bytes: Vec<u8>,
    /// By label: where it is.
    labels: Vec<Option<u32>>,
    /// 32-bit distances to be filled in: where, to which label.
    fixups: Vec<(u32, Label)>,
}

/// Width of an operation: 8, 16, 32 or 64 bits, as log2 of its bytes.
pub type Log2 = u8;
/// 32 bits.
pub const W32: Log2 = 2;
/// 64 bits.
pub const W64: Log2 = 3;

/// Opcode of a jump.
const JUMP: u8 = 0xE9;

impl Assembler {
    /// A label that is not placed yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() as u32 - 1)
    }

    /// Places a label here.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0 as usize] = Some(self.bytes.len() as u32);
    }

    /// Places a label here; a jump to it just before is taken back.
    pub fn place_next(&mut self, label: Label) {
        let end = self.bytes.len();
        if end >= 5 && self.bytes[end - 5] == JUMP && self.fixups.last() == Some(&(end as u32 - 4, label)) {
            self.bytes.truncate(end - 5);
            self.fixups.pop();
        }
        self.place(label);
    }

    /// Where a placed label is.
    pub fn offset_of(&self, label: Label) -> usize {
        self.labels[label.0 as usize].expect("the label is placed") as usize
    }

    /// Fills in all distances.
    pub fn link(&mut self) {
        for (at, label) in std::mem::take(&mut self.fixups) {
            let to = self.offset_of(label) as i64;
            let distance = (to - i64::from(at) - 4) as i32;
            self.bytes[at as usize..at as usize + 4].copy_from_slice(&distance.to_le_bytes());
        }
    }

    fn imm32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Prefixes, opcode, operands. `small`: `reg` or a register operand is of 8 bits.
    fn encode(&mut self, prefix: u8, wide: bool, small: bool, opcode: u32, reg: u8, rm: Rm) {
        if prefix != 0 {
            self.bytes.push(prefix);
        }
        let (b, x) = match rm {
            Rm::Reg(r) | Rm::Mem(r, _) => (r.0 >> 3, 0),
            Rm::Index(base, index, ..) => (base.0 >> 3, index.0 >> 3),
        };
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | x << 1 | b;
        let needs = small && (reg > 3 || matches!(rm, Rm::Reg(r) if r.0 > 3));
        if rex != 0x40 || needs {
            self.bytes.push(rex);
        }
        if opcode > 0xFF {
            self.bytes.push(0x0F);
        }
        self.bytes.push(opcode as u8);
        self.operands(reg & 7, rm);
    }

    fn operands(&mut self, reg: u8, rm: Rm) {
        let (base, index, disp) = match rm {
            Rm::Reg(r) => return self.bytes.push(0xC0 | reg << 3 | r.0 & 7),
            Rm::Mem(base, disp) => (base, None, disp),
            Rm::Index(base, index, scale, disp) => (base, Some((index, scale)), disp),
        };
        let short = i8::try_from(disp).is_ok();
        let none = disp == 0 && base.0 & 7 != 5;
        let form = if none { 0u8 } else { 0x40 << u8::from(!short) };
        match index {
            None if base.0 & 7 == 4 => self.bytes.extend([form | reg << 3 | 4, 0x24]),
            None => self.bytes.push(form | reg << 3 | base.0 & 7),
            Some((index, scale)) => {
                self.bytes.extend([form | reg << 3 | 4, scale << 6 | (index.0 & 7) << 3 | base.0 & 7]);
            }
        }
        if short && !none {
            self.bytes.push(disp as u8);
        } else if !none {
            self.imm32(disp);
        }
    }

    /// `opcode` in its 8-bit form, or the one after it, of width `w`.
    fn sized(&mut self, w: Log2, opcode: u32, reg: u8, rm: Rm) {
        let prefix = if w == 1 { 0x66 } else { 0 };
        self.encode(prefix, w == W64, w == 0, opcode + u32::from(w != 0), reg, rm);
    }

    /// Copies 64 bits.
    pub fn copy(&mut self, to: Reg, from: Reg) {
        if to != from {
            self.encode(0, true, false, 0x8B, to.0, Rm::Reg(from));
        }
    }

    /// Copies the low bits of width `w`, and clears the others.
    pub fn extend(&mut self, w: Log2, to: Reg, from: Rm) {
        match w {
            0 => self.encode(0, false, matches!(from, Rm::Reg(_)), 0x1B6, to.0, from),
            1 => self.encode(0, false, false, 0x1B7, to.0, from),
            _ => self.encode(0, w == W64, false, 0x8B, to.0, from),
        }
    }

    /// Copies the low bits of width `w`, and their sign to the others.
    pub fn sign_extend(&mut self, w: Log2, to: Reg, from: Reg) {
        match w {
            0 => self.encode(0, true, true, 0x1BE, to.0, Rm::Reg(from)),
            1 => self.encode(0, true, false, 0x1BF, to.0, Rm::Reg(from)),
            2 => self.encode(0, true, false, 0x63, to.0, Rm::Reg(from)),
            _ => self.copy(to, from),
        }
    }

    /// Writes the low bits of width `w` to a register, whose other bits stay if `w` is 8 or 16, or to memory.
    pub fn store(&mut self, w: Log2, to: Rm, from: Reg) {
        self.sized(w, 0x88, from.0, to);
    }

    /// Writes a constant, sign-extended, to 32 or 64 bits of memory.
    pub fn store_constant(&mut self, w: Log2, to: Rm, value: i32) {
        self.encode(0, w == W64, false, 0xC7, 0, to);
        self.imm32(value);
    }

    /// A constant. Flags stay.
    pub fn constant(&mut self, to: Reg, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            if to.0 > 7 {
                self.bytes.push(0x41);
            }
            self.bytes.push(0xB8 | to.0 & 7);
            self.imm32(value as i32);
        } else if let Ok(value) = i32::try_from(value as i64) {
            self.encode(0, true, false, 0xC7, 0, Rm::Reg(to));
            self.imm32(value);
        } else {
            self.bytes.extend([0x48 | to.0 >> 3, 0xB8 | to.0 & 7]);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// `to = to <op> from`, 32 or 64 bits.
    pub fn alu(&mut self, op: Alu, w: Log2, to: Reg, from: Rm) {
        self.encode(0, w == W64, false, (op as u32) << 3 | 3, to.0, from);
    }

    /// The same with a constant; `to` may be memory.
    pub fn alu_constant(&mut self, op: Alu, w: Log2, to: Rm, value: i32) {
        let short = i8::try_from(value).is_ok();
        self.encode(0, w == W64, false, if short { 0x83 } else { 0x81 }, op as u8, to);
        if short {
            self.bytes.push(value as u8);
        } else {
            self.imm32(value);
        }
    }

    /// Flags of `a & b`.
    pub fn test(&mut self, w: Log2, a: Reg, b: Reg) {
        self.encode(0, w == W64, false, 0x85, b.0, Rm::Reg(a));
    }

    /// [`Cc::Below`] becomes bit `n` of `a`.
    pub fn test_bit(&mut self, a: Reg, n: u8) {
        self.encode(0, true, false, 0x1BA, 4, Rm::Reg(a));
        self.bytes.push(n);
    }

    /// Low bits of the product.
    pub fn multiply(&mut self, w: Log2, to: Reg, from: Rm) {
        self.encode(0, w == W64, false, 0x1AF, to.0, from);
    }

    /// 128-bit product of [`A`] and `by`, to [`D`] and [`A`].
    pub fn multiply_wide(&mut self, signed: bool, by: Rm) {
        self.encode(0, true, false, 0xF7, if signed { 5 } else { 4 }, by);
    }

    /// Complement.
    pub fn complement(&mut self, w: Log2, of: Reg) {
        self.encode(0, w == W64, false, 0xF7, 2, Rm::Reg(of));
    }

    /// A shift by a constant, of an operand of width `w`.
    pub fn shift(&mut self, op: Shift, w: Log2, of: Reg, count: u8) {
        self.sized(w, 0xC0, op as u8, Rm::Reg(of));
        self.bytes.push(count);
    }

    /// A shift by [`COUNT`].
    pub fn shift_by(&mut self, op: Shift, w: Log2, of: Reg) {
        self.sized(w, 0xD2, op as u8, Rm::Reg(of));
    }

    /// All ones if [`Cc::Below`], else zero.
    pub fn all_if_below(&mut self, to: Reg) {
        self.encode(0, true, false, 0x1B, to.0, Rm::Reg(to));
    }

    /// Reverses bytes.
    pub fn reverse_bytes(&mut self, w: Log2, of: Reg) {
        let rex = 0x40 | u8::from(w == W64) << 3 | of.0 >> 3;
        self.bytes.extend([rex, 0x0F, 0xC8 | of.0 & 7]);
    }

    /// Counts: leading zeros, trailing zeros, ones; of 64 bits.
    pub fn count_bits(&mut self, what: BitCount, to: Reg, from: Rm) {
        self.encode(0xF3, true, false, what as u32, to.0, from);
    }

    /// `to = address`.
    pub fn address(&mut self, to: Reg, of: Rm) {
        self.encode(0, true, false, 0x8D, to.0, of);
    }

    /// `if cc { to = from }`, 64 bits.
    pub fn copy_if(&mut self, cc: Cc, to: Reg, from: Rm) {
        self.encode(0, true, false, 0x140 | cc as u32, to.0, from);
    }

    /// 1 or 0, in 64 bits.
    pub fn truth(&mut self, cc: Cc, to: Reg) {
        self.encode(0, false, true, 0x190 | cc as u32, 0, Rm::Reg(to));
        self.extend(0, to, Rm::Reg(to));
    }

    /// Jumps.
    pub fn jump(&mut self, to: Label) {
        self.bytes.push(JUMP);
        self.fix(to);
    }

    /// Jumps if `cc`.
    pub fn jump_if(&mut self, cc: Cc, to: Label) {
        self.bytes.extend([0x0F, 0x80 | cc as u8]);
        self.fix(to);
    }

    fn fix(&mut self, to: Label) {
        self.fixups.push((self.bytes.len() as u32, to));
        self.imm32(0);
    }

    /// Jumps to an address.
    pub fn jump_to(&mut self, to: Rm) {
        self.encode(0, false, false, 0xFF, 4, to);
    }

    /// Calls an address.
    pub fn call(&mut self, to: Rm) {
        self.encode(0, false, false, 0xFF, 2, to);
    }

    /// Returns.
    pub fn leave(&mut self) {
        self.bytes.push(0xC3);
    }

    /// Saves a register on the stack.
    pub fn save(&mut self, r: Reg) {
        if r.0 > 7 {
            self.bytes.push(0x41);
        }
        self.bytes.push(0x50 | r.0 & 7);
    }

    /// Takes it back.
    pub fn restore(&mut self, r: Reg) {
        if r.0 > 7 {
            self.bytes.push(0x41);
        }
        self.bytes.push(0x58 | r.0 & 7);
    }

    /// 128 bits from memory to vector register `to`.
    pub fn load_vector(&mut self, to: u8, from: Rm) {
        self.encode(0xF3, false, false, 0x16F, to, from);
    }

    /// 128 bits to memory.
    pub fn store_vector(&mut self, to: Rm, from: u8) {
        self.encode(0xF3, false, false, 0x17F, from, to);
    }

    /// An operation on vector registers, of the map 66 0F.
    pub fn vector(&mut self, opcode: u8, to: u8, from: Rm) {
        self.encode(0x66, false, false, 0x100 | u32::from(opcode), to, from);
    }
}

/// See [`Assembler::count_bits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitCount {
    Ones = 0x1B8,
    TrailingZeros = 0x1BC,
    LeadingZeros = 0x1BD,
}
