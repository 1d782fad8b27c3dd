//! Scratch memory and the ring: a record is put together in a slot that this program run owns, and its used bytes
//! are copied into the ring.
//!
//! A program can be interrupted by another on the same CPU, and on preemptible kernels be pre-empted by the same
//! program of another task. Slots are therefore taken with a lock count: add one, and own the slot if the count
//! reads one. The sequence of a lane is touched only by the owner of its slot.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers,
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use mcp_monitor_common::{
    limits::{
        ARGV_MAX_BYTES, RING_BYTES, RING_RESERVE_ABOVE_PERCENT, RING_TOKENS_ABOVE_PERCENT, SCRATCH_BYTES,
        SCRATCH_SLOTS, TAIL_MAX_BYTES, TAIL_USED_MAX_BYTES, WAKEUP_BYTES,
    },
    loss::LossCause,
    record::{HEADER_DENIED, HEADER_SECRET, RecordHeader, RecordKind, Slice},
};

use crate::{atomic, filter, kernel, kernel::Address, lineage::Process, loss};

#[map]
static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
static SLOTS: PerCpuArray<Slot> = PerCpuArray::with_max_entries(SCRATCH_SLOTS, 0);

/// One scratch slot. `position` and `components` live here and not in registers, so that the verifier sees the
/// same state after each turn of a loop.
#[repr(C)]
pub(crate) struct Slot {
    lock: u64,
    sequence: u64,
    /// Bytes used in the tail.
    pub(crate) position: u32,
    /// Components that a walk has written.
    pub(crate) components: u32,
    buffer: [u8; SCRATCH_BYTES],
}

impl Slot {
    /// A slot of this CPU.
    #[inline(always)]
    pub(crate) fn at(index: u32) -> Option<*mut Self> {
        SLOTS.get_ptr_mut(index)
    }

    /// The place in the buffer `position` bytes into a tail that begins at `tail`.
    ///
    /// # Safety
    /// `slot` points to a value of [`SLOTS`].
    #[inline(always)]
    pub(crate) unsafe fn tail(slot: *mut Self, tail: u32, position: u32) -> *mut u8 {
        let position = position as usize & (TAIL_MAX_BYTES - 1);
        // SAFETY: the masks keep the sum, plus any single piece of at most 4096 bytes, inside the buffer.
        unsafe { (&raw mut (*slot).buffer).cast::<u8>().add((tail as usize & 0xff) + position) }
    }
}

const HEADER: usize = size_of::<RecordHeader>();

/// May a record be refused to keep room for others?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Refused when the ring is filling up.
    Bulk,
    /// May use the reserve: lineage, exec, secrets, denials.
    Vital,
}

/// A record in the making, with a body of type `B`.
pub(crate) struct Writer<B> {
    pub(crate) slot: *mut Slot,
    /// Which slot.
    pub(crate) index: u32,
    body: core::marker::PhantomData<B>,
}

impl<B: Copy + Default> Writer<B> {
    /// Offset of the tail in the buffer.
    pub(crate) const TAIL: usize = HEADER + size_of::<B>();

    /// Takes a slot, or counts a loss.
    #[inline(always)]
    pub(crate) fn new(process: &Process, kind: RecordKind) -> Option<Self> {
        let mut index = 0;
        while index < SCRATCH_SLOTS {
            let slot = SLOTS.get_ptr_mut(index)?;
            // SAFETY: slot points to a value of the map; volatile, since other program runs touch the lock.
            unsafe {
                atomic::add(&raw mut (*slot).lock, 1);
                if ptr::read_volatile(&raw const (*slot).lock) == 1 {
                    (*slot).position = 0;
                    return Some(Self { slot, index, body: core::marker::PhantomData });
                }
                atomic::add(&raw mut (*slot).lock, u64::MAX);
            }
            index += 1;
        }
        loss::count(process.segment, LossCause::Scratch, kind as u16);
        None
    }

    /// The body, to be filled. It holds what an earlier record left until [`Self::set`] is called.
    #[inline(always)]
    pub(crate) fn set(&mut self, body: B) {
        // SAFETY: the buffer is larger than header and any body; header size keeps it 8-aligned.
        unsafe { ptr::write((&raw mut (*self.slot).buffer).cast::<u8>().add(HEADER).cast::<B>(), body) };
    }

    /// The body in place, for one that is too large to be put together on a stack of 512 bytes. It holds what an
    /// earlier record left: every field must be written.
    #[inline(always)]
    pub(crate) fn body(&mut self) -> *mut B {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.slot).buffer).cast::<u8>().add(HEADER).cast::<B>() }
    }

    /// Where the next byte of the tail goes. The mask is what the verifier needs to see.
    #[inline(always)]
    fn next(&self) -> *mut u8 {
        // SAFETY: the masked position plus any single piece (at most 4096 bytes) stays inside the buffer.
        unsafe {
            let position =
                ptr::read_volatile(&raw const (*self.slot).position) as usize & (TAIL_MAX_BYTES - 1);
            (&raw mut (*self.slot).buffer).cast::<u8>().add(Self::TAIL + position)
        }
    }

    #[inline(always)]
    pub(crate) fn position(&self) -> u32 {
        // SAFETY: we own the slot.
        unsafe { ptr::read_volatile(&raw const (*self.slot).position) & (TAIL_MAX_BYTES as u32 - 1) }
    }

    #[inline(always)]
    fn advance(&mut self, bytes: u32) -> Slice {
        let offset = self.position();
        let end = offset + bytes;
        // A full tail would wrap round: nothing is added then, and the piece is empty.
        if end >= TAIL_USED_MAX_BYTES as u32 {
            return Slice { offset: 0, length_bytes: 0 };
        }
        // SAFETY: we own the slot.
        unsafe { ptr::write_volatile(&raw mut (*self.slot).position, end) };
        Slice { offset: offset as u16, length_bytes: bytes as u16 }
    }

    /// Adds a NUL-ended string from the kernel, without the NUL. At most 4096 bytes.
    #[inline(always)]
    pub(crate) fn kernel_text(&mut self, text: Address) -> Slice {
        if text.is_null() {
            return Slice::default();
        }
        // SAFETY: `next` leaves room for 4096 bytes; the helper bounds itself by the size it is given.
        let read =
            unsafe { helpers::generated::bpf_probe_read_kernel_str(self.next().cast(), 4096, text.cast()) };
        if read <= 1 { Slice::default() } else { self.advance(kernel::bounded(read as u32 - 1, 0xfff)) }
    }

    /// Adds a NUL-ended string from user memory, with the NUL. At most 4096 bytes.
    #[inline(always)]
    pub(crate) fn user_text(&mut self, text: Address) -> Slice {
        if text.is_null() {
            return Slice::default();
        }
        // SAFETY: as above.
        let read =
            unsafe { helpers::generated::bpf_probe_read_user_str(self.next().cast(), 4096, text.cast()) };
        if read <= 0 { Slice::default() } else { self.advance(kernel::bounded(read as u32, 0x1fff)) }
    }

    /// Adds up to [`ARGV_MAX_BYTES`] bytes of user memory.
    #[inline(always)]
    pub(crate) fn user_bytes(&mut self, from: Address, bytes: u64) -> Slice {
        if bytes == 0 {
            return Slice::default();
        }
        let wanted = if bytes > ARGV_MAX_BYTES as u64 { ARGV_MAX_BYTES as u32 } else { bytes as u32 };
        let bytes = kernel::bounded(wanted - 1, 0xfff) + 1;
        // SAFETY: at most 4096 bytes, see `next`.
        let failed =
            unsafe { helpers::generated::bpf_probe_read_user(self.next().cast(), bytes, from.cast()) };
        if failed != 0 { Slice::default() } else { self.advance(bytes) }
    }

    /// Adds up to 255 bytes of kernel memory.
    #[inline(always)]
    pub(crate) fn kernel_bytes(&mut self, from: Address, bytes: u32) -> Slice {
        let bytes = kernel::bounded(bytes, 0xff);
        // SAFETY: at most 255 bytes, see `next`.
        let failed =
            unsafe { helpers::generated::bpf_probe_read_kernel(self.next().cast(), bytes, from.cast()) };
        if failed != 0 { Slice::default() } else { self.advance(bytes) }
    }

    /// A place for up to `limits::DNS_MAX_BYTES` bytes that a helper fills; follow with [`Self::filled`].
    #[inline(always)]
    pub(crate) fn room(&mut self) -> *mut u8 {
        self.next()
    }

    /// Says how many bytes of [`Self::room`] were filled.
    #[inline(always)]
    pub(crate) fn filled(&mut self, bytes: u32) -> Slice {
        self.advance(kernel::bounded(bytes, 0xfff))
    }

    /// Sends the record and gives the slot back. `true` when it was sent.
    #[inline(always)]
    pub(crate) fn send(
        self,
        process: &Process,
        kind: RecordKind,
        mechanism: u32,
        flags: u16,
        weight: Weight,
    ) -> bool {
        // Vital records by nature, whatever the caller says.
        let weight = if flags & (HEADER_SECRET | HEADER_DENIED) == 0 { weight } else { Weight::Vital };
        let size = Self::TAIL as u32 + self.position();
        // SAFETY: we own the slot; the header is at the begin of the buffer, which is 8-aligned.
        let sent = unsafe {
            let sequence = ptr::read_volatile(&raw const (*self.slot).sequence) + 1;
            ptr::write_volatile(&raw mut (*self.slot).sequence, sequence);
            // Field by field: a header put together on the stack would be there once for every call.
            let header = (&raw mut (*self.slot).buffer).cast::<RecordHeader>();
            (*header).size_bytes = size;
            (*header).kind = kind as u16;
            (*header).flags = flags | process.header_flags();
            (*header).lane = helpers::bpf_get_smp_processor_id() * SCRATCH_SLOTS + self.index;
            (*header).mechanism = mechanism;
            (*header).sequence = sequence;
            let now = helpers::bpf_ktime_get_boot_ns();
            (*header).boot_ns = now;
            (*header).segment = process.segment;
            (*header).start_boottime_ns = process.start_boottime_ns;
            (*header).tgid = process.tgid;
            (*header).tid = process.tid;
            (*header).exec_id = process.exec_id;
            (*header).count = 1;
            output((&raw mut (*self.slot).buffer).cast(), size, process.segment, kind, weight, now)
        };
        self.release();
        sent
    }

    /// Gives the slot back without sending.
    #[inline(always)]
    pub(crate) fn discard(self) {
        self.release();
    }

    #[inline(always)]
    fn release(&self) {
        // SAFETY: we own the slot and will not touch it again.
        unsafe { atomic::add(&raw mut (*self.slot).lock, u64::MAX) };
    }
}

/// Copies a finished record into the ring, or counts why not. `now` is its time.
///
/// # Safety
/// `buffer` points to at least `size` bytes of a map value.
#[inline(always)]
unsafe fn output(
    buffer: *mut u8,
    size: u32,
    segment: u64,
    kind: RecordKind,
    weight: Weight,
    now: u64,
) -> bool {
    let ring = (&raw const RING).cast_mut().cast();
    // SAFETY: RING is a ring buffer map.
    let waiting = unsafe { helpers::generated::bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) };
    let filled = waiting * 100;
    let capacity = u64::from(kernel::RING_CAPACITY.load());
    // Taken also while there is room, so that who was loud before is out of tokens when room gets scarce.
    let has_token = weight == Weight::Vital || filter::take_token(segment, now);
    if weight == Weight::Bulk && filled > capacity * RING_TOKENS_ABOVE_PERCENT {
        if filled > capacity * RING_RESERVE_ABOVE_PERCENT {
            loss::count(segment, LossCause::Reserve, kind as u16);
            return false;
        }
        if !has_token {
            loss::count(segment, LossCause::Tokens, kind as u16);
            return false;
        }
    }
    // Once, by the record that crosses the mark: the reader also looks by itself.
    let crosses = waiting <= WAKEUP_BYTES && waiting + u64::from(size) > WAKEUP_BYTES;
    let wakeup = if weight == Weight::Vital || crosses { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    // Header, body and used tail stay below 16 KiB, see limits::TAIL_USED_MAX_BYTES.
    let size = kernel::bounded(size, 0x3fff);
    // SAFETY: the caller's promise.
    let failed = unsafe {
        helpers::generated::bpf_ringbuf_output(ring, buffer.cast(), u64::from(size), u64::from(wakeup))
    };
    if failed != 0 {
        loss::count(segment, LossCause::RingFull, kind as u16);
    }
    failed == 0
}
