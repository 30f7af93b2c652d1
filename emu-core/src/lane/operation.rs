//! Operations as types, and their numbers.

/// A pure operation on two lanes and an immediate.
pub trait LaneOperation {
    /// Its number.
    const OP: LaneOp;
    /// Does it. Operands an operation does not have are ignored.
    fn apply(a: u128, b: u128, imm: u8) -> u128;
}

/// A pure operation on three lanes and an immediate.
pub trait LaneOperation3 {
    /// Its number.
    const OP: LaneOp3;
    /// Does it.
    fn apply(a: u128, b: u128, c: u128, imm: u8) -> u128;
}

/// What the elements of a floating-point operation's result are: needed to tell tiny results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FpResult {
    /// Four single-precision numbers (or fewer and zeros).
    Singles,
    /// Two double-precision numbers.
    Doubles,
    /// One single-precision number; the rest is copied.
    Single,
    /// One double-precision number; the rest is copied.
    Double,
    /// Four half-precision numbers in the low half.
    Halves,
    /// Never tiny: integers, masks, flags, operands.
    Other,
}

/// A floating-point operation: its result depends on MXCSR, and it may report exceptions there.
pub trait FpOperation {
    /// Its number.
    const OP: FpOp;
    /// What it gives.
    const RESULT: FpResult;
    /// Does it under the host's MXCSR, leaving its exceptions in the flags there. On hosts other than x86:
    /// [`portable`](Self::portable).
    fn apply(a: u128, b: u128, imm: u8) -> u128;
    /// Does it rounding to nearest, without flags.
    fn portable(a: u128, b: u128, imm: u8) -> u128;
}

/// A floating-point operation on three operands, otherwise as [`FpOperation`].
pub trait FpOperation3 {
    /// Its number.
    const OP: FpOp3;
    /// What it gives.
    const RESULT: FpResult;
    /// Does it under the host's MXCSR, leaving its exceptions in the flags there. On hosts other than x86:
    /// [`portable`](Self::portable).
    fn apply(a: u128, b: u128, c: u128) -> u128;
    /// Does it rounding to nearest, without flags.
    fn portable(a: u128, b: u128, c: u128) -> u128;
}

/// Declares lane operations: name, operands, what it does.
macro_rules! lane_operations {
    ($($name:ident($a:pat, $b:pat, $imm:pat) => $body:expr;)*) => {$(
        #[doc = concat!("See the manual at `", stringify!($name), "`.")]
        pub struct $name;
        impl $crate::lane::LaneOperation for $name {
            const OP: $crate::lane::LaneOp = $crate::lane::LaneOp::$name;
            #[inline(always)]
            fn apply($a: u128, $b: u128, $imm: u8) -> u128 {
                $body
            }
        }
    )*};
}
pub(super) use lane_operations;

/// Declares lane operations that the host may have an instruction for: name, function of [`super::host`],
/// operands, portable text. Tests find both in `PAIRS`.
macro_rules! host_operations {
    ($($name:ident = $host:ident($a:pat, $b:pat), $body:expr;)*) => {
        $(
            #[doc = concat!("See the manual at `", stringify!($name), "`.")]
            pub struct $name;
            impl $name {
                fn portable($a: u128, $b: u128) -> u128 {
                    $body
                }
                /// Never inlined: a host that needs it is slow anyway, and the others' handlers stay short.
                #[cold]
                #[inline(never)]
                fn on_lanes(a: $crate::lane::Lane, b: $crate::lane::Lane) -> $crate::lane::Lane {
                    $crate::lane::lane(Self::portable($crate::lane::bits(a), $crate::lane::bits(b)))
                }
            }
            impl $crate::lane::LaneOperation for $name {
                const OP: $crate::lane::LaneOp = $crate::lane::LaneOp::$name;
                #[inline(always)]
                fn apply(a: u128, b: u128, _: u8) -> u128 {
                    $crate::lane::host::or($crate::lane::host::$host(a, b), a, b, Self::on_lanes)
                }
            }
        )*

        /// What the host does, and the portable text.
        #[cfg(test)]
        pub(super) const PAIRS: &[$crate::lane::operation::Pair] =
            &[$(($crate::lane::LaneOp::$name, <$name as $crate::lane::LaneOperation>::apply, $name::portable)),*];
    };
}
pub(super) use host_operations;

/// Something to be done with every operation.
pub trait Visitor {
    /// With `O`.
    fn lane<O: LaneOperation>(&mut self);
    /// With `O`.
    fn lane3<O: LaneOperation3>(&mut self);
    /// With `O`.
    fn fp<O: FpOperation>(&mut self);
    /// With `O`.
    fn fp3<O: FpOperation3>(&mut self);
}

/// Declares the numbers of operations, each of which is a type of the same name, and a way to all of them: the method
/// of [`Visitor`], and where the types are.
macro_rules! numbers {
    ($(#[$meta:meta])* $numbers:ident: $visit:ident in $($types:tt)::*; $($name:ident,)*) => {
        $(#[$meta])*
        pub enum $numbers {
            $($name,)*
        }
        impl $numbers {
            /// Lets `visitor` visit every operation that has such a number.
            pub fn each(visitor: &mut impl Visitor) {
                use $($types)::*::*;
                $(visitor.$visit::<$name>();)*
            }
        }
    };
}

/// An operation as the host does it (or not), and its portable text.
#[cfg(test)]
pub type Pair = (LaneOp, fn(u128, u128, u8) -> u128, fn(u128, u128) -> u128);

numbers! {
    /// Numbers of the integer, shuffle and logic operations. Named as the instructions, except that one name
    /// stands for all instructions that do the same (`Pand` is ANDPS and ANDPD too).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[repr(u8)]
    #[expect(missing_docs, reason = "the manual's mnemonics")]
    LaneOp: lane in super;
    Paddb, Paddw, Paddd, Paddq, Psubb, Psubw, Psubd, Psubq,
    Paddsb, Paddsw, Paddusb, Paddusw, Psubsb, Psubsw, Psubusb, Psubusw,
    Pmullw, Pmulld, Pmulhw, Pmulhuw, Pmulhrsw, Pmuludq, Pmuldq, Pmaddwd, Pmaddubsw,
    Pavgb, Pavgw, Pminub, Pminuw, Pminud, Pminsb, Pminsw, Pminsd,
    Pmaxub, Pmaxuw, Pmaxud, Pmaxsb, Pmaxsw, Pmaxsd,
    Pcmpeqb, Pcmpeqw, Pcmpeqd, Pcmpeqq, Pcmpgtb, Pcmpgtw, Pcmpgtd, Pcmpgtq,
    Pabsb, Pabsw, Pabsd, Psignb, Psignw, Psignd,
    Phaddw, Phaddd, Phaddsw, Phsubw, Phsubd, Phsubsw,
    Psadbw, Mpsadbw, Phminposuw, Pand, Pandn, Por, Pxor,
    Psllw, Pslld, Psllq, Psrlw, Psrld, Psrlq, Psraw, Psrad, Pslldq, Psrldq, Palignr,
    Packsswb, Packssdw, Packuswb, Packusdw,
    Punpcklbw, Punpcklwd, Punpckldq, Punpcklqdq, Punpckhbw, Punpckhwd, Punpckhdq, Punpckhqdq,
    Pshufb, Pshufd, Pshuflw, Pshufhw, Shufps, Shufpd, Movshdup, Movsldup,
    Pblendw, Blendps, Blendpd, Insertps,
    Pinsrb, Pinsrw, Pinsrd, Pinsrq, Pextrb, Pextrw, Pextrd, Pextrq,
    Pmovsxbw, Pmovsxbd, Pmovsxbq, Pmovsxwd, Pmovsxwq, Pmovsxdq,
    Pmovzxbw, Pmovzxbd, Pmovzxbq, Pmovzxwd, Pmovzxwq, Pmovzxdq,
    Pmovmskb, Movmskps, Movmskpd, Ptest, Testps, Testpd, Vpermilpd, Vpermilpsvar, Vpermilpdvar,
    Aesenc, Aesenclast, Aesdec, Aesdeclast, Aesimc, Aeskeygenassist, Pclmulqdq,
    Sha1rnds4, Sha1nexte, Sha1msg1, Sha1msg2, Sha256msg1, Sha256msg2,
    Pcmpistr, ExpandMask,
    Vpsllvd, Vpsllvq, Vpsrlvd, Vpsrlvq, Vpsravd, Vpermq,
    Vpbroadcastb, Vpbroadcastw,
    Gf2p8affineqb, Gf2p8affineinvqb, Gf2p8mulb,
}

numbers! {
    /// Numbers of the operations on three lanes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[repr(u8)]
    #[expect(missing_docs, reason = "the manual's mnemonics")]
    LaneOp3: lane3 in super;
    Pblendvb,
    Blendvps,
    Blendvpd,
    Sha256rnds2,
    Pcmpestr,
    Vpermd,
}

numbers! {
    /// Numbers of the floating-point operations.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[repr(u8)]
    #[expect(missing_docs, reason = "the manual's mnemonics")]
    FpOp: fp in super::fp;
    Addps, Addpd, Addss, Addsd, Subps, Subpd, Subss, Subsd,
    Mulps, Mulpd, Mulss, Mulsd, Divps, Divpd, Divss, Divsd,
    Minps, Minpd, Minss, Minsd, Maxps, Maxpd, Maxss, Maxsd,
    Sqrtps, Sqrtpd, Sqrtss, Sqrtsd, Rcpps, Rcpss, Rsqrtps, Rsqrtss,
    Cmpps, Cmppd, Cmpss, Cmpsd, Vcmpps, Vcmppd, Vcmpss, Vcmpsd, Comiss, Comisd, Ucomiss, Ucomisd,
    Roundps, Roundpd, Roundss, Roundsd, DppsProducts, DppsPairs, DppsSum, DppdProducts, DppdSum,
    Haddps, Haddpd, Hsubps, Hsubpd, Addsubps, Addsubpd,
    Cvtss2sd, Cvtsd2ss, Cvtps2pd, Cvtpd2ps, Cvtdq2ps, Cvtdq2pd,
    Cvtps2dq, Cvttps2dq, Cvtpd2dq, Cvttpd2dq,
    Cvtsi2ss32, Cvtsi2ss64, Cvtsi2sd32, Cvtsi2sd64,
    Cvtss2si32, Cvtss2si64, Cvttss2si32, Cvttss2si64,
    Cvtsd2si32, Cvtsd2si64, Cvttsd2si32, Cvttsd2si64, Vcvtph2ps, Vcvtps2ph,
}

numbers! {
    /// Numbers of the floating-point operations on three operands: `a * b + c` with signs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[repr(u8)]
    #[expect(missing_docs, reason = "the manual's mnemonics, without the order of operands")]
    FpOp3: fp3 in super::fp;
    Fmaddps, Fmaddpd, Fmaddss, Fmaddsd, Fmsubps, Fmsubpd, Fmsubss, Fmsubsd,
    Fnmaddps, Fnmaddpd, Fnmaddss, Fnmaddsd, Fnmsubps, Fnmsubpd, Fnmsubss, Fnmsubsd,
    Fmaddsubps, Fmaddsubpd, Fmsubaddps, Fmsubaddpd,
}
