//! Every metric with its name, help and labels.

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

/// One field for each metric; the name says which.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) registry: Registry,
    pub(super) events: IntCounterVec,
    pub(super) workload_events: IntCounterVec,
    pub(super) findings: IntCounterVec,
    pub(super) lost: IntCounterVec,
    pub(super) build: IntGaugeVec,
    pub(super) up: IntGauge,
    pub(super) instances: IntGaugeVec,
    pub(super) processes: IntGauge,
    pub(super) queue: IntGaugeVec,
    pub(super) dropped: IntCounter,
    pub(super) followers: IntGauge,
    pub(super) memory: IntGauge,
    pub(super) cpu: Counter,
    pub(super) reloads: IntCounterVec,
    pub(super) secret_repairs: IntCounter,
    pub(super) secret_stale: Gauge,
    pub(super) secret_unwatched: IntGauge,
    pub(super) sink_sent: IntCounterVec,
    pub(super) sink_retried: IntCounterVec,
    pub(super) sink_dropped: IntCounterVec,
    pub(super) sink_heartbeats: IntCounterVec,
    pub(super) sink_waiting: IntGaugeVec,
    pub(super) sink_oldest: GaugeVec,
    pub(super) sink_last_success: GaugeVec,
    pub(super) sink_failing: IntGaugeVec,
    pub(super) program_runs: IntCounterVec,
    pub(super) program_seconds: CounterVec,
    pub(super) program_misses: IntCounterVec,
    pub(super) map_entries: IntGaugeVec,
    pub(super) map_capacity: IntGaugeVec,
    pub(super) store_bytes: IntGauge,
    pub(super) store_queue_bytes: IntGauge,
    pub(super) store_files: IntGauge,
    pub(super) store_recording: IntGauge,
    pub(super) store_written: IntCounter,
    pub(super) store_rolled_up: IntCounter,
    pub(super) store_checkpoint: IntGauge,
}

impl Fields {
    #[allow(clippy::too_many_lines, reason = "a table")]
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            made(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            made(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let parts = |name: &str, help: &str, labels: &[&str]| {
            made(&registry, GaugeVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str| made(&registry, IntGauge::new(name, help));
        let counter = |name: &str, help: &str| made(&registry, IntCounter::new(name, help));
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
                "Records that did not come through, by cause and by what would have been seen.",
                &["cause", "mechanism"],
            ),
            build: gauges("mcp_monitor_build_info", "Always 1.", &["version", "tier"]),
            up: gauge("mcp_monitor_pipeline_alive", "1 while the pipeline turns."),
            instances: gauges("mcp_monitor_instances", "Instances of workloads.", &["state"]),
            processes: gauge("mcp_monitor_processes", "Labelled processes that live."),
            queue: gauges("mcp_monitor_queue_records", "Records that wait within the monitor.", &["queue"]),
            dropped: counter(
                "mcp_monitor_control_dropped_total",
                "Messages that the control socket could not take in.",
            ),
            followers: gauge("mcp_monitor_control_followers", "Readers of the control socket that follow."),
            memory: gauge("process_resident_memory_bytes", "Resident memory of the monitor."),
            cpu: made(&registry, Counter::new("process_cpu_seconds_total", "CPU time of the monitor.")),
            reloads: counters(
                "mcp_monitor_reloads_total",
                "Changed files that were taken, or refused for a mistake in them.",
                &["what", "result"],
            ),
            secret_repairs: counter(
                "mcp_monitor_secret_repairs_total",
                "Times that a change where secrets lie was seen and looked at.",
            ),
            secret_stale: made(
                &registry,
                Gauge::new(
                    "mcp_monitor_secret_stale_longest_seconds",
                    "The longest from a change where secrets lie to its publication to the kernel.",
                ),
            ),
            secret_unwatched: gauge(
                "mcp_monitor_secret_directories_unwatched",
                "Directories of secrets whose changes only the scan every ten seconds finds.",
            ),
            sink_sent: counters(
                "mcp_monitor_sink_sent_total",
                "Records that the receiver took.",
                &["sink", "kind"],
            ),
            sink_retried: counters("mcp_monitor_sink_retried_total", "Attempts that came again.", &["sink"]),
            sink_dropped: counters(
                "mcp_monitor_sink_dropped_total",
                "Records that were not delivered: rejected by the receiver, beyond the rate, or older than the retention.",
                &["sink", "reason"],
            ),
            sink_heartbeats: counters("mcp_monitor_sink_heartbeats_total", "Signs of life.", &["sink"]),
            sink_waiting: gauges("mcp_monitor_sink_waiting_records", "Records that wait.", &["sink", "type"]),
            sink_oldest: parts(
                "mcp_monitor_sink_oldest_waiting_seconds",
                "Age of the oldest record under way; 0 when none is.",
                &["sink"],
            ),
            sink_last_success: parts(
                "mcp_monitor_sink_last_success_timestamp_seconds",
                "When the receiver last took something.",
                &["sink"],
            ),
            sink_failing: gauges(
                "mcp_monitor_sink_failing",
                "1 while the receiver takes nothing.",
                &["sink"],
            ),
            program_runs: counters(
                "mcp_monitor_program_runs_total",
                "Runs of kernel programs, while the kernel counts them (--program-stats).",
                &["program"],
            ),
            program_seconds: made(
                &registry,
                CounterVec::new(
                    Opts::new(
                        "mcp_monitor_program_seconds_total",
                        "Time in kernel programs, while the kernel counts it (--program-stats).",
                    ),
                    &["program"],
                ),
            ),
            program_misses: counters(
                "mcp_monitor_program_misses_total",
                "Runs that the kernel skipped.",
                &["program"],
            ),
            map_entries: gauges("mcp_monitor_map_entries", "Entries of kernel tables.", &["map"]),
            map_capacity: gauges("mcp_monitor_map_capacity_entries", "Room of kernel tables.", &["map"]),
            store_bytes: gauge("mcp_monitor_store_bytes", "Bytes of the store on the disk."),
            store_queue_bytes: gauge(
                "mcp_monitor_store_queue_bytes",
                "Bytes that wait to be written, about.",
            ),
            store_files: gauge("mcp_monitor_store_files", "Files of events in the store."),
            store_recording: gauge("mcp_monitor_store_recording", "1 while the store records."),
            store_written: counter("mcp_monitor_store_written_total", "Events written, repeats included."),
            store_rolled_up: counter(
                "mcp_monitor_store_rolled_up_total",
                "Events that were put together with others.",
            ),
            store_checkpoint: gauge(
                "mcp_monitor_store_last_checkpoint_timestamp_seconds",
                "When the chain was last signed.",
            ),
            registry,
        }
    }
}

/// Names here are valid and told once, which a test holds on to; should one ever not be, it is missing from the text.
#[allow(
    clippy::expect_used,
    reason = "names and labels are constants; a test of this folder makes all of them"
)]
fn made<Metric: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<Metric>,
) -> Metric {
    let metric = metric.expect("a valid name");
    registry.register(Box::new(metric.clone())).expect("a name that is told once");
    metric
}
