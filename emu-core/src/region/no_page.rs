//! What translated code that remembers a page has when it remembers none.
//!
//! A page is remembered as the tag and the addend of its TLB entry, and used if an address is near enough to the tag: one
//! comparison, for which every tag matches something. In the TLB the entry's index rules that out; what is remembered by
//! itself has no index. So the tag is an address that is not canonical and that the guest cannot know, of more than 2^50,
//! and the addend leads from there to a page of nobody's: should a guest guess it, it reads and writes there, where #GP
//! were right.

/// Bytes of a page.
const PAGE: usize = 4096;

/// A page of nobody's.
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Tag and addend of no page. Translated code reads it.
#[repr(C)]
pub struct NoPage {
    /// See the module.
    pub tag: u64,
    /// See the module.
    pub addend: u64,
    page: Box<Page>,
}

impl NoPage {
    /// Another one each time.
    pub fn new() -> Self {
        let mut random = [0; 8];
        // Without randomness it is still a page that guests have no reason to touch.
        let known = getrandom::fill(&mut random).is_err();
        let random = if known { 0x5A5A_5A5A_5A5A_5A5A } else { u64::from_le_bytes(random) };
        // Bits 63 and 62 differ: canonical neither with 48 nor with 57 bits.
        let tag = (random & !(3 << 62) | 1 << 63) & !(PAGE as u64 - 1);
        let page = Box::new(Page([0; PAGE]));
        let addend = (&raw const *page as u64).wrapping_sub(tag);
        NoPage { tag, addend, page }
    }

    /// Whether it has been touched.
    pub fn is_clean(&self) -> bool {
        self.page.0.iter().all(|byte| *byte == 0)
    }
}

impl Default for NoPage {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_tag_is_no_address_of_the_guest_and_leads_to_its_page() {
        let no_page = NoPage::new();
        assert_eq!((no_page.tag >> 62, no_page.tag & 0xFFF), (2, 0));
        let host = no_page.tag.wrapping_add(no_page.addend);
        assert_eq!(host, &raw const *no_page.page as u64);
        assert!(no_page.is_clean());
    }
}
