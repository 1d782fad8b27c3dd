//! Who certainly has no label: one byte for each process id, in an array whose look-up is a bound check and an
//! addition, where the hash of `LINEAGE` costs as much as the rest of an unlabelled hook.
//!
//! The byte is set before the label and cleared only at the process's end, so that a 0 is always right; a 1 sends its
//! reader to `LINEAGE`. Bytes and not bits, since 5.10 has no atomic that sets one bit, and user space sets bytes
//! through a mapping of the array.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use mcp_monitor_common::map::HINTS_PER_ELEMENT;

/// Sized at load for every process id that there can be.
#[map]
static LABEL_HINTS: Array<[u8; HINTS_PER_ELEMENT]> =
    Array::with_max_entries(32 * 1024 / HINTS_PER_ELEMENT as u32, BPF_F_MMAPABLE);

#[inline(always)]
fn byte(tgid: u32) -> Option<*mut u8> {
    let element = LABEL_HINTS.get_ptr_mut(tgid / HINTS_PER_ELEMENT as u32)?;
    // SAFETY: the mask keeps the place within the element.
    Some(unsafe { element.cast::<u8>().add(tgid as usize & (HINTS_PER_ELEMENT - 1)) })
}

/// False when the process certainly has no label. An id beyond the array (`pid_max` was raised) may have one.
#[inline(always)]
pub(crate) fn may_be_labelled(tgid: u32) -> bool {
    match byte(tgid) {
        // SAFETY: points into a value of the map; volatile, since others write it.
        Some(byte) => unsafe { core::ptr::read_volatile(byte) != 0 },
        None => true,
    }
}

/// Before a label is given.
#[inline(always)]
pub(crate) fn set(tgid: u32) {
    if let Some(byte) = byte(tgid) {
        // SAFETY: as above; one byte is stored at once.
        unsafe { core::ptr::write_volatile(byte, 1) };
    }
}

/// When the last thread of a process ends.
#[inline(always)]
pub(crate) fn clear(tgid: u32) {
    if let Some(byte) = byte(tgid) {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(byte, 0) };
    }
}
