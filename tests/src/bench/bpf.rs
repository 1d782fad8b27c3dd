//! The kernel's `bpf` call, as far as a measurement needs it: an empty program, and who else is attached.

use std::{
    ffi::c_long,
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};

// Commands and types of `include/uapi/linux/bpf.h`.
const PROG_LOAD: c_long = 5;
const PROG_GET_FD_BY_ID: c_long = 13;
const RAW_TRACEPOINT_OPEN: c_long = 17;
const LINK_GET_FD_BY_ID: c_long = 30;
const LINK_GET_NEXT_ID: c_long = 31;
const PROG_TYPE_RAW_TRACEPOINT: u32 = 17;

/// A program that only returns 0, attached until this is dropped.
pub(crate) struct Empty {
    _link: OwnedFd,
}

impl Empty {
    /// Attaches it to the exit of every system call.
    pub(crate) fn on_syscall_exit() -> Result<Self> {
        // r0 = 0; exit
        let instructions: [u64; 2] = [0xb7, 0x95];
        let mut load = [0_u64; 16];
        load[0] = u64::from(PROG_TYPE_RAW_TRACEPOINT) | 2 << 32;
        load[1] = instructions.as_ptr() as u64;
        load[2] = c"GPL".as_ptr() as u64;
        let program = call(PROG_LOAD, &mut load).context("cannot load an empty program; run as root")?;
        let mut open = [0_u64; 16];
        open[0] = c"sys_exit".as_ptr() as u64;
        open[1] = u64::try_from(program.as_raw_fd())?;
        let link = call(RAW_TRACEPOINT_OPEN, &mut open).context("cannot attach an empty program")?;
        Ok(Self { _link: link })
    }
}

/// How many programs are attached to the exit of system calls on this host.
pub(crate) fn on_syscall_exit() -> usize {
    links().filter(|text| text.lines().any(|line| line.ends_with("tp_name:\tsys_exit"))).count()
}

/// Whether a program is still loaded.
pub(crate) fn is_loaded(program: u32) -> bool {
    let mut by_id = [0_u64; 16];
    by_id[0] = u64::from(program);
    call(PROG_GET_FD_BY_ID, &mut by_id).is_ok()
}

/// What the kernel says of every link.
fn links() -> impl Iterator<Item = String> {
    let mut id = 0_u64;
    std::iter::from_fn(move || {
        loop {
            let mut next = [0_u64; 16];
            next[0] = id;
            raw(LINK_GET_NEXT_ID, &mut next).ok()?;
            id = next[0] >> 32;
            let mut by_id = [0_u64; 16];
            by_id[0] = id;
            // It may be gone by now.
            let Ok(link) = call(LINK_GET_FD_BY_ID, &mut by_id) else { continue };
            return Some(
                fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd())).unwrap_or_default(),
            );
        }
    })
}

fn call(command: c_long, attributes: &mut [u64; 16]) -> io::Result<OwnedFd> {
    let descriptor = raw(command, attributes)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn raw(command: c_long, attributes: &mut [u64; 16]) -> io::Result<i32> {
    // SAFETY: the attributes are as long as they say, and what they point to outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    i32::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(io::Error::last_os_error)
}
