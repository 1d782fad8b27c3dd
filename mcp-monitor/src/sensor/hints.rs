//! Bytes that tell the kernel programs what is not worth a look-up: which process ids may have a label (see
//! `mcp-monitor-ebpf/src/hint.rs`; the kernel clears a byte when its process ends), and which objects and directories may be
//! those of published secrets (`mcp-monitor-ebpf/src/filter.rs`). Only ever set here: one that stays set costs a look-up.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};

use aya::maps::{Map, MapData};
use mcp_monitor_common::map::HINTS_PER_ELEMENT;

use super::SensorError;

/// A mapping of the array.
pub(super) struct Hints {
    at: NonNull<AtomicU8>,
    bytes: usize,
    /// The array that is mapped.
    _map: MapData,
}

// SAFETY: the mapping belongs to this value alone, and its bytes are only accessed atomically.
unsafe impl Send for Hints {}

/// Elements of the array on this host.
pub(super) fn elements() -> u32 {
    let per_element = u32::try_from(HINTS_PER_ELEMENT).unwrap_or(1);
    let pids = std::fs::read_to_string("/proc/sys/kernel/pid_max")
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    // `PID_MAX_LIMIT` of include/linux/threads.h.
    pids.unwrap_or(4 * 1024 * 1024).div_ceil(per_element)
}

impl Hints {
    /// Maps an array of hints. `what` says that this is done, for an error.
    pub(super) fn new(map: Map, what: &'static str) -> Result<Self, SensorError> {
        let failed = |reason: String| SensorError::Order { what, reason };
        let Map::Array(map) = map else { return Err(failed("it is no array".to_owned())) };
        let elements = map.info().map_err(|error| failed(error.to_string()))?.max_entries();
        let bytes = usize::try_from(elements).unwrap_or(0) * HINTS_PER_ELEMENT;
        // SAFETY: a new mapping of a descriptor that is open; it disturbs no other memory.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(failed(std::io::Error::last_os_error().to_string()));
        }
        let at = NonNull::new(at.cast()).ok_or_else(|| failed("it lies at address 0".to_owned()))?;
        Ok(Self { at, bytes, _map: map })
    }

    /// Says that there may be something to find. Before there is.
    pub(super) fn set(&self, place: usize) {
        // Beyond the array the kernel looks in any case.
        if place < self.bytes {
            // SAFETY: the place lies within the mapping, which lives as long as this value.
            unsafe { self.at.add(place).as_ref() }.store(1, Ordering::Release);
        }
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
    }
}
