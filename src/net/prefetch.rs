//! Asking the CPU for memory before it is needed.
#![allow(unsafe_code)]

/// Bytes that come from memory at once.
const LINE: usize = 64;

/// Lines that one call asks for at most: a core has a dozen or so requests under way.
const LINES: usize = 16;

/// Begins to load `value` into the cache (its first KiB) without waiting for it. Only a hint: nothing
/// happens on CPUs other than x86-64.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<i8>();
    for line in 0..size_of::<T>().div_ceil(LINE).min(LINES) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch accesses nothing and never faults, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * LINE));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (start, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_can_be_asked_for() {
        prefetch(&());
        prefetch(&7u8);
        prefetch(&[1u64; 4096]);
        let boxed = Box::new([3u8; 200]);
        prefetch(&*boxed);
        assert_eq!(boxed[199], 3);
    }
}
