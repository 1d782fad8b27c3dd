//! Keys and values of the maps that both sides touch.

use crate::record::FileIdentity;

/// Value of `LINEAGE`, keyed by host process id (`tgid`, a `u32`): a process that belongs to a lineage.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineageEntry {
    /// The segment that the process belongs to.
    pub segment: u64,
    /// `group_leader->start_boottime`, ns; 0 until the kernel has seen the process (labelled by user space).
    pub start_boottime_ns: u64,
    /// Start in clock ticks of 10 ms as `/proc/PID/stat` says it, checked while `start_boottime_ns` is 0;
    /// 0 means no check.
    pub start_ticks: u64,
    /// [`LINEAGE_BOOTSTRAP`], [`LINEAGE_EXECUTED`].
    pub flags: u32,
    /// Explicit padding.
    pub reserved: u32,
}

/// Labelled by user space from a process that already ran.
pub const LINEAGE_BOOTSTRAP: u32 = 2;
/// The process has executed a program since it entered its segment.
pub const LINEAGE_EXECUTED: u32 = 4;
/// The process belongs to no lineage; what it does is told for another reason. Never in `LINEAGE`.
pub const LINEAGE_BYSTANDER: u32 = 8;

/// Process ids in one element of `LABEL_HINTS`: a byte each, 0 for a process that certainly has no label.
pub const HINTS_PER_ELEMENT: usize = 64;

/// Bytes of `SECRET_HINTS`, a power of two.
pub const SECRET_HINTS: usize = 128 * 1024;

/// The byte of `SECRET_HINTS` that is 0 when no published secret is this object, or lies in this directory.
#[must_use]
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "as many bits are left as there are bytes")]
pub const fn secret_hint(inode: u64, device: u32) -> usize {
    // Multiplying carries what differs in the lower bits into the upper ones, of which as many are taken as there are bytes.
    let mixed = (inode ^ ((device as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SECRET_HINTS.trailing_zeros())) as usize
}

/// Value of `SEGMENTS`, keyed by segment id (`u64`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentState {
    /// The segment out of which this one was opened; 0 for a root.
    pub parent: u64,
    /// Tokens left for bulk records.
    pub tokens: u64,
    /// When tokens were last added, `bpf_ktime_get_ns`.
    pub refilled_ns: u64,
    /// [`SEGMENT_SPLIT`], [`SEGMENT_DROPPED`].
    pub flags: u32,
    /// Inode number of the mount namespace that the segment was opened in; 0 until its first exec when user space
    /// opened it.
    pub mount_namespace: u32,
}

/// A process that executes its first program since it was born in the segment opens a segment of its own; one that
/// executes in another mount namespace does so whatever it executed before.
pub const SEGMENT_SPLIT: u32 = 1;
/// User space found that the segment is nothing of ours: what is born in it is not labelled.
pub const SEGMENT_DROPPED: u32 = 2;

/// Key of `WATCHED_PROGRAMS`: the last name of an executed file. Longer names are cut, on both sides alike.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramName {
    /// Bytes of the whole name, also of what was cut.
    pub name_bytes: u32,
    /// The name, zero-padded.
    pub name: [u8; PROGRAM_NAME_BYTES],
}

/// Bytes of a program's name that are compared.
pub const PROGRAM_NAME_BYTES: usize = 64;

impl ProgramName {
    /// The key of a file name.
    #[must_use]
    pub fn new(name: &[u8]) -> Self {
        let mut key =
            Self { name_bytes: u32::try_from(name.len()).unwrap_or(u32::MAX), name: [0; PROGRAM_NAME_BYTES] };
        for (to, from) in key.name.iter_mut().zip(name) {
            *to = *from;
        }
        key
    }
}

/// A process outside every lineage that executes the program opens a segment.
pub const WATCH_ENTER: u32 = 1;
/// A process inside a segment that is not split opens a segment, too, when it executes the program.
pub const WATCH_SPLIT_ALWAYS: u32 = 2;
/// The exec of a process outside every lineage is told, without making it one.
pub const WATCH_BYSTANDER: u32 = 4;

/// Key of `LOSSES` (per-CPU hash of `u64`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LossKey {
    /// The segment, 0 for the host.
    pub segment: u64,
    /// A [`crate::loss::LossCause`].
    pub cause: u32,
    /// The record kind that was lost.
    pub kind: u32,
}

/// Key of `SECRET_NAMES`: a directory and a name in it. Longer names are cut, on both sides alike.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretName {
    /// The directory's inode number.
    pub parent_inode: u64,
    /// The directory's device, in the kernel's encoding.
    pub device: u32,
    /// Bytes of the whole name, also of what was cut.
    pub name_bytes: u32,
    /// The name, zero-padded.
    pub name: [u8; 64],
}

/// Value of `SECRET_OBJECTS` (keyed by [`FileIdentity`]) and `SECRET_NAMES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretMark {
    /// Index of the catalogue entry, as user space numbers them.
    pub entry: u32,
    /// [`ACTION_OBSERVE`] or [`ACTION_DENY`].
    pub action: u32,
}

/// Record only.
pub const ACTION_OBSERVE: u32 = 0;
/// Refuse where the mechanism can, and record that.
pub const ACTION_DENY: u32 = 1;

/// Key of `RELIEF`: what makes two opens or two sends "the same".
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReliefKey {
    /// `start_boottime`, ns.
    pub start_boottime_ns: u64,
    /// Host process id.
    pub tgid: u32,
    /// The process image.
    pub exec_id: u32,
    /// The record kind.
    pub kind: u32,
    /// Access and open flags, or protocol.
    pub flags: u32,
    /// Open: inode, device and generation, parent inode, length and hash of the name.
    /// Send: address (two words), port and family, socket for `AF_UNIX`.
    pub object: [u64; 4],
}

/// Value of `SOCKETS`, keyed by the address of `struct sock` (`u64`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// The segment of the process that connected or accepted.
    pub segment: u64,
    /// `start_boottime`, ns.
    pub start_boottime_ns: u64,
    /// Host process id.
    pub tgid: u32,
    /// The process image.
    pub exec_id: u32,
    /// The peer, IPv4 mapped into IPv6.
    pub address: [u8; 16],
    /// The peer's port.
    pub port: u16,
    /// A [`crate::record::Direction`].
    pub direction: u16,
    /// The thread.
    pub tid: u32,
}

/// Configuration that is fixed at load: `.rodata` symbols beside the kernel fields.
pub mod symbol {
    /// `u32`: 1 when repeated opens and sends are counted instead of sent.
    pub const RELIEF_ENABLED: &str = "RELIEF_ENABLED";
    /// `u32`: 1 when opens of published secrets are told of processes outside every lineage, too.
    pub const BYSTANDERS_ENABLED: &str = "BYSTANDERS_ENABLED";
    /// `u32`: bytes of the ring buffer.
    pub const RING_CAPACITY: &str = "RING_CAPACITY";
    /// `u32`: a [`crate::mechanism::Tier`]; chooses who reports what where two mechanisms see the same thing.
    pub const TIER: &str = "TIER";
    /// `u32`: how `io_uring_complete` passes its arguments, see [`super::io_uring_shape`].
    pub const IO_URING_SHAPE: &str = "IO_URING_SHAPE";
    /// `u32`: index of the `pids` controller in `css_set.subsys`, or `u32::MAX`.
    pub const CGROUP_V1_SUBSYSTEM: &str = "CGROUP_V1_SUBSYSTEM";
}

/// Argument shapes of the tracepoint `io_uring_complete`.
pub mod io_uring_shape {
    /// The tracepoint is absent or of an unknown shape.
    pub const ABSENT: u32 = 0;
    /// `(ctx, user_data, res, cflags)`, 5.10; there is no request, so nothing can be resolved.
    pub const USER_DATA: u32 = 1;
    /// `(ctx, req, user_data, res, …)`, 5.19 … 6.12.
    pub const REQUEST_RESULT: u32 = 2;
    /// `(ctx, req, cqe)`, 6.13 and newer.
    pub const REQUEST_CQE: u32 = 3;
}

const _: () = assert!(size_of::<LineageEntry>() == 32);
const _: () = assert!(size_of::<SegmentState>() == 32);
const _: () = assert!(size_of::<LossKey>() == 16);
const _: () = assert!(size_of::<SecretName>() == 80);
const _: () = assert!(size_of::<ProgramName>() == 68);
const _: () = assert!(size_of::<SecretMark>() == 8);
const _: () = assert!(size_of::<ReliefKey>() == 56);
const _: () = assert!(size_of::<SocketOwner>() == 48);
const _: () = assert!(size_of::<FileIdentity>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_padded_and_a_long_one_is_cut_but_keeps_its_length() {
        let short = ProgramName::new(b"node");
        assert_eq!((short.name_bytes, &short.name[..6]), (4, &b"node\0\0"[..]));
        let long = ProgramName::new(&[b'n'; 200]);
        assert_eq!((long.name_bytes, long.name), (200, [b'n'; PROGRAM_NAME_BYTES]));
        assert_ne!(long, ProgramName::new(&[b'n'; 201]));
    }
}
