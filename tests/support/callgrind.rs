//! Requests to callgrind from the program that runs under it (valgrind.h,
//! callgrind.h): an instruction sequence that does nothing on a real CPU.

use std::ffi::CStr;

const RUNNING_ON_VALGRIND: u64 = 0x1001;
const CALLGRIND: u64 = (b'C' as u64) << 24 | (b'T' as u64) << 16;
const ZERO: u64 = CALLGRIND + 1;
const DUMP_AT: u64 = CALLGRIND + 3;
const START: u64 = CALLGRIND + 4;
const STOP: u64 = CALLGRIND + 5;

#[cfg(target_arch = "x86_64")]
fn request(code: u64, argument: u64) -> u64 {
    let arguments = [code, argument, 0, 0, 0, 0];
    let mut result = 0u64;
    // SAFETY: rotations by 128 bits in all and an exchange with itself change
    // nothing but flags; under valgrind, rdx is set and `arguments` is read.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            inlateout("rdx") result,
            in("rax") arguments.as_ptr(),
            options(nostack),
        );
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: u64, _: u64) -> u64 {
    0
}

/// The program runs under valgrind.
pub fn is_running() -> bool {
    request(RUNNING_ON_VALGRIND, 0) > 0
}

/// Begins to count instructions.
pub fn start() {
    request(START, 0);
    request(ZERO, 0);
}

/// Ends counting, and writes the count with `label` to a file of its own.
pub fn stop(label: &CStr) {
    request(DUMP_AT, label.as_ptr() as u64);
    request(STOP, 0);
}
