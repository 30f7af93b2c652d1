//! Sizes of disks, as users write and read them.

/// A length, or a change of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewSize {
    /// So long.
    To(u64),
    /// So much longer.
    More(u64),
    /// So much shorter.
    Less(u64),
}

/// Parses a length of a disk: bytes, or K, M, G, T, which are powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const SHAPE: &str = "use bytes or a size, as in 20G or 512M";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(format!("not a size; {SHAPE}")),
    };
    let number: u64 = number.parse().map_err(|_| format!("not a size; {SHAPE}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large; use less than 16777216T".into())
}

/// Parses the size of a qcow2 cluster.
pub fn parse_cluster_size(text: &str) -> Result<u32, String> {
    let size = parse_size(text)?;
    if !size.is_power_of_two() || !(512..=2 << 20).contains(&size) {
        return Err("not a cluster's size; use a power of two from 512 to 2M".into());
    }
    Ok(size as u32)
}

/// Parses what a disk's length shall be.
pub fn parse_new_size(text: &str) -> Result<NewSize, String> {
    if let Some(more) = text.strip_prefix('+') {
        parse_size(more).map(NewSize::More)
    } else if let Some(less) = text.strip_prefix('-') {
        parse_size(less).map(NewSize::Less)
    } else {
        parse_size(text).map(NewSize::To)
    }
}

/// A number of bytes for a person.
pub fn readable(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0", Some(0))]
    #[case("1048576", Some(1 << 20))]
    #[case("512M", Some(512 << 20))]
    #[case("2t", Some(2 << 40))]
    #[case("20GiB", Some(20 << 30))]
    #[case("", None)]
    #[case("G", None)]
    #[case("-1", None)]
    #[case("1X", None)]
    #[case("99999999999T", None)]
    fn sizes_have_units(#[case] text: &str, #[case] bytes: Option<u64>) {
        assert_eq!(parse_size(text).ok(), bytes);
    }

    #[test]
    fn a_length_can_change() {
        assert_eq!(parse_new_size("+1K"), Ok(NewSize::More(1024)));
        assert_eq!(parse_new_size("-1K"), Ok(NewSize::Less(1024)));
        assert_eq!(parse_new_size("1K"), Ok(NewSize::To(1024)));
        assert!(parse_new_size("+-1K").is_err());
    }
}
