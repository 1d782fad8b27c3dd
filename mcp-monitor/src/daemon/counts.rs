//! What comes in by counting and not as records: repeats that the kernel counted, and losses.

use std::collections::HashMap;

use mcp_monitor_common::map::ReliefKey;

use crate::{
    event::{Action, Event, SegmentId},
    sensor::orders::{Loss, Orders},
};

/// Which counts were told already, and which process images are gone.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    told: HashMap<ReliefKey, u64>,
    /// By process id and start: images below this exec id are gone; `u32::MAX` when the process is.
    gone: HashMap<(u32, u64), u32>,
}

impl Repeats {
    /// Takes note of images that end.
    pub(super) fn note(&mut self, event: &Event) {
        let key = event.process.key;
        let process = (key.pid.0, key.start.0);
        match event.action {
            Action::Exec(_) => {
                self.gone.insert(process, key.exec_id);
            }
            Action::Exit(_) => {
                self.gone.insert(process, u32::MAX);
            }
            _ => {}
        }
    }

    /// Takes a count back that cannot be told yet: [`Self::collect`] will give it again. `false` when it will not,
    /// since the key is gone.
    pub(super) fn give_back(&mut self, key: &ReliefKey, count: u64) -> bool {
        let told = self.told.get_mut(key);
        let known = told.is_some();
        if let Some(told) = told {
            *told = told.saturating_sub(count);
        }
        known
    }

    /// Repeats since the last call, by key. Keys of images that are gone are taken out of the kernel's table.
    pub(super) fn collect(&mut self, orders: &mut Orders) -> Vec<(ReliefKey, u64)> {
        let mut found = Vec::new();
        let mut ended = Vec::new();
        let ourselves = std::process::id();
        for (key, count) in orders.repeats() {
            if key.tgid == ourselves {
                // Left by the canary.
                ended.push(key);
                continue;
            }
            let told = self.told.get(&key).copied().unwrap_or(0);
            if count > told {
                found.push((key, count - told));
                self.told.insert(key, count);
            }
            let gone = self.gone.get(&(key.tgid, key.start_boottime_ns));
            if gone.is_some_and(|below| key.exec_id < *below) {
                ended.push(key);
            }
        }
        for key in ended {
            orders.forget_relief(&key);
            self.told.remove(&key);
        }
        self.gone.retain(|_, below| *below != u32::MAX);
        found
    }
}

/// Losses that were told already.
#[derive(Debug, Default)]
pub(super) struct Losses {
    told: HashMap<(Option<SegmentId>, u32, u16), u64>,
}

impl Losses {
    /// What was lost since the last call.
    pub(super) fn collect(&mut self, orders: &Orders) -> Vec<Loss> {
        let mut fresh = Vec::new();
        for loss in orders.losses() {
            let key = (loss.segment, loss.cause as u32, loss.kind);
            let told = self.told.entry(key).or_default();
            if loss.count > *told {
                fresh.push(Loss { count: loss.count - *told, ..loss });
                *told = loss.count;
            }
        }
        fresh
    }
}
