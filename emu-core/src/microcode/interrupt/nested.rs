//! An exception during the delivery of another: one after the other, double fault, or shutdown. SDM vol. 3,
//! 6.15, interrupt 8, tables 6-4 and 6-5.

use crate::arch::{Exception, vector};

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This exception is delivered.
    Deliver(Exception),
    /// The same benign exception again.
    Repeat,
    /// Triple fault.
    Shutdown,
}

#[derive(PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    Page,
    Double,
}

const fn class(vector: u8) -> Class {
    match vector {
        vector::DE | vector::TS | vector::NP | vector::SS | vector::GP => Class::Contributory,
        vector::PF => Class::Page,
        vector::DF => Class::Double,
        _ => Class::Benign,
    }
}

/// What follows when the delivery of `first` raises `second`.
pub(super) fn next(first: u8, second: Exception) -> Next {
    let second_vector = match second {
        Exception::Plain(vector) | Exception::Code(vector, _) => vector,
        Exception::Page(..) => vector::PF,
        Exception::Debug(_) => vector::DB,
        Exception::Restart => return Next::Repeat,
    };
    match (class(first), class(second_vector)) {
        (Class::Double, Class::Contributory | Class::Page) => Next::Shutdown,
        (Class::Contributory, Class::Contributory) | (Class::Page, Class::Contributory | Class::Page) => {
            Next::Deliver(Exception::Code(vector::DF, 0))
        }
        (_, Class::Benign) if first == second_vector => Next::Repeat,
        _ => Next::Deliver(second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::PageFaultCode;
    use rstest::rstest;

    const PAGE: Exception = Exception::Page(PageFaultCode::empty(), 0);
    const DOUBLE: Exception = Exception::Code(vector::DF, 0);

    #[rstest]
    #[case::benign_then_contributory(vector::UD, Exception::GP0, Next::Deliver(Exception::GP0))]
    #[case::contributory_then_benign(vector::GP, Exception::AC0, Next::Deliver(Exception::AC0))]
    #[case::contributory_twice(vector::GP, Exception::SS0, Next::Deliver(DOUBLE))]
    #[case::contributory_then_page(vector::GP, PAGE, Next::Deliver(PAGE))]
    #[case::page_then_contributory(vector::PF, Exception::GP0, Next::Deliver(DOUBLE))]
    #[case::page_twice(vector::PF, PAGE, Next::Deliver(DOUBLE))]
    #[case::double_then_page(vector::DF, PAGE, Next::Shutdown)]
    #[case::double_then_contributory(vector::DF, Exception::GP0, Next::Shutdown)]
    #[case::alignment_for_ever(vector::AC, Exception::AC0, Next::Repeat)]
    fn tables_6_4_and_6_5(#[case] first: u8, #[case] second: Exception, #[case] expected: Next) {
        assert_eq!(next(first, second), expected);
    }
}
