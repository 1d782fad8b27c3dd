//! What the programs say of themselves, for whoever looks for a mistake in them: off unless asked for. User space patches
//! the level before loading, so that the verifier prunes what is not asked for, and a program that says nothing costs
//! nothing.
//!
//! Each message is a function of its own, verified once for itself: putting one together takes much of a stack.

use aya_log_ebpf::{
    debug, info,
    macro_support::{Level, level_enabled},
    warn,
};
use mcp_monitor_common::loss::LossCause;

/// A record was lost.
#[inline(always)]
pub(crate) fn lost(segment: u64, cause: LossCause, kind: u16) {
    if level_enabled(Level::Warn) {
        log_lost(segment, cause as u64, u64::from(kind));
    }
}

/// A segment was opened.
#[inline(always)]
pub(crate) fn opened(segment: u64, parent: u64, tgid: u32) {
    if level_enabled(Level::Info) {
        log_opened(segment, parent, u64::from(tgid));
    }
}

/// A child got a label.
#[inline(always)]
pub(crate) fn forked(segment: u64, parent: u32, child: u32) {
    if level_enabled(Level::Debug) {
        log_forked(segment, u64::from(parent), u64::from(child));
    }
}

/// A process of a lineage executed something.
#[inline(always)]
pub(crate) fn executed(segment: u64, tgid: u32, exec_id: u32) {
    if level_enabled(Level::Debug) {
        log_executed(segment, u64::from(tgid), u64::from(exec_id));
    }
}

/// The last thread of a process of a lineage ended.
#[inline(always)]
pub(crate) fn ended(segment: u64, tgid: u32) {
    if level_enabled(Level::Debug) {
        log_ended(segment, u64::from(tgid));
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn log_lost(segment: u64, cause: u64, kind: u64) -> u64 {
    warn!(&(), "segment {}: a record of kind {} is lost, cause {}", segment, kind, cause);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn log_opened(segment: u64, parent: u64, tgid: u64) -> u64 {
    info!(&(), "segment {} opened out of {} by process {}", segment, parent, tgid);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn log_forked(segment: u64, parent: u64, child: u64) -> u64 {
    debug!(&(), "segment {}: process {} forked {}", segment, parent, child);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn log_executed(segment: u64, tgid: u64, exec_id: u64) -> u64 {
    debug!(&(), "segment {}: process {} executed, image {}", segment, tgid, exec_id);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn log_ended(segment: u64, tgid: u64) -> u64 {
    debug!(&(), "segment {}: process {} ended", segment, tgid);
    0
}
