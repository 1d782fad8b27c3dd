//! What others count, as it stands when somebody asks.

use super::{fields::Fields, whole};
use crate::{
    export::delivery::Board,
    sensor::{MapFill, ProgramHealth},
    store::{Recording, Writer},
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What the kernel counts about our programs and tables.
#[derive(Clone, Debug, Default)]
pub struct KernelHealth {
    /// Programs.
    pub programs: Vec<ProgramHealth>,
    /// Tables.
    pub maps: Vec<MapFill>,
}

/// Where to look, and what is counted elsewhere.
#[derive(Clone, Default)]
pub struct Readings {
    /// The sinks.
    pub sinks: Option<Board>,
    /// The store.
    pub store: Option<Writer>,
    /// The kernel, as it was measured last.
    pub kernel: KernelHealth,
    /// Losses by cause and mechanism.
    pub lost: BTreeMap<(&'static str, String), u64>,
    /// Reloads by what and result.
    pub reloads: BTreeMap<(&'static str, &'static str), u64>,
}

impl std::fmt::Debug for Readings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Readings").finish_non_exhaustive()
    }
}

/// Puts everything into the metrics.
pub(super) fn put(fields: &Fields, readings: &Readings) {
    fields.lost.reset();
    for ((cause, mechanism), count) in &readings.lost {
        fields.lost.with_label_values(&[*cause, mechanism.as_str()]).inc_by(*count);
    }
    fields.reloads.reset();
    for ((what, result), count) in &readings.reloads {
        fields.reloads.with_label_values(&[*what, *result]).inc_by(*count);
    }
    put_sinks(fields, readings.sinks.as_ref());
    put_kernel(fields, &readings.kernel);
    put_store(fields, readings.store.as_ref());
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

fn put_sinks(fields: &Fields, board: Option<&Board>) {
    let counters = [&fields.sink_sent, &fields.sink_retried, &fields.sink_dropped, &fields.sink_heartbeats];
    for counter in counters {
        counter.reset();
    }
    let now = Timestamp::now();
    for (name, sink) in board.map(Board::read).unwrap_or_default() {
        let name = name.as_str();
        let state = &sink.state;
        fields.sink_sent.with_label_values(&[name, sink.kind]).inc_by(state.sent);
        fields.sink_retried.with_label_values(&[name]).inc_by(state.retried);
        fields.sink_heartbeats.with_label_values(&[name]).inc_by(state.heartbeats);
        let dropped =
            [("rejected", state.rejected), ("rate", state.dropped_rate), ("age", state.dropped_age)];
        for (reason, count) in dropped {
            fields.sink_dropped.with_label_values(&[name, reason]).inc_by(count);
        }
        for (what, count) in [("finding", sink.waiting_findings), ("event", sink.waiting_events)] {
            fields.sink_waiting.with_label_values(&[name, what]).set(whole(count));
        }
        let age = sink.oldest.map_or(0.0, |oldest| (seconds(now) - seconds(oldest)).max(0.0));
        fields.sink_oldest.with_label_values(&[name]).set(age);
        fields.sink_failing.with_label_values(&[name]).set(i64::from(state.failing_since.is_some()));
        if let Some(time) = state.last_success {
            fields.sink_last_success.with_label_values(&[name]).set(seconds(time));
        }
    }
}

fn put_kernel(fields: &Fields, kernel: &KernelHealth) {
    fields.program_runs.reset();
    fields.program_seconds.reset();
    fields.program_misses.reset();
    for program in &kernel.programs {
        let name = &[program.name.as_str()];
        if let Some((runs, time)) = program.runs {
            fields.program_runs.with_label_values(name).inc_by(runs);
            fields.program_seconds.with_label_values(name).inc_by(time.as_secs_f64());
        }
        fields.program_misses.with_label_values(name).inc_by(program.misses);
    }
    for map in &kernel.maps {
        fields.map_entries.with_label_values(&[map.name]).set(whole(map.entries));
        fields.map_capacity.with_label_values(&[map.name]).set(i64::from(map.capacity));
    }
}

fn put_store(fields: &Fields, store: Option<&Writer>) {
    let Some(status) = store.map(Writer::status) else { return };
    fields.store_bytes.set(whole(status.bytes));
    fields.store_queue_bytes.set(whole(status.queue_bytes as u64));
    fields.queue.with_label_values(&["store"]).set(whole(status.queue_events as u64));
    fields.store_files.set(whole(status.days.len() as u64));
    fields.store_recording.set(i64::from(status.recording == Recording::On));
    fields.store_written.reset();
    fields.store_written.inc_by(status.written);
    fields.store_rolled_up.reset();
    fields.store_rolled_up.inc_by(status.rolled_up);
    if let Some(time) = status.last_checkpoint {
        fields.store_checkpoint.set(time.as_second());
    }
}
