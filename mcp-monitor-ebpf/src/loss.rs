//! Counting what is lost, per cause, segment and kind.

use aya_ebpf::{
    macros::map,
    maps::{PerCpuArray, PerCpuHashMap},
};
use mcp_monitor_common::{loss::LossCause, map::LossKey};

use crate::{atomic, log};

/// Losses per cause, segment and kind. When it is full, [`HOST_LOSSES`] still counts.
#[map]
static LOSSES: PerCpuHashMap<LossKey, u64> = PerCpuHashMap::with_max_entries(4096, 0);
/// All losses per cause.
#[map]
static HOST_LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(16, 0);

/// Counts one lost record.
#[inline(always)]
pub(crate) fn count(segment: u64, cause: LossCause, kind: u16) {
    log::lost(segment, cause, kind);
    if let Some(total) = HOST_LOSSES.get_ptr_mut(cause as u32) {
        // SAFETY: points to a value of the map.
        unsafe { atomic::add(total, 1) };
    }
    let key = LossKey { segment, cause: cause as u32, kind: u32::from(kind) };
    if let Some(counter) = LOSSES.get_ptr_mut(&key) {
        // SAFETY: points to a value of the map.
        unsafe { atomic::add(counter, 1) };
    } else {
        // A full table is no second loss: the host's counter has it.
        let _ = LOSSES.insert(&key, &1, 0);
    }
}
