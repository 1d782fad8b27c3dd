//! What the kernel itself counts about our programs: runs, and runs that it skipped because the same program was
//! already running on that CPU.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::Duration,
};

use aya::{
    Ebpf,
    sys::{Stats, enable_stats},
};

/// `BPF_OBJ_GET_INFO_BY_FD` of `include/uapi/linux/bpf.h`.
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
/// Offset of `recursion_misses` in `struct bpf_prog_info`.
const RECURSION_MISSES_OFFSET: usize = 208;
const INFO_BYTES: usize = 256;

/// Runs that the kernel skipped, per program that has any. Such a run left no record and no sequence.
#[must_use]
pub fn recursion_misses(ebpf: &Ebpf) -> Vec<(String, u64)> {
    ebpf.programs()
        .filter_map(|(name, program)| {
            let descriptor = program.fd().ok()?;
            let misses = misses_of(descriptor.as_fd().as_raw_fd())?;
            (misses > 0).then(|| (name.to_owned(), misses))
        })
        .collect()
}

/// What the kernel counts about one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramHealth {
    /// Its name.
    pub name: String,
    /// Runs and the time in them; `None` while the kernel does not count them.
    pub runs: Option<(u64, Duration)>,
    /// Runs that it skipped.
    pub misses: u64,
}

/// How full a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFill {
    /// Its name.
    pub name: &'static str,
    /// Entries.
    pub entries: u64,
    /// Room.
    pub capacity: u32,
}

/// Lets the kernel count runs and time, of all programs of the host, until the result is dropped.
#[must_use]
pub fn count_runs() -> Option<OwnedFd> {
    enable_stats(Stats::RunTime).ok()
}

/// Every loaded program.
#[must_use]
pub fn programs(ebpf: &Ebpf, counted: bool) -> Vec<ProgramHealth> {
    let setting = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled");
    let counted = counted || setting.is_ok_and(|text| text.trim() == "1");
    ebpf.programs()
        .filter_map(|(name, program)| {
            // A program that is not loaded in this tier has no descriptor.
            let descriptor = program.fd().ok()?;
            let misses = misses_of(descriptor.as_fd().as_raw_fd()).unwrap_or(0);
            let info = counted.then(|| program.info().ok()).flatten();
            let runs = info.map(|info| (info.run_count(), info.run_time()));
            Some(ProgramHealth { name: name.to_owned(), runs, misses })
        })
        .collect()
}

fn misses_of(descriptor: i32) -> Option<u64> {
    #[repr(C)]
    struct Attribute {
        descriptor: u32,
        info_bytes: u32,
        info: u64,
    }
    let mut info = [0_u8; INFO_BYTES];
    let attribute = Attribute {
        descriptor: u32::try_from(descriptor).ok()?,
        info_bytes: u32::try_from(INFO_BYTES).ok()?,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: the attribute has the layout of the `info` member of `union bpf_attr`; the kernel writes at most
    // `info_bytes` bytes to `info`, which lives longer than the call.
    let failed = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const attribute, size_of::<Attribute>())
    };
    if failed != 0 {
        return None;
    }
    let bytes = info.get(RECURSION_MISSES_OFFSET..RECURSION_MISSES_OFFSET + 8)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}
