//! Metrics for Prometheus. Labels are of few values: kinds, verdicts, rules, causes; workloads up to a bound.
//!
//! What happens is counted as it happens; what others count (sinks, the store, the kernel) is put in when somebody asks.
//! This folder is the only place that knows the crate behind it.

mod fields;
mod readings;

use super::{hub::Hub, peer::Access};
use crate::event::{Event, Finding};
use fields::Fields;
use prometheus::{Encoder as _, TextEncoder};
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

pub use readings::{KernelHealth, Readings};

/// Workloads that have a label of their own; the rest is `other`.
const WORKLOADS_MAX: usize = 200;

/// See the module.
#[derive(Debug)]
pub(super) struct Metrics {
    fields: Fields,
    workloads: Mutex<HashSet<String>>,
    /// What others count is put in by one reader at a time.
    asked: Mutex<()>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self { fields: Fields::new(), workloads: Mutex::new(HashSet::new()), asked: Mutex::new(()) }
    }

    pub(super) fn event(&self, event: &Event, count: u64) {
        let verdict = event.verdict.name();
        let fields = &self.fields;
        fields.events.with_label_values(&[event.action.kind(), verdict]).inc_by(count);
        let name = crate::event::escape(event.workload.name.as_bytes());
        let mut known = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.contains(&name) || (known.len() < WORKLOADS_MAX && known.insert(name.clone()));
        let label = if own { name.as_str() } else { "other" };
        fields.workload_events.with_label_values(&[label, verdict]).inc_by(count);
    }

    pub(super) fn finding(&self, finding: &Finding) {
        self.fields.findings.with_label_values(&[finding.rule.id(), finding.severity.name()]).inc();
    }

    /// The text that Prometheus reads.
    pub(super) fn text(&self, hub: &Hub) -> String {
        let _alone = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let status = hub.status(Access::All);
        let fields = &self.fields;
        fields.build.reset();
        fields.build.with_label_values(&[status.version.as_str(), status.tier.as_str()]).set(1);
        fields.up.set(i64::from(status.alive));
        fields.instances.with_label_values(&["running"]).set(whole(status.instances_running));
        fields.instances.with_label_values(&["seen"]).set(whole(status.instances));
        fields.processes.set(whole(status.processes));
        fields.queue.with_label_values(&["control"]).set(whole(status.control.queue));
        fields.dropped.reset();
        fields.dropped.inc_by(hub.pulse.dropped.load(Ordering::Relaxed));
        fields.followers.set(whole(status.control.followers));
        if let Ok(process) = procfs::process::Process::myself().and_then(|process| process.stat()) {
            fields.memory.set(whole(process.rss.saturating_mul(procfs::page_size())));
            let ticks = process.utime.saturating_add(process.stime);
            fields.cpu.reset();
            #[allow(clippy::cast_precision_loss, reason = "hundredths of seconds; years fit exactly")]
            fields.cpu.inc_by(ticks as f64 / procfs::ticks_per_second().max(1) as f64);
        }
        let freshness = *hub.pulse.freshness.lock().unwrap_or_else(PoisonError::into_inner);
        fields.secret_repairs.reset();
        fields.secret_repairs.inc_by(freshness.repairs);
        fields.secret_stale.set(freshness.longest.as_secs_f64());
        fields.secret_unwatched.set(whole(freshness.unwatched));
        readings::put(fields, &hub.pulse.readings());
        let mut text = Vec::new();
        // Writing into memory cannot fail.
        let _ = TextEncoder::new().encode(&fields.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
