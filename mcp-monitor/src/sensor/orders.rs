//! Orders that go down: label processes, watch cgroups, publish secrets; and counters that are read back.

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray, PerCpuHashMap},
};
use mcp_monitor_common::{
    limits::SEGMENT_TOKENS_MAX,
    loss::LossCause,
    map::{LineageEntry, LossKey, ReliefKey, SecretMark, SecretName, SegmentState},
    record::FileIdentity,
};

use super::SensorError;
use crate::event::{ProcessId, SegmentId};

/// The maps that take orders and give counts.
pub struct Orders {
    lineage: HashMap<MapData, u32, LineageEntry>,
    segments: HashMap<MapData, u64, SegmentState>,
    cgroups: HashMap<MapData, u64, u64>,
    cgroup_count: Array<MapData, u32>,
    secret_objects: HashMap<MapData, FileIdentity, SecretMark>,
    secret_names: HashMap<MapData, SecretName, SecretMark>,
    relief: HashMap<MapData, ReliefKey, u64>,
    losses: PerCpuHashMap<MapData, LossKey, u64>,
    host_losses: PerCpuArray<MapData, u64>,
    watched_cgroups: u32,
}

/// How a process is labelled.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// The segment it enters.
    pub segment: SegmentId,
    /// Start in ticks since boot as `/proc/PID/stat` has it; 0 for no check.
    pub start_ticks: u64,
    /// `LINEAGE_SPLIT`, `LINEAGE_BOOTSTRAP`.
    pub flags: u32,
}

/// One counted loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Whose; `None` for what could not be charged to a segment.
    pub segment: Option<SegmentId>,
    /// Why.
    pub cause: LossCause,
    /// The record kind's value.
    pub kind: u16,
    /// How many since the start.
    pub count: u64,
}

fn failed(what: &'static str) -> impl Fn(aya::maps::MapError) -> SensorError {
    move |error| SensorError::Order { what, reason: error.to_string() }
}

impl Orders {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, SensorError> {
        let mut take = |name: &'static str| {
            ebpf.take_map(name).ok_or_else(|| SensorError::Order {
                what: name,
                reason: "the map is not in the object".to_owned(),
            })
        };
        Ok(Self {
            lineage: HashMap::try_from(take("LINEAGE")?).map_err(failed("LINEAGE"))?,
            segments: HashMap::try_from(take("SEGMENTS")?).map_err(failed("SEGMENTS"))?,
            cgroups: HashMap::try_from(take("WATCHED_CGROUPS")?).map_err(failed("WATCHED_CGROUPS"))?,
            cgroup_count: Array::try_from(take("WATCHED_CGROUP_COUNT")?)
                .map_err(failed("WATCHED_CGROUP_COUNT"))?,
            secret_objects: HashMap::try_from(take("SECRET_OBJECTS")?).map_err(failed("SECRET_OBJECTS"))?,
            secret_names: HashMap::try_from(take("SECRET_NAMES")?).map_err(failed("SECRET_NAMES"))?,
            relief: HashMap::try_from(take("RELIEF")?).map_err(failed("RELIEF"))?,
            losses: PerCpuHashMap::try_from(take("LOSSES")?).map_err(failed("LOSSES"))?,
            host_losses: PerCpuArray::try_from(take("HOST_LOSSES")?).map_err(failed("HOST_LOSSES"))?,
            watched_cgroups: 0,
        })
    }

    /// Makes a segment known, so that it has tokens of its own.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn open_segment(&mut self, segment: SegmentId, flags: u32) -> Result<(), SensorError> {
        let state =
            SegmentState { parent: 0, tokens: SEGMENT_TOKENS_MAX, refilled_ns: 0, flags, reserved: 0 };
        self.segments.insert(segment.0, state, 0).map_err(failed("open a segment"))
    }

    /// Forgets an ended segment.
    pub fn close_segment(&mut self, segment: SegmentId) {
        // Already gone is what was wanted.
        let _ = self.segments.remove(&segment.0);
    }

    /// Labels a process. It and what it forks from now on is watched.
    ///
    /// # Errors
    /// When the map refuses, e.g. because it is full.
    pub fn label(&mut self, process: ProcessId, label: Label) -> Result<(), SensorError> {
        let entry = LineageEntry {
            segment: label.segment.0,
            start_boottime_ns: 0,
            start_ticks: label.start_ticks,
            flags: label.flags,
            reserved: 0,
        };
        self.lineage.insert(process.0, entry, 0).map_err(failed("label a process"))
    }

    /// The label of a process, if it has one.
    #[must_use]
    pub fn label_of(&self, process: ProcessId) -> Option<LineageEntry> {
        self.lineage.get(&process.0, 0).ok()
    }

    /// True while any process is labelled.
    #[must_use]
    pub fn has_labels(&self) -> bool {
        self.lineage.keys().next().is_some()
    }

    /// Every label.
    #[must_use]
    pub fn labels(&self) -> Vec<(ProcessId, LineageEntry)> {
        self.lineage.iter().flatten().map(|(pid, entry)| (ProcessId(pid), entry)).collect()
    }

    /// Takes a label away.
    pub fn unlabel(&mut self, process: ProcessId) {
        // Already gone is what was wanted.
        let _ = self.lineage.remove(&process.0);
    }

    /// Lets processes of a cgroup (by its v2 id) enter a segment at their next exec.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn watch_cgroup(&mut self, cgroup: u64, segment: SegmentId) -> Result<(), SensorError> {
        self.cgroups.insert(cgroup, segment.0, 0).map_err(failed("watch a cgroup"))?;
        self.watched_cgroups += 1;
        self.cgroup_count.set(0, self.watched_cgroups, 0).map_err(failed("watch a cgroup"))
    }

    /// Publishes a secret by its identity, of any generation.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn publish_object(&mut self, object: FileIdentity, mark: SecretMark) -> Result<(), SensorError> {
        let key = FileIdentity { generation: 0, ..object };
        self.secret_objects.insert(key, mark, 0).map_err(failed("publish a secret"))
    }

    /// Publishes a secret by its directory and name.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn publish_name(&mut self, name: SecretName, mark: SecretMark) -> Result<(), SensorError> {
        self.secret_names.insert(name, mark, 0).map_err(failed("publish a secret's name"))
    }

    /// Takes a published identity back.
    pub fn withdraw_object(&mut self, object: FileIdentity) {
        // Already gone is what was wanted.
        let _ = self.secret_objects.remove(&FileIdentity { generation: 0, ..object });
    }

    /// Repeats counted under each key since its first occurrence was sent.
    #[must_use]
    pub fn repeats(&self) -> Vec<(ReliefKey, u64)> {
        self.relief.iter().flatten().collect()
    }

    /// Forgets a key: the next occurrence will be sent.
    pub fn forget_relief(&mut self, key: &ReliefKey) {
        // Already gone is what was wanted.
        let _ = self.relief.remove(key);
    }

    /// Every loss that was counted since the start.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        // The host's totals first: what is lost while the rest is read must not look like a loss of nobody's.
        let totals = LossCause::ALL.map(|cause| {
            let counts = self.host_losses.get(&(cause as u32), 0);
            (cause, counts.map_or(0, |counts| counts.iter().sum::<u64>()))
        });
        let mut losses = Vec::new();
        let mut charged = std::collections::HashMap::new();
        for (key, counts) in self.losses.iter().flatten() {
            let Some(cause) = LossCause::from_value(key.cause) else { continue };
            let count: u64 = counts.iter().sum();
            *charged.entry(cause).or_insert(0) += count;
            let kind = u16::try_from(key.kind).unwrap_or(0);
            losses.push(Loss { segment: Some(SegmentId(key.segment)), cause, kind, count });
        }
        for (cause, total) in totals {
            let rest = total.saturating_sub(charged.get(&cause).copied().unwrap_or(0));
            if rest > 0 {
                losses.push(Loss { segment: None, cause, kind: 0, count: rest });
            }
        }
        losses
    }
}
