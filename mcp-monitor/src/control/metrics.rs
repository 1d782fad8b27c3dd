//! Metrics for Prometheus. Labels are of few values: kinds, verdicts, rules, causes; workloads up to a bound.
//!
//! The only file that knows the crate behind it.

use super::hub::Hub;
use crate::event::{Event, Finding};
use prometheus::{
    Encoder as _, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

/// Workloads that have a label of their own; the rest is `other`.
const WORKLOADS_MAX: usize = 200;

/// See the module.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    events: IntCounterVec,
    workload_events: IntCounterVec,
    findings: IntCounterVec,
    lost: IntCounterVec,
    build: IntGaugeVec,
    up: IntGauge,
    instances: IntGaugeVec,
    processes: IntGauge,
    queue: IntGauge,
    dropped: IntGauge,
    followers: IntGauge,
    secret_repairs: IntGauge,
    secret_stale: IntGauge,
    secret_unwatched: IntGauge,
    memory: IntGauge,
    cpu: IntGauge,
    workloads: Mutex<HashSet<String>>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            made(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            made(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str| made(&registry, IntGauge::new(name, help));
        Self {
            events: counters("mcp_monitor_events_total", "Occurrences.", &["kind", "verdict"]),
            workload_events: counters(
                "mcp_monitor_workload_events_total",
                "Occurrences by workload.",
                &["workload", "verdict"],
            ),
            findings: counters("mcp_monitor_findings_total", "New findings.", &["rule", "severity"]),
            lost: counters(
                "mcp_monitor_lost_records_total",
                "Records that did not come through.",
                &["cause"],
            ),
            build: gauges("mcp_monitor_build_info", "Always 1.", &["version", "tier"]),
            up: gauge("mcp_monitor_pipeline_alive", "1 while the pipeline turns."),
            instances: gauges("mcp_monitor_instances", "Instances of workloads.", &["state"]),
            processes: gauge("mcp_monitor_processes", "Labelled processes that live."),
            queue: gauge("mcp_monitor_control_queue_events", "Events that wait for the control socket."),
            dropped: gauge(
                "mcp_monitor_control_dropped_events",
                "Events that the control socket could not take in since the start.",
            ),
            followers: gauge("mcp_monitor_control_followers", "Readers of the control socket that follow."),
            secret_repairs: gauge(
                "mcp_monitor_secret_repairs",
                "Times that a change where secrets lie was seen and looked at since the start.",
            ),
            secret_stale: gauge(
                "mcp_monitor_secret_stale_milliseconds_max",
                "The longest from a change where secrets lie to its publication to the kernel.",
            ),
            secret_unwatched: gauge(
                "mcp_monitor_secret_directories_unwatched",
                "Directories of secrets whose changes only the scan every ten seconds finds.",
            ),
            memory: gauge("mcp_monitor_resident_memory_bytes", "Resident memory of the monitor."),
            cpu: gauge("mcp_monitor_cpu_milliseconds", "CPU time that the monitor used since its start."),
            workloads: Mutex::new(HashSet::new()),
            registry,
        }
    }

    pub(super) fn event(&self, event: &Event, count: u64) {
        let verdict = event.verdict.name();
        self.events.with_label_values(&[event.action.kind(), verdict]).inc_by(count);
        let name = crate::event::escape(event.workload.name.as_bytes());
        let mut known = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.contains(&name) || (known.len() < WORKLOADS_MAX && known.insert(name.clone()));
        let label = if own { name.as_str() } else { "other" };
        self.workload_events.with_label_values(&[label, verdict]).inc_by(count);
    }

    pub(super) fn finding(&self, finding: &Finding) {
        self.findings.with_label_values(&[finding.rule.id(), finding.severity.name()]).inc();
    }

    pub(super) fn lost(&self, cause: &str, count: u64) {
        self.lost.with_label_values(&[cause]).inc_by(count);
    }

    /// The text that Prometheus reads.
    pub(super) fn text(&self, hub: &Hub) -> String {
        let status = hub.status(super::peer::Access::All);
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.build.reset();
        self.build.with_label_values(&[status.version.as_str(), status.tier.as_str()]).set(1);
        self.up.set(i64::from(status.alive));
        self.instances.with_label_values(&["running"]).set(whole(status.instances_running));
        self.instances.with_label_values(&["seen"]).set(whole(status.instances));
        self.processes.set(whole(status.processes));
        self.queue.set(whole(status.control.queue));
        self.dropped.set(whole(hub.pulse.dropped.load(Ordering::Relaxed)));
        self.followers.set(whole(status.control.followers));
        let freshness = *hub.pulse.freshness.lock().unwrap_or_else(PoisonError::into_inner);
        self.secret_repairs.set(whole(freshness.repairs));
        self.secret_stale.set(i64::try_from(freshness.longest.as_millis()).unwrap_or(i64::MAX));
        self.secret_unwatched.set(whole(freshness.unwatched));
        if let Ok(process) = procfs::process::Process::myself().and_then(|process| process.stat()) {
            self.memory.set(whole(process.rss.saturating_mul(procfs::page_size())));
            let ticks = process.utime.saturating_add(process.stime);
            self.cpu.set(whole(ticks.saturating_mul(1000) / procfs::ticks_per_second().max(1)));
        }
        let mut text = Vec::new();
        // Writing into memory cannot fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Names here are valid and told once, which a test holds on to; should one ever not be, it is missing from the text.
#[allow(
    clippy::expect_used,
    reason = "names and labels are constants; the test of this file makes all of them"
)]
fn made<Metric: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<Metric>,
) -> Metric {
    let metric = metric.expect("a valid name");
    registry.register(Box::new(metric.clone())).expect("a name that is told once");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use std::sync::Arc;

    #[test]
    fn labels_of_workloads_are_bounded() {
        let metrics = Metrics::new();
        for number in 0..WORKLOADS_MAX + 50 {
            let mut event = sample::open(b"/x");
            let mut workload = (*event.workload).clone();
            workload.name = format!("w{number}\n\"}} forged 1");
            event.workload = Arc::new(workload);
            metrics.event(&event, 1);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&metrics.registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("mcp_monitor_workload_events_total{"));
        assert_eq!(rows.clone().count(), WORKLOADS_MAX + 1);
        assert!(rows.clone().any(|row| row.contains(r#"workload="other"} 50"#)), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "no name makes a line");
    }
}
