//! The child's memory for cases: pages of a shared file, mapped where a case has memory, with its rights.
//!
//! Every page is mapped twice: at the case's address, and writable in a window that the signal handler uses. So
//! a read-only page is filled without a change of rights, and as long as cases have the same pages, no mapping
//! changes between them.

use super::{
    kernel,
    shared::{PAGE, PAGES, Piece},
};

/// A page that is mapped for cases.
#[derive(Clone, Copy)]
struct Page {
    /// Its address; 1, which is none, if it is nowhere.
    address: u64,
    /// `PROT_` bits it has; 0 is not present.
    rights: u32,
    /// Those that the case wants.
    wanted: u32,
}

const NOWHERE: Page = Page { address: 1, rights: 0, wanted: 0 };

/// All pages of cases; number k is page k of the shared file.
pub struct Pages {
    pages: [Page; PAGES],
    used: usize,
    window: *mut u8,
    /// A breakpoint that stands somewhere, and what it replaces.
    breakpoint: Option<(*mut u8, u8)>,
}

impl Pages {
    /// None is mapped yet. `window` has all of them.
    pub fn new(window: *mut u8) -> Self {
        Pages { pages: [NOWHERE; PAGES], used: 0, window, breakpoint: None }
    }

    /// Makes exactly the pages that `pieces` touch present, and fills them from `bytes`; nothing if the kernel
    /// refuses.
    pub fn arrange(&mut self, pieces: &[Piece], bytes: &[u8]) -> Option<()> {
        self.pages[..self.used].iter_mut().for_each(|page| page.wanted = 0);
        for piece in pieces {
            for address in pages_of(piece) {
                let number = self.number(address).or_else(|| self.take(address))?;
                self.pages[number].wanted = piece.rights;
            }
        }
        for number in 0..self.used {
            self.settle(number)?;
        }
        for piece in pieces {
            let bytes = bytes.get(piece.at as usize..)?.get(..piece.len as usize)?;
            self.each_part(piece, |place, part| {
                // SAFETY: `place` has room for the part.
                unsafe { std::ptr::copy_nonoverlapping(bytes[part.clone()].as_ptr(), place, part.len()) };
            });
        }
        Some(())
    }

    /// Reads the pieces back.
    pub fn collect(&self, pieces: &[Piece], bytes: &mut [u8]) {
        for piece in pieces {
            let Some(bytes) = bytes.get_mut(piece.at as usize..piece.at as usize + piece.len as usize) else {
                return;
            };
            self.each_part(piece, |place, part| {
                let to = bytes[part.clone()].as_mut_ptr();
                // SAFETY: `place` has as many bytes as the part.
                unsafe { std::ptr::copy_nonoverlapping(place, to, part.len()) };
            });
        }
    }

    /// Up to 15 bytes of code at a linear address: those that are present.
    pub fn code(&self, address: u64) -> ([u8; 15], usize) {
        let mut code = [0; 15];
        for (k, byte) in code.iter_mut().enumerate() {
            match self.byte(address.wrapping_add(k as u64)) {
                // SAFETY: within the window.
                Some(place) => *byte = unsafe { place.read() },
                None => return (code, k),
            }
        }
        (code, 15)
    }

    /// Where the window has the byte at a linear address, if the case has its page.
    pub fn byte(&self, address: u64) -> Option<*mut u8> {
        let number = self.number(address & !(PAGE - 1)).filter(|number| self.pages[*number].wanted != 0)?;
        Some(self.place(number, address))
    }

    /// Puts INT3 at a linear address; says whether it could, which needs a page that the case may execute and
    /// not write.
    pub fn set_breakpoint(&mut self, address: u64) -> bool {
        const INT3: u8 = 0xCC;
        let page = address & !(PAGE - 1);
        let fits = |page: &Page| {
            page.wanted & libc::PROT_EXEC as u32 != 0 && page.wanted & libc::PROT_WRITE as u32 == 0
        };
        let number = self.number(page).filter(|number| fits(&self.pages[*number]));
        self.breakpoint = number.map(|number| {
            let place = self.place(number, address);
            // SAFETY: within the window.
            (place, unsafe { place.replace(INT3) })
        });
        self.breakpoint.is_some()
    }

    /// Puts back what the breakpoint replaced.
    pub fn clear_breakpoint(&mut self) {
        if let Some((place, byte)) = self.breakpoint.take() {
            // SAFETY: as it was set.
            unsafe { place.write(byte) };
        }
    }

    fn place(&self, number: usize, address: u64) -> *mut u8 {
        // SAFETY: the window has `PAGES` pages.
        unsafe { self.window.add(number * PAGE as usize + (address & (PAGE - 1)) as usize) }
    }

    fn number(&self, address: u64) -> Option<usize> {
        self.pages[..self.used].iter().position(|page| page.address == address)
    }

    /// Calls `each` with the place in the window and the range of bytes of every page's part of `piece`.
    fn each_part(&self, piece: &Piece, mut each: impl FnMut(*mut u8, std::ops::Range<usize>)) {
        let mut done = 0;
        while done < piece.len as usize {
            let address = piece.address + done as u64;
            let Some(number) = self.number(address & !(PAGE - 1)) else { return };
            let len = ((PAGE - (address & (PAGE - 1))) as usize).min(piece.len as usize - done);
            each(self.place(number, address), done..done + len);
            done += len;
        }
    }

    /// A page for `address`: a fresh one, or one that this case does not want.
    fn take(&mut self, address: u64) -> Option<usize> {
        let number = if self.used < PAGES {
            self.used += 1;
            self.used - 1
        } else {
            self.pages.iter().position(|page| page.wanted == 0)?
        };
        let old = std::mem::replace(&mut self.pages[number], NOWHERE);
        if old.address != NOWHERE.address {
            // SAFETY: a page of cases, which only they use.
            unsafe { kernel::call(libc::SYS_munmap, [old.address, PAGE, 0, 0, 0, 0]) };
        }
        let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
        let at = number as u64 * PAGE;
        let rights = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        // SAFETY: it replaces no mapping.
        let mapped = unsafe {
            kernel::call(libc::SYS_mmap, [address, PAGE, rights, flags as u64, super::child::PAGES_FD, at])
        };
        if mapped as u64 != address {
            return None;
        }
        self.pages[number] = Page { address, rights: rights as u32, wanted: 0 };
        Some(number)
    }

    /// Gives a page the rights that the case wants, and zeroes it if it is present.
    fn settle(&mut self, number: usize) -> Option<()> {
        let window = self.place(number, 0);
        let page = &mut self.pages[number];
        if page.address == NOWHERE.address {
            return Some(());
        }
        if page.rights != page.wanted {
            let arguments = [page.address, PAGE, page.wanted.into(), 0, 0, 0];
            // SAFETY: a page of cases, which only they use.
            if unsafe { kernel::call(libc::SYS_mprotect, arguments) } != 0 {
                return None;
            }
            page.rights = page.wanted;
        }
        if page.wanted != 0 {
            // SAFETY: a page of the window.
            unsafe { window.write_bytes(0, PAGE as usize) };
        }
        Some(())
    }
}

/// Addresses of the pages that a piece touches.
fn pages_of(piece: &Piece) -> impl Iterator<Item = u64> {
    let first = piece.address & !(PAGE - 1);
    let end = piece.address + u64::from(piece.len).max(1);
    (first..end).step_by(PAGE as usize)
}
