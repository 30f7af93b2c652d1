//! The guest that needs no file: a small program of ours, assembled at build time (see `asm/`), that `emu run`
//! boots when no kernel is named.
//!
//! It starts in real mode without any firmware, walks through protected mode to long mode, and tells on COM1
//! what it finds: processor, features, processors and memory, and how fast it runs. Then it takes keys.

/// The flat image.
pub static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/embedded.bin"));

/// Guest-physical address that the image is loaded at.
pub const LOAD_ADDRESS: u64 = 0x7C00;
/// Code segment at entry; real mode, A20 enabled or not.
pub const ENTRY_CS: u16 = 0;
/// Instruction pointer at entry.
pub const ENTRY_IP: u16 = 0x7C00;

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        IMAGE.windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[test]
    fn the_image_leaves_the_bda_and_the_ebda_alone() {
        let end = LOAD_ADDRESS + IMAGE.len() as u64;
        assert!(
            IMAGE.len() > 2048 && end < 0x1_0000,
            "the page tables are at 0x10000; the image ends at {end:#x}"
        );
    }

    #[test]
    fn it_starts_with_interrupts_off_and_a_stack_of_its_own() {
        // cli; cld; xor ax,ax; mov ds,ax
        assert_eq!(IMAGE[..6], [0xFA, 0xFC, 0x31, 0xC0, 0x8E, 0xD8]);
    }

    #[test]
    fn it_tells_of_each_mode_it_reaches() {
        for text in ["Real mode", "Protected mode", "Long mode", "million instructions per second"] {
            assert!(holds(text), "{text}");
        }
    }
}
