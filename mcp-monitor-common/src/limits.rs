//! Sizes and bounds that kernel and user space share. Units are in the names.

/// Bytes of one path component, `NAME_MAX` of `include/uapi/linux/limits.h`.
pub const NAME_MAX_BYTES: usize = 255;
/// Components of a path that a walk keeps, counted from the leaf. A longer path is flagged truncated.
pub const PATH_MAX_COMPONENTS: u32 = 64;
/// Bytes of a path that a walk keeps, counted from the leaf.
pub const PATH_MAX_BYTES: usize = 4096;
/// Bytes of argv that an exec record keeps. More is flagged truncated.
pub const ARGV_MAX_BYTES: usize = 4096;
/// Bytes of a DNS answer that a record keeps. More is flagged truncated.
pub const DNS_MAX_BYTES: usize = 1024;
/// Bytes of a name taken from user memory as it was given.
pub const GIVEN_NAME_MAX_BYTES: usize = 4096;
/// Bytes of an abstract or path name of an `AF_UNIX` socket, `sizeof(sun_path)`.
pub const UNIX_NAME_MAX_BYTES: usize = 108;
/// Where positions in the variable part of a record wrap round, which they never do: see [`TAIL_USED_MAX_BYTES`].
pub const TAIL_MAX_BYTES: usize = 16 * 1024;
/// Bytes of the variable part that are used at most, so that a whole record stays below 16 KiB.
pub const TAIL_USED_MAX_BYTES: usize = TAIL_MAX_BYTES - 512;
/// Bytes of one scratch slot: fixed part, variable part, and room for one over-long last piece.
pub const SCRATCH_BYTES: usize = 512 + TAIL_MAX_BYTES + 4096;
/// Scratch slots per CPU. Programs interrupt and, on preemptible kernels, pre-empt each other.
pub const SCRATCH_SLOTS: u32 = 4;
/// Default bytes of the ring buffer.
pub const RING_BYTES: u32 = 16 * 1024 * 1024;
/// Bulk records above this share of the ring need a token of their segment.
pub const RING_TOKENS_ABOVE_PERCENT: u64 = 50;
/// Bulk records above this share of the ring are refused; lineage, exec and secret records may use the rest.
pub const RING_RESERVE_ABOVE_PERCENT: u64 = 75;
/// Tokens that a segment's bucket gains each second.
pub const SEGMENT_TOKENS_PER_SECOND: u64 = 1_000;
/// Tokens that a segment's bucket holds.
pub const SEGMENT_TOKENS_MAX: u64 = 4_096;
/// Segments known at once. Ended ones are removed by user space.
pub const SEGMENTS_MAX: u32 = 16 * 1024;
/// cgroups whose processes enter a segment at their next exec.
pub const WATCHED_CGROUPS_MAX: u32 = 4 * 1024;
/// Names of programs that open a segment.
pub const WATCHED_PROGRAMS_MAX: u32 = 4 * 1024;
/// Executables that are watched by identity.
pub const WATCHED_EXECUTABLES_MAX: u32 = 32 * 1024;
/// Repeated opens and sends that are counted instead of sent. When full there is no relief.
pub const RELIEF_MAX: u32 = 32 * 1024;
/// Secret objects and names published to the kernel.
pub const SECRETS_MAX: u32 = 64 * 1024;
/// Sockets whose owner is remembered; the least recently used is forgotten, which loses its close event.
pub const SOCKETS_MAX: u32 = 64 * 1024;
/// A wake-up of the reader is asked for when this many bytes are waiting; the reader also looks every 10 ms.
pub const WAKEUP_BYTES: u64 = 64 * 1024;
