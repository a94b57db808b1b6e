//! Advises the kernel how memory is used: madvise(2).
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// The size of a huge page, on x86-64 and on AArch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Asks for huge pages for what is in `memory` of them, which is not used yet. Memory that is read in any order
/// needs far fewer entries of the TLB then, and fewer page faults. A kernel without them ignores it.
pub(crate) fn advise_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    let bytes = memory.as_mut_ptr_range();
    let (start, end) = (bytes.start.addr(), bytes.end.addr());
    let skipped = start.next_multiple_of(HUGE_PAGE_BYTES) - start;
    let length = (end - start).saturating_sub(skipped) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if length > 0 {
        // SAFETY: the range is within `memory`, and MADV_HUGEPAGE keeps what is in it.
        unsafe {
            libc::madvise(bytes.start.cast::<u8>().add(skipped).cast(), length, libc::MADV_HUGEPAGE)
        };
    }
}
