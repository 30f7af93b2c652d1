//! Damaged and random images: refused or started, never a panic, and nothing outside RAM.

use super::{images::*, *};
use proptest::{collection::vec, prelude::*, sample::Index};

fn start(kernel: &[u8], modules: &[Module]) {
    if let Ok(guest) = Guest::start(32, kernel, modules, "console=ttyS0") {
        assert!(guest.state.rsp <= 32 << 20);
    }
}

fn any_image() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(bzimage()),
        Just(pvh()),
        Just(multiboot_elf()),
        Just(multiboot_flat(0, 0x20_1000)),
        Just(elf32(0x10_0000, &[Part(1, (0, 0x10_0000), CODE, 64), Part(4, (0, 0), &note(18, &[0; 4]), 0)])),
    ]
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..2048)) {
        start(&bytes, &[]);
    }

    #[test]
    fn truncated_images_never_panic(image in any_image(), length: Index) {
        start(&image[..length.index(image.len())], &[]);
    }

    #[test]
    fn images_with_changed_bytes_never_panic(
        image in any_image(),
        changes in vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        let mut image = image;
        for (at, value) in changes {
            let length = image.len();
            image[at.index(length)] = value;
        }
        start(&image, &[Module { bytes: &[1; 100], cmdline: "module", name: "module" }]);
    }

    #[test]
    fn images_with_extreme_fields_never_panic(
        image in any_image(),
        at: Index,
        value in prop_oneof![Just(u64::MAX), Just(u64::MAX - 7), Just(0), Just(1 << 31), Just(0xFFFF_FFFF)],
        width in 1_usize..=8,
    ) {
        let mut image = image;
        let start_at = at.index(image.len());
        let end = (start_at + width).min(image.len());
        image[start_at..end].copy_from_slice(&value.to_le_bytes()[..end - start_at]);
        start(&image, &[]);
    }
}
