//! A lane as an array of elements, element 0 first.

/// An array of integers that fills a lane.
pub trait Elements: Sized {
    /// The elements of `lane`.
    fn of(lane: u128) -> Self;
    /// The lane made of them.
    fn lane(self) -> u128;
}

macro_rules! elements {
    ($($array:ty),*) => {$(
        impl Elements for $array {
            #[inline(always)]
            fn of(lane: u128) -> Self {
                // SAFETY: both are 16 bytes, any of which is valid for an integer.
                unsafe { std::mem::transmute::<u128, $array>(lane) }
            }
            #[inline(always)]
            fn lane(self) -> u128 {
                // SAFETY: as above.
                unsafe { std::mem::transmute::<$array, u128>(self) }
            }
        }
    )*};
}

impl Elements for [u8; 16] {
    #[inline(always)]
    fn of(lane: u128) -> Self {
        lane.to_le_bytes()
    }
    #[inline(always)]
    fn lane(self) -> u128 {
        u128::from_le_bytes(self)
    }
}

elements!([i8; 16], [u16; 8], [i16; 8], [u32; 4], [i32; 4], [u64; 2], [i64; 2]);

// Element 0 is at the lowest address only there.
const _: () = assert!(cfg!(target_endian = "little"), "lanes need a little-endian host");

/// `f` of each element.
#[inline(always)]
pub fn map<T: Copy, const N: usize>(a: u128, f: impl Fn(T) -> T) -> u128
where
    [T; N]: Elements,
{
    let a = <[T; N]>::of(a);
    std::array::from_fn::<T, N, _>(|k| f(a[k])).lane()
}

/// `f` of each pair of elements.
#[inline(always)]
pub fn map2<T: Copy, const N: usize>(a: u128, b: u128, f: impl Fn(T, T) -> T) -> u128
where
    [T; N]: Elements,
{
    let (a, b) = (<[T; N]>::of(a), <[T; N]>::of(b));
    std::array::from_fn::<T, N, _>(|k| f(a[k], b[k])).lane()
}

/// Element `k` of the result is `f` of the elements of both and `k`.
#[inline(always)]
pub fn build<S, T, const N: usize, const M: usize>(
    a: u128,
    b: u128,
    f: impl Fn(&[S; N], &[S; N], usize) -> T,
) -> u128
where
    [S; N]: Elements,
    [T; M]: Elements,
{
    let (a, b) = (<[S; N]>::of(a), <[S; N]>::of(b));
    std::array::from_fn::<T, M, _>(|k| f(&a, &b, k)).lane()
}
