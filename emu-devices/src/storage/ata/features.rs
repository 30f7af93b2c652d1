//! SET FEATURES, and the transfer modes of a drive. ATA8-ACS, 7.48.

/// Subcommands.
pub mod subcommand {
    // ATA8-ACS, table 107.
    pub const ENABLE_WRITE_CACHE: u8 = 0x02;
    pub const SET_TRANSFER_MODE: u8 = 0x03;
    pub const DISABLE_LOOK_AHEAD: u8 = 0x55;
    pub const KEEP_SETTINGS: u8 = 0x66;
    pub const DISABLE_WRITE_CACHE: u8 = 0x82;
    pub const ENABLE_LOOK_AHEAD: u8 = 0xAA;
    pub const REVERT_SETTINGS: u8 = 0xCC;
}

/// Ultra DMA 5: what a drive works in after power-on.
pub const DEFAULT_MODE: u8 = 0x45;

/// What SET TRANSFER MODE with `count` makes of the mode in use: PIO leaves the mode of DMA alone. `None`: there is no
/// such mode.
pub fn transfer_mode(current: u8, count: u8) -> Option<u8> {
    match count {
        0x00 | 0x01 | 0x08..=0x0C => Some(current),
        0x20..=0x22 | 0x40..=0x45 => Some(count),
        _ => None,
    }
}
