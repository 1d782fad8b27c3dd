//! The 32-bit way into the kernel from a 64-bit process, which syscall tracepoints of the 64-bit table do not see.

use std::{arch::asm, ptr};

/// `open` in the 32-bit table.
pub(crate) const OPEN: i32 = 5;
/// `socketcall` in the 32-bit table.
pub(crate) const SOCKETCALL: i32 = 102;

/// Bytes at an address that 32 bits can name. They stay for the life of the process.
pub(crate) struct Low(*mut u8);

impl Low {
    /// Copies bytes there, with a NUL at the end.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // SAFETY: a new anonymous mapping, larger than the bytes.
        unsafe {
            let place = libc::mmap(
                ptr::null_mut(),
                bytes.len() + 1,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            );
            if place == libc::MAP_FAILED {
                return None;
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast(), bytes.len());
            Some(Self(place.cast()))
        }
    }

    /// Where they are.
    pub(crate) fn address(&self) -> u32 {
        u32::try_from(self.0.addr()).expect("MAP_32BIT is below 4 GiB")
    }
}

/// Makes one 32-bit call; a negative result is the error.
pub(crate) fn call(number: i32, arguments: [u32; 3]) -> i32 {
    let [first, second, third] = arguments;
    let result: i32;
    // SAFETY: the caller passes low addresses of live memory; rbx, which LLVM keeps for itself, is restored.
    unsafe {
        asm!(
            "push rbx",
            "mov ebx, {first:e}",
            "int 0x80",
            "pop rbx",
            first = in(reg) first,
            inlateout("eax") number => result,
            in("ecx") second,
            in("edx") third,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    result
}
