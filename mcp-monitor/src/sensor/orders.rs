//! Orders that go down: label processes, open and drop segments, watch cgroups and programs, publish secrets; and
//! counters that are read back.

use std::collections::HashSet;

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, IterableMap, MapData, PerCpuArray, PerCpuHashMap},
};
use mcp_monitor_common::{
    limits::SEGMENT_TOKENS_MAX,
    loss::LossCause,
    map::{
        LineageEntry, LossKey, ProgramName, ReliefKey, SEGMENT_DROPPED, SEGMENT_SPLIT, SecretMark,
        SecretName, SegmentState, secret_hint,
    },
    record::FileIdentity,
};

use super::{SensorError, health::MapFill, hints::Hints};
use crate::event::{ProcessId, SegmentId};

/// The maps that take orders and give counts.
pub struct Orders {
    lineage: HashMap<MapData, u32, LineageEntry>,
    label_hints: Hints,
    secret_hints: Hints,
    segments: HashMap<MapData, u64, SegmentState>,
    cgroups: HashMap<MapData, u64, u64>,
    cgroup_count: Array<MapData, u32>,
    programs: HashMap<MapData, ProgramName, u32>,
    executables: HashMap<MapData, FileIdentity, u32>,
    watched_count: Array<MapData, u32>,
    secret_objects: HashMap<MapData, FileIdentity, SecretMark>,
    secret_names: HashMap<MapData, SecretName, SecretMark>,
    relief: HashMap<MapData, ReliefKey, u64>,
    losses: PerCpuHashMap<MapData, LossKey, u64>,
    host_losses: PerCpuArray<MapData, u64>,
    watched_cgroups: u32,
    watched_programs: HashSet<ProgramName>,
    watched_executables: HashSet<FileIdentity>,
}

/// The segment that records of processes outside every lineage carry; its bucket bounds their rate.
const NO_SEGMENT: u64 = 0;
/// Looks at the labels of a dropped segment until one finds none, at most this often.
const DROP_LOOKS_MAX: usize = 8;

/// How a process is labelled.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// The segment it enters.
    pub segment: SegmentId,
    /// Start in ticks since boot as `/proc/PID/stat` has it; 0 for no check.
    pub start_ticks: u64,
    /// `LINEAGE_BOOTSTRAP`; `LINEAGE_EXECUTED` for a process that runs the program it is watched for, so that its next
    /// exec in place opens no segment.
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
        let mut orders = Self {
            label_hints: Hints::new(take("LABEL_HINTS")?, "map LABEL_HINTS")?,
            secret_hints: Hints::new(take("SECRET_HINTS")?, "map SECRET_HINTS")?,
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
            programs: HashMap::try_from(take("WATCHED_PROGRAMS")?).map_err(failed("WATCHED_PROGRAMS"))?,
            executables: HashMap::try_from(take("WATCHED_EXECUTABLES")?)
                .map_err(failed("WATCHED_EXECUTABLES"))?,
            watched_count: Array::try_from(take("WATCHED_COUNT")?).map_err(failed("WATCHED_COUNT"))?,
            watched_programs: HashSet::new(),
            watched_executables: HashSet::new(),
        };
        orders.open_segment(SegmentId(NO_SEGMENT), 0)?;
        Ok(orders)
    }

    /// Makes a segment known, so that it has tokens of its own. `flags` is `SEGMENT_SPLIT` or 0.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn open_segment(&mut self, segment: SegmentId, flags: u32) -> Result<(), SensorError> {
        let state =
            SegmentState { parent: 0, tokens: SEGMENT_TOKENS_MAX, refilled_ns: 0, flags, mount_namespace: 0 };
        self.segments.insert(segment.0, state, 0).map_err(failed("open a segment"))
    }

    /// Whether children that execute open segments of their own: they do in a segment that the kernel opened, until
    /// this says otherwise. `false` when there is no such segment (any more).
    ///
    /// # Errors
    /// When the map refuses.
    pub fn set_split(&mut self, segment: SegmentId, split: bool) -> Result<bool, SensorError> {
        self.change_segment(segment, "split a segment", |flags| {
            if split { flags | SEGMENT_SPLIT } else { flags & !SEGMENT_SPLIT }
        })
    }

    /// The segment is nothing of ours: its processes lose their labels, and what they fork meanwhile gets none. One of
    /// them that executes a watched program later enters anew. Gives how many labels were taken away. Follow with
    /// [`Self::close_segment`] once its records have been read.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn drop_segment(&mut self, segment: SegmentId) -> Result<usize, SensorError> {
        // First the mark, then the labels: a child that is born before the mark has a label that a look finds.
        self.change_segment(segment, "drop a segment", |flags| flags | SEGMENT_DROPPED)?;
        let mut dropped = 0;
        for _ in 0..DROP_LOOKS_MAX {
            let mut found = 0;
            for (process, _) in self.labels().into_iter().filter(|(_, entry)| entry.segment == segment.0) {
                // Looked at again, since it may have entered another segment meanwhile.
                if self.label_of(process).is_some_and(|entry| entry.segment == segment.0) {
                    self.unlabel(process);
                    found += 1;
                }
            }
            if found == 0 {
                break;
            }
            dropped += found;
        }
        Ok(dropped)
    }

    /// Changes a segment's flags. `false` when there is no such segment. The kernel's tokens may be set back by the
    /// few that were taken meanwhile.
    fn change_segment(
        &mut self,
        segment: SegmentId,
        what: &'static str,
        change: impl Fn(u32) -> u32,
    ) -> Result<bool, SensorError> {
        let Ok(state) = self.segments.get(&segment.0, 0) else { return Ok(false) };
        let state = SegmentState { flags: change(state.flags), ..state };
        // Only a segment that is there: 2 is BPF_EXIST.
        match self.segments.insert(segment.0, state, 2) {
            Ok(()) => Ok(true),
            Err(_) if self.segments.get(&segment.0, 0).is_err() => Ok(false),
            Err(error) => Err(failed(what)(error)),
        }
    }

    /// The kernel's state of a segment, while it is known there.
    #[must_use]
    pub fn segment(&self, segment: SegmentId) -> Option<SegmentState> {
        self.segments.get(&segment.0, 0).ok()
    }

    /// Lets programs of this file name open segments, as `flags` (`WATCH_ENTER` …) say. A name that is watched already
    /// gets the new flags.
    ///
    /// # Errors
    /// When the map refuses, e.g. because it is full.
    pub fn watch_program(&mut self, name: &[u8], flags: u32) -> Result<(), SensorError> {
        let key = ProgramName::new(name);
        self.programs.insert(key, flags, 0).map_err(failed("watch a program"))?;
        self.watched_programs.insert(key);
        self.count_watched()
    }

    /// Takes [`Self::watch_program`] back.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn forget_program(&mut self, name: &[u8]) -> Result<(), SensorError> {
        let key = ProgramName::new(name);
        // Already gone is what was wanted.
        let _ = self.programs.remove(&key);
        self.watched_programs.remove(&key);
        self.count_watched()
    }

    /// The same for an executable by its identity, whatever its name; of any generation.
    ///
    /// # Errors
    /// When the map refuses, e.g. because it is full.
    pub fn watch_executable(&mut self, executable: FileIdentity, flags: u32) -> Result<(), SensorError> {
        let key = FileIdentity { generation: 0, ..executable };
        self.executables.insert(key, flags, 0).map_err(failed("watch an executable"))?;
        self.watched_executables.insert(key);
        self.count_watched()
    }

    /// Takes [`Self::watch_executable`] back.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn forget_executable(&mut self, executable: FileIdentity) -> Result<(), SensorError> {
        let key = FileIdentity { generation: 0, ..executable };
        // Already gone is what was wanted.
        let _ = self.executables.remove(&key);
        self.watched_executables.remove(&key);
        self.count_watched()
    }

    /// With none watched an exec outside every lineage looks nothing up.
    fn count_watched(&mut self) -> Result<(), SensorError> {
        let count = self.watched_programs.len() + self.watched_executables.len();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.watched_count.set(0, count, 0).map_err(failed("watch programs"))
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
        self.label_hints.set(usize::try_from(process.0).unwrap_or(usize::MAX));
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
        self.watched_cgroups = self.watched_cgroups.saturating_add(1);
        self.cgroup_count.set(0, self.watched_cgroups, 0).map_err(failed("watch a cgroup"))
    }

    /// Publishes a secret by its identity, of any generation.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn publish_object(&mut self, object: FileIdentity, mark: SecretMark) -> Result<(), SensorError> {
        let key = FileIdentity { generation: 0, ..object };
        self.secret_hints.set(secret_hint(object.inode, object.device));
        self.secret_objects.insert(key, mark, 0).map_err(failed("publish a secret"))
    }

    /// Publishes a secret by its directory and name.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn publish_name(&mut self, name: SecretName, mark: SecretMark) -> Result<(), SensorError> {
        self.secret_hints.set(secret_hint(name.parent_inode, name.device));
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

    /// How full the tables are. Looks at every key, so it is not for each second.
    #[must_use]
    pub fn fill(&self) -> Vec<MapFill> {
        fn of<K: Pod, V: Pod>(name: &'static str, map: &HashMap<MapData, K, V>) -> Option<MapFill> {
            let capacity = IterableMap::map(map).info().ok()?.max_entries();
            let entries = map.keys().take(capacity as usize).flatten().count() as u64;
            Some(MapFill { name, entries, capacity })
        }
        [
            of("lineage", &self.lineage),
            of("segments", &self.segments),
            of("watched-cgroups", &self.cgroups),
            of("watched-programs", &self.programs),
            of("watched-executables", &self.executables),
            of("secret-objects", &self.secret_objects),
            of("secret-names", &self.secret_names),
            of("relief", &self.relief),
        ]
        .into_iter()
        .flatten()
        .collect()
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
