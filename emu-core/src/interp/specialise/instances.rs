//! How the instances of semantics are made: by operand shape, width and condition.

use crate::{
    arch::Width,
    decode::Handler,
    interp::handlers::{fast, quiet},
    semantics::Semantics,
};

/// Widths, as [`Fixed`](crate::semantics::Fixed) has them.
pub(super) const B: u8 = Width::W8 as u8;
pub(super) const H: u8 = Width::W16 as u8;
pub(super) const D: u8 = Width::W32 as u8;
pub(super) const Q: u8 = Width::W64 as u8;

/// Operand shape in the same numbers.
pub(super) type Shape = (u8, u8);

/// How handlers are made from semantics.
pub trait Make {
    /// The handler for `S`.
    fn handler<S: Semantics>() -> Handler;
}

/// Handlers that set flags.
pub struct Loud;
/// Handlers that do not: for instructions whose flags nobody sees.
pub struct Silent;

impl Make for Loud {
    fn handler<S: Semantics>() -> Handler {
        fast::<S>
    }
}

impl Make for Silent {
    fn handler<S: Semantics>() -> Handler {
        quiet::<S>
    }
}

/// Picks the instance of a semantics type, with (or without) a parameter before its form, for a width and a shape.
macro_rules! pick {
    (@instance $make:ident, $name:ident, [], $form:ty) => {
        Some($make::handler::<$name<$form>>())
    };
    (@instance $make:ident, $name:ident, [$operation:tt], $form:ty) => {
        Some($make::handler::<$name<$operation, $form>>())
    };
    ($make:ident, $w:expr, $shape:expr, [$($wide:ident),+], $forms:tt, $name:ident, $parameter:tt) => {
        match $w {
            $($wide => pick!(@forms $make, $shape, $wide, $forms, $name, $parameter),)+
            _ => None,
        }
    };
    (@forms $make:ident, $shape:expr, $wide:ident, [$(($dst:ident, $src:ident)),+], $name:ident, $parameter:tt) => {
        match $shape {
            $(($dst, $src) => pick!(@instance $make, $name, $parameter, Fixed<$wide, $dst, $src>),)+
            _ => None,
        }
    };
}

/// Calls `$pick` with the condition code of a mnemonic of the family `$o $no ...`.
macro_rules! by_condition {
    ($mnemonic:expr, [$($name:ident = $cc:literal),+], $with:ident $arguments:tt) => {
        match $mnemonic {
            $(Mnemonic::$name => $with::<$cc> $arguments,)+
            _ => None,
        }
    };
}

pub(super) use by_condition;
pub(super) use pick;
