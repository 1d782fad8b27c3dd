//! Capabilities: only those that something after the start still needs are kept.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::geteuid;
use std::{fs, io, os::unix::fs::MetadataExt as _, path::PathBuf, thread};

/// `bpf(2)`'s command that asks a map for its next key: the most harmless of those that are used all the time.
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
/// Larger than any kernel's attributes that matter here; the rest must be zero.
const ATTRIBUTE_BYTES: usize = 32;

/// Names of the capabilities that this thread holds.
pub(super) fn held() -> Vec<String> {
    names(&caps::read(None, CapSet::Permitted).unwrap_or_default())
}

/// Gives away all capabilities but those that are still used. Names those that are left.
pub(super) fn keep_needed(bpf: bool, writable: &[PathBuf]) -> Vec<String> {
    let had = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let kept: CapsHashSet = needed(bpf, writable).into_iter().filter(|one| had.contains(one)).collect();
    // While CAP_SETPCAP is there: nothing that is given away comes back by executing a program either.
    for capability in caps::all() {
        if !kept.contains(&capability) {
            // Without CAP_SETPCAP the bounding set stays; there are no new privileges anyway.
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    // Absent on kernels without ambient capabilities.
    let _ = caps::clear(None, CapSet::Ambient);
    let _ = caps::clear(None, CapSet::Inheritable);
    let _ = caps::set(None, CapSet::Effective, &kept);
    let _ = caps::set(None, CapSet::Permitted, &kept);
    // What the kernel says, not what was asked for.
    held()
}

/// What is used after the start.
fn needed(bpf: bool, writable: &[PathBuf]) -> Vec<Capability> {
    let mut needed = vec![
        // Programs, directories and roots of other users' processes.
        Capability::CAP_SYS_PTRACE,
        // Secrets and settings of clients in private homes.
        Capability::CAP_DAC_READ_SEARCH,
        // `pause` and `resume`.
        Capability::CAP_KILL,
    ];
    if bpf {
        needed.push(Capability::CAP_BPF);
    }
    if writable.iter().any(|path| !is_ours(path)) {
        needed.push(Capability::CAP_DAC_OVERRIDE);
    }
    needed
}

/// True when the directory can be written to without being root's power over everything.
fn is_ours(path: &PathBuf) -> bool {
    fs::metadata(path).is_ok_and(|data| data.uid() == geteuid().as_raw() && data.mode() & 0o200 != 0)
}

/// Whether this kernel wants `CAP_BPF` for every use of `bpf(2)`, as those before 5.19 do where unprivileged BPF is
/// switched off, and not only for loading and making. Tried, in a thread that has no capabilities.
pub(super) fn bpf_needs_privilege() -> bool {
    let tried = thread::spawn(|| {
        caps::clear(None, CapSet::Effective).is_err() || {
            // A descriptor that is none: the kernel looks at privileges before it looks at that.
            let mut attribute = [0_u8; ATTRIBUTE_BYTES];
            attribute[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
            // SAFETY: the attribute lives during the call and is as long as is said; the kernel only reads it.
            let result = unsafe {
                libc::syscall(libc::SYS_bpf, BPF_MAP_GET_NEXT_KEY, attribute.as_ptr(), ATTRIBUTE_BYTES)
            };
            result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
        }
    });
    tried.join().unwrap_or(true)
}

fn names(set: &CapsHashSet) -> Vec<String> {
    let mut names: Vec<String> = set.iter().map(ToString::to_string).collect();
    names.sort();
    names
}
