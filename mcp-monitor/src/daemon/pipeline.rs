//! The stages in their order: a record is decoded, attributed, judged, put together with others into findings, and
//! written. Everything that cannot be done with a record is counted.

use std::{os::unix::ffi::OsStrExt as _, sync::Arc};

use mcp_monitor_common::mechanism::blind_spots;

use super::{
    DaemonError, Roots, Settings,
    bystanders::{self, Bystanders},
    counts::{Losses, Repeats},
    expectations::{self, Expectations},
    freeze,
    health::Health,
    histories::{self, Histories},
    inventory::{Inventory, Told},
    lineages::Lineages,
    marks::Marks,
    places::Changes,
    recording::Recorder,
    settings::SettingsWatch,
    surroundings::Surroundings,
};
use crate::{
    control::{
        Publisher,
        metrics::KernelHealth,
        orders::{Order, OrderKind},
    },
    event::{Bytes, CoverageNote, Event, SegmentId, Workload, WorkloadKind},
    expectation::{Context, Egress, Judge, JudgeConfig, Monitor, file::Subject},
    finding::ledger::{Ledger, Noted},
    host::{attribute::Attributor, clock::Clock, sockets, users::Users},
    render::{Stream, StreamError, Summary, summary},
    sensor::{
        Sensor,
        canary::{CANARY_SEGMENT, Canary},
        decode::{RecordBody, decode},
        health as kernel_health, mask,
        orders::Orders,
        sequence::SequenceTracker,
        trial::ProgramState,
    },
    store::{Act, Actor},
};

/// Records between two looks at what must be published.
const BATCH: usize = 4096;
/// Batches taken in one go, so that signals and clocks get their turn in a flood.
const BATCHES: usize = 8;

/// How often what waits is taken in at the end.
const DRAINS_AT_END: usize = 256;
/// Labels are compared with the processes that there are this seldom: it costs a look at each of them.
const TICKS_PER_SWEEP: u64 = 10;

/// A judge for what the command line declares and this host has.
pub(super) fn judge(settings: &Settings) -> Result<Box<Judge>, DaemonError> {
    let allow_egress = settings
        .declared
        .egress
        .iter()
        .map(|text| {
            text.parse::<Egress>()
                .map_err(|error| DaemonError::Usage(format!("--allow-egress {text}: {error}")))
        })
        .collect::<Result<_, _>>()?;
    let mut homes: Vec<_> = Users::default().all().into_iter().map(|user| user.home.clone()).collect();
    homes.extend(settings.roots.homes.iter().cloned());
    let config = JudgeConfig {
        homes,
        resolvers: sockets::resolvers(),
        hosts: std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
        allow_egress,
        allow_read: settings.declared.read.clone(),
        allow_secrets: settings.declared.secrets.clone(),
        monitor: Monitor::of_this_process(),
    };
    Judge::new(config).map(Box::new).map_err(|error| match error {
        crate::expectation::JudgeError::UnknownSecret(..)
        | crate::expectation::JudgeError::RelativePath(_) => DaemonError::Usage(error.to_string()),
        error @ crate::expectation::JudgeError::Data(_) => DaemonError::Judge(error),
    })
}

/// See the module.
pub(super) struct Pipeline<'stream> {
    sensor: Sensor,
    stages: Stages<'stream>,
    lineages: Lineages,
    marks: Marks,
    surroundings: Surroundings,
    settings: SettingsWatch,
    bystanders: Bystanders,
    losses: Losses,
    lost: Vec<summary::Loss>,
    next_segment: u64,
    ticks: u64,
    command: Option<SegmentId>,
}

/// What a record passes on its way.
struct Stages<'stream> {
    attributor: Attributor,
    judge: Box<Judge>,
    expectations: Expectations,
    histories: Histories,
    ledger: Ledger,
    tally: summary::Tally,
    stream: &'stream mut Stream,
    publisher: Publisher,
    recorder: Recorder,
    repeats: Repeats,
    inventory: Inventory,
    /// Instances that live.
    workloads: Vec<Arc<Workload>>,
    /// What the tier cannot see, in words.
    blind: Vec<String>,
    undecoded: u64,
    health: Health,
    /// The kernel counts runs of programs.
    runs_counted: bool,
    error: Option<StreamError>,
}

impl<'stream> Pipeline<'stream> {
    #[allow(clippy::too_many_arguments, reason = "the stages, each handed over once")]
    pub(super) fn new(
        sensor: Sensor,
        judge: Box<Judge>,
        expectations: Expectations,
        stream: &'stream mut Stream,
        publisher: Publisher,
        recorder: Recorder,
        histories: Histories,
        host_secrets: bool,
    ) -> Result<Self, DaemonError> {
        let settings = SettingsWatch::start(&judge).map_err(|error| DaemonError::Judge(error.into()))?;
        let severities =
            judge.severities().into_iter().chain(crate::finding::changes::severities()).collect();
        let ledger =
            Ledger::new(severities, judge.techniques()).map_err(|error| DaemonError::Judge(error.into()))?;
        let mut attributor = Attributor::default();
        let bystanders = Bystanders::new(host_secrets, &mut attributor);
        let stages = Stages {
            attributor,
            judge,
            expectations,
            histories,
            ledger,
            tally: summary::Tally::new(Clock::now()),
            stream,
            publisher,
            recorder,
            repeats: Repeats::default(),
            inventory: Inventory::new(sensor.tier.name(), Clock::measure())
                .map_err(|error| DaemonError::Judge(error.into()))?,
            workloads: Vec::new(),
            blind: blind_spots_of(&sensor),
            undecoded: 0,
            health: Health::new(Canary::of(sensor.tier)),
            runs_counted: false,
            error: None,
        };
        let mut pipeline = Self {
            sensor,
            stages,
            lineages: Lineages::default(),
            marks: Marks::default(),
            surroundings: Surroundings::default(),
            settings,
            bystanders,
            losses: Losses::default(),
            lost: Vec::new(),
            next_segment: 1,
            ticks: 0,
            command: None,
        };
        pipeline.marks.publish(&pipeline.stages.judge, &mut pipeline.sensor.orders);
        Ok(pipeline)
    }

    /// From now on the kernel counts runs of programs.
    pub(super) fn count_runs(&mut self) {
        self.stages.runs_counted = true;
    }

    /// Labels what is to be watched.
    pub(super) fn watch_roots(&mut self, roots: &Roots) -> Result<(), DaemonError> {
        if let Some((pid, arguments)) = &roots.command {
            let name =
                arguments.first().map_or_else(String::new, |program| program.to_string_lossy().into_owned());
            // The id is a hash of what is shown and not of what was given: a short secret could be guessed from it.
            let raw = arguments.iter().map(|argument| argument.as_bytes()).collect::<Vec<_>>().join(&0);
            let what = mask::arguments(&raw, false).iter().map(Bytes::escaped).collect::<Vec<_>>().join("\0");
            let workload = Workload { kind: roots.kind, ..workload(&name, &what) };
            let context = Context {
                kind: roots.kind,
                workspaces: std::env::current_dir().into_iter().collect(),
                ..Context::default()
            };
            self.stages.judge.describe(&workload.instance, context)?;
            let subject =
                expectations::subject_of_command(&workload.name, arguments, roots.homes.first().cloned());
            self.stages.expect(&workload.instance, subject);
            self.stages.histories.describe(&workload, histories::nature_of_command(arguments));
            let segment = self.open(workload, Some(*pid));
            self.command = Some(segment);
            Lineages::command(&mut self.sensor.orders, *pid, segment)?;
        }
        for &pid in &roots.pids {
            let name = format!("pid {pid}");
            let workload = workload(&name, &name);
            let subject = expectations::subject_of_process(&name, pid);
            self.stages.expect(&workload.instance, subject);
            let segment = self.open(workload, Some(pid));
            self.note_started_before(segment);
            self.lineages.process(&mut self.sensor.orders, pid, segment)?;
        }
        for path in &roots.cgroups {
            let name = path.display().to_string();
            let segment = self.open(workload(&name, &name), None);
            self.note_started_before(segment);
            let left_out = self.lineages.cgroup(&mut self.sensor.orders, path, segment)?;
            if left_out > 0
                && let Some(workload) = self.stages.attributor.workload(segment)
            {
                let what = format!(
                    "lineage: processes of {left_out} cgroups below {name} are found by looking and not at their exec"
                );
                self.stages.blind(&workload, what);
            }
        }
        if let Some((cause, what, count)) = self.stages.recorder.gap() {
            self.lose(cause, None, what, count);
        }
        let working = roots.command.as_ref().and_then(|(pid, _)| super::inventory::working_folder(*pid));
        self.stages.inventory.read_declarations(&roots.homes, working);
        if roots.host {
            self.watch_host();
        }
        Ok(())
    }

    fn open(&mut self, workload: Workload, root: Option<u32>) -> SegmentId {
        let segment = SegmentId(self.next_segment);
        self.next_segment += 1;
        let workload = Arc::new(workload);
        self.stages.attributor.assign(segment, Arc::clone(&workload));
        self.stages.inventory.adopt(segment, &workload, root);
        self.stages.begin(workload);
        segment
    }

    /// Looks out for agents and servers on the whole host: those that will start, and those that run.
    fn watch_host(&mut self) {
        let Self { sensor, stages, next_segment, .. } = self;
        stages.inventory.watch(&mut sensor.orders);
        let told = stages.inventory.look(&mut sensor.orders, next_segment);
        stages.take(told);
    }

    fn note_started_before(&mut self, segment: SegmentId) {
        if let Some(workload) = self.stages.attributor.workload(segment) {
            let note = CoverageNote {
                cause: "started-before",
                what: "what it did, opened and connected to before the watch began".to_owned(),
                count: 1,
            };
            self.stages.tally.note(&workload.name, &note);
            self.stages.publisher.blind(&workload, note.cause, note.what);
        }
    }

    /// Takes in what waits in the ring, up to a bound. `true` when there may be more.
    pub(super) fn drain(&mut self) -> bool {
        let mut more = true;
        for _ in 0..BATCHES {
            let Self { sensor, stages, .. } = self;
            let Sensor { ring, sequences, orders, .. } = sensor;
            let count = ring.drain(BATCH, |bytes| stages.record(bytes, sequences, orders));
            self.marks.poll(&mut self.stages.judge);
            self.marks.publish(&self.stages.judge, &mut self.sensor.orders);
            if count < BATCH {
                more = false;
                break;
            }
        }
        if let Some(diagnostics) = &mut self.sensor.diagnostics {
            diagnostics.flush();
        }
        self.stages.recorder.note_progress(&self.sensor.sequences);
        self.stages.flush();
        more
    }

    /// Losses, what waited too long, ended processes whose end was missed, and processes that entered a cgroup.
    /// `ending` says that only the end of the lineage is waited for.
    pub(super) fn tick(&mut self, ending: bool) {
        self.ticks += 1;
        let look = ending || self.ticks.is_multiple_of(TICKS_PER_SWEEP);
        let missed = if look { Lineages::sweep(&mut self.sensor.orders) } else { 0 };
        if look {
            self.publish_living();
        }
        if missed > 0 {
            self.lose("missed-exit", None, "ends of processes that the kernel did not report", missed);
        }
        self.stages.attributor.tick(Clock::now());
        let Self { sensor, stages, next_segment, .. } = self;
        let mut told = stages.inventory.tick(&mut sensor.orders);
        if let Some(snapshot) = stages.inventory.snapshot() {
            stages.publisher.inventory(snapshot);
        }
        if look {
            told.extend(stages.inventory.sweep(&mut sensor.orders, next_segment));
        }
        stages.take(told);
        self.collect_losses();
        self.look_after_health();
        self.stages.publisher.freshness(self.marks.freshness());
        self.surroundings.poll(&mut self.stages.judge);
        self.bystanders.publish(&self.stages.judge, &mut self.sensor.orders);
        for event in self.settings.exchange(&mut self.stages.judge) {
            self.stages.tell(event);
        }
        if let Some(taken) = self.stages.expectations.poll(&mut self.stages.judge) {
            self.stages.publisher.reloaded("expectations", taken);
        }
        if let Some(what) = self.stages.expectations.news() {
            // Who changed a file is not known; that it is in force now is this process's doing.
            self.stages.recorder.act(Actor::of_this_process(), Act::Configuration { what });
        }
        self.stages.histories.save(false);
        self.marks.publish(&self.stages.judge, &mut self.sensor.orders);
        if self.lineages.has_cgroups() {
            self.lineages.label_all(&mut self.sensor.orders);
        }
    }

    /// Reads the expectations again, as an operator wishes.
    pub(super) fn reload_expectations(&mut self) {
        if let Some(taken) = self.stages.expectations.reload(&mut self.stages.judge) {
            self.stages.publisher.reloaded("expectations", taken);
        }
    }

    /// Repeats that the kernel counted become events with a count. A repeat may have been counted while the record of
    /// its first occurrence still waits in the ring: unless it is `last`, it is told the next time.
    pub(super) fn flush_relief(&mut self, last: bool) {
        self.drain();
        let now = Clock::now();
        for (key, count) in self.stages.repeats.collect(&mut self.sensor.orders) {
            let waits = !last && !self.stages.attributor.knows_repeated(&key);
            if waits && self.stages.repeats.give_back(&key, count) {
                continue;
            }
            if let Some(event) = self.stages.attributor.flush_relief(&key, count, now) {
                self.stages.event(event);
            }
        }
    }

    /// Carries out what an operator wants and answers. What was done is told as an event of the workload.
    pub(super) fn order(&mut self, order: Order) {
        let Self { sensor, stages, .. } = self;
        let attributor = &mut stages.attributor;
        let mut concerned = None;
        let result = freeze::apply(&sensor.orders, order.kind, |segment| {
            let workload = attributor.workload(SegmentId(segment));
            let belongs = workload.as_ref().is_some_and(|workload| workload.instance == order.instance);
            if belongs {
                concerned = workload;
            }
            belongs
        });
        if let Some(workload) = concerned {
            let (cause, done) = match order.kind {
                OrderKind::Pause => ("paused", "stopped"),
                OrderKind::Resume => ("resumed", "continued"),
            };
            let outcome = match &result {
                Ok(count) => format!("{count} processes {done}"),
                Err(why) => format!("failed: {why}"),
            };
            let what = format!("{outcome} by uid {}: {}", order.peer.uid, order.reason);
            if result.is_ok() {
                let actor = Actor { uid: order.peer.uid, pid: order.peer.pid };
                let (instance, reason) = (order.instance.clone(), order.reason.clone());
                let workload = workload.name.clone();
                let act = match order.kind {
                    OrderKind::Pause => Act::Pause { workload, instance, reason },
                    OrderKind::Resume => Act::Resume { workload, instance, reason },
                };
                stages.recorder.act(actor, act);
            }
            let event =
                stages.attributor.note(workload, CoverageNote { cause, what, count: 1 }, Clock::now());
            stages.event(event);
        }
        // Who asked may have gone.
        let _ = order.answer.send(result);
    }

    /// Tells the control socket which processes live.
    pub(super) fn publish_living(&mut self) {
        let attributor = &mut self.stages.attributor;
        let living = self.sensor.orders.labels().into_iter().filter_map(|(pid, entry)| {
            attributor.workload(SegmentId(entry.segment)).map(|workload| (workload.instance.clone(), pid))
        });
        self.stages.publisher.living(living);
    }

    /// Watches where secrets lie; says when to call [`Self::places_changed`].
    pub(super) fn watch_places(&mut self) -> Option<Changes> {
        self.marks.watch()
    }

    /// Something changed where secrets lie.
    pub(super) fn places_changed(&mut self) {
        self.marks.look(&self.stages.judge);
    }

    /// Looks for secrets again.
    pub(super) fn rescan(&mut self) {
        self.marks.rescan(&self.stages.judge);
        self.surroundings.look(&self.stages.judge);
        let Self { sensor, stages, .. } = self;
        stages.publisher.kernel(|| KernelHealth {
            programs: kernel_health::programs(sensor.ebpf(), stages.runs_counted),
            maps: sensor.orders.fill(),
        });
    }

    /// Why the stream can take no more.
    pub(super) fn stream_error(&mut self) -> Option<StreamError> {
        self.stages.error.take()
    }

    /// True when the watched command and all its descendants have ended.
    pub(super) fn lineages_ended(&self) -> bool {
        !self.lineages.any() && self.command.is_some() && !self.sensor.orders.has_labels()
    }

    /// Takes in the rest and counts it all up.
    pub(super) fn finish(mut self, end: String) -> (Summary, Option<StreamError>) {
        // As much as the largest ring can hold; who goes on flooding does not keep the end from coming.
        for _ in 0..DRAINS_AT_END {
            if !self.drain() {
                break;
            }
        }
        self.flush_relief(true);
        self.collect_losses();
        self.look_after_health();
        if self.stages.undecoded > 0 {
            let count = self.stages.undecoded;
            self.lose("undecoded", None, "records that could not be understood", count);
        }
        let counts = self.stages.attributor.counts();
        if counts.unassigned > 0 {
            self.lose("unassigned", None, "events of segments that belong to no workload", counts.unassigned);
        }
        if counts.relief_unplaced > 0 {
            self.lose(
                "relief",
                None,
                "counted repeats whose first occurrence is not known",
                counts.relief_unplaced,
            );
        }
        self.unexplained_gaps();
        self.tell_what_was_not_kept();
        for (cause, what, count) in self.stages.recorder.losses() {
            self.lose(cause, None, what, count);
        }
        self.stages.histories.save(true);
        let Self { mut stages, lost, settings, .. } = self;
        for event in settings.finish(&mut stages.judge) {
            stages.tell(event);
        }
        let findings =
            stages.ledger.findings().map(|finding| stages.recorder.as_told(finding).into_owned()).collect();
        stages.publisher.ending();
        let summary = stages.tally.finish(Clock::now(), findings, lost, end);
        let error = stages.error.or_else(|| stages.stream.summary(&summary).err());
        let error = error.or_else(|| stages.stream.flush().err());
        (summary, error)
    }

    /// What judge and ledger could not keep in their bounds becomes coverage.
    fn tell_what_was_not_kept(&mut self) {
        let counts = self.stages.judge.counts().0;
        let ledger = self.stages.ledger.counts();
        let notes =
            counts.into_iter().map(|count| (String::from("whole host"), count.name, count.what, count.count));
        let suppressed = ledger.suppressed.into_iter().map(|(workload, count)| {
            (
                workload,
                "suppressed",
                "new findings beyond the quota of the workload: kept and not told",
                count,
            )
        });
        let dropped = (
            "whole host".to_owned(),
            "findings-dropped",
            "findings that were told and then dropped",
            ledger.dropped,
        );
        for (workload, cause, what, count) in notes.chain(suppressed).chain([dropped]) {
            if count > 0 {
                self.stages.tally.note(&workload, &CoverageNote { cause, what: what.to_owned(), count });
            }
        }
    }

    /// What the kernel programs missed, and whether they still fire.
    fn look_after_health(&mut self) {
        for fault in self.stages.health.look(&mut self.sensor) {
            if fault.repair {
                self.lineages.label_all(&mut self.sensor.orders);
            }
            self.lose(fault.cause, None, &fault.what, fault.count);
        }
    }

    /// Sequences tell of every attempt; what the kernel side counted as lost explains them.
    fn unexplained_gaps(&mut self) {
        use mcp_monitor_common::loss::LossCause::{Reserve, RingFull, Tokens};
        let counted: u64 = self
            .sensor
            .orders
            .losses()
            .iter()
            .filter(|loss| matches!(loss.cause, RingFull | Reserve | Tokens))
            .map(|loss| loss.count)
            .sum();
        let missing = self.sensor.sequences.missing();
        if missing > counted {
            self.lose(
                "sequence-gap",
                None,
                "records missing from a sequence without a counted cause",
                missing - counted,
            );
        }
    }

    fn collect_losses(&mut self) {
        for (cause, what, count) in self.stages.recorder.losses() {
            self.lose(cause, None, what, count);
        }
        let fresh = self.losses.collect(&self.sensor.orders);
        if fresh.iter().any(|loss| loss.cause == mcp_monitor_common::loss::LossCause::LineageInsert) {
            self.lineages.label_all(&mut self.sensor.orders);
        }
        for loss in fresh {
            if loss.segment == Some(CANARY_SEGMENT) {
                self.stages.health.excuse();
                continue;
            }
            let kind = mcp_monitor_common::record::RecordKind::from_value(loss.kind)
                .map_or_else(|| "records".to_owned(), |kind| format!("{kind:?} records").to_lowercase());
            let workload = loss.segment.and_then(|segment| self.stages.attributor.workload(segment));
            self.lose(loss.cause.name(), workload, &kind, loss.count);
        }
    }

    /// Charges a loss to its workload, or to all of them when it is the host's.
    fn lose(&mut self, cause: &'static str, workload: Option<Arc<Workload>>, what: &str, count: u64) {
        // What was lost of one kind of record says so; other causes have sentences, which make no label.
        self.stages.publisher.lost(cause, what.strip_suffix(" records").unwrap_or("all"), count);
        let known = self.lost.iter_mut().find(|known| {
            known.cause == cause && known.workload.as_ref() == workload.as_ref().map(|of| &of.name)
        });
        match known {
            Some(known) => known.count += count,
            None => self.lost.push(summary::Loss {
                cause,
                workload: workload.as_ref().map(|of| of.name.clone()),
                count,
            }),
        }
        let concerned = match workload {
            Some(workload) => vec![workload],
            None => self.stages.workloads.clone(),
        };
        for workload in concerned {
            let note = CoverageNote { cause, what: what.to_owned(), count };
            let event = self.stages.attributor.note(workload, note, Clock::now());
            self.stages.event(event);
        }
    }
}

impl Stages<'_> {
    fn record(&mut self, bytes: &[u8], sequences: &mut SequenceTracker, orders: &mut Orders) {
        let Ok(record) = decode(bytes) else {
            self.undecoded += 1;
            return;
        };
        sequences.observe(record.header.lane, record.header.sequence);
        if record.segment() == CANARY_SEGMENT {
            self.health.saw(&record);
            return;
        }
        if let RecordBody::Segment(parent) = &record.body {
            self.inventory.open(record.segment(), *parent);
        }
        let bystander = record.is_bystander();
        let Some(event) = self.attributor.resolve(record) else { return };
        if bystander {
            if let Some(event) = self.attributor.place(event) {
                self.bystander(event);
            }
            return;
        }
        let told = self.inventory.observe(&event, orders);
        self.take(told);
        if let Some(event) = self.attributor.place(event) {
            self.event(event);
        }
    }

    fn bystander(&mut self, mut event: Event) {
        if !bystanders::is_ourselves(&event) {
            self.judge.judge_bystander(&mut event);
            self.tally.event(&event);
            self.tell(event);
        }
    }

    /// What the inventory says of segments and instances.
    fn take(&mut self, told: Vec<Told>) {
        for one in told {
            match one {
                Told::Assign(segment, workload, context) => {
                    // A table that is full leaves the instance to be judged by its kind alone, counted by the judge.
                    if let Err(error) = self.judge.describe(&workload.instance, context) {
                        self.blind(&workload, error.to_string());
                    }
                    if let Some(subject) = self.inventory.subject(&workload.instance) {
                        self.expectations.describe_found(&mut self.judge, &workload.instance, subject);
                    }
                    if let Some(nature) = self.inventory.nature(&workload.instance) {
                        self.histories.describe(&workload, nature);
                    }
                    self.begin(Arc::clone(&workload));
                    for event in self.attributor.assign(segment, workload) {
                        self.event(event);
                    }
                }
                Told::Own(process, program) => self.judge.own(process, &program),
                Told::Described(workload) => {
                    if let Some(subject) = self.inventory.subject(&workload.instance) {
                        self.expectations.describe_found(&mut self.judge, &workload.instance, subject);
                    }
                }
                Told::Drop(segment) => self.attributor.drop_segment(segment),
                Told::Close(segment) => self.attributor.forget_segment(segment),
                Told::Ended(instance) => {
                    self.expectations.forget(&instance);
                    self.histories.forget(&instance);
                    self.workloads.retain(|workload| *workload.instance != *instance);
                }
            }
        }
    }

    /// An instance that the command line names goes by the expectation that means it.
    fn expect(&mut self, instance: &str, subject: Subject) {
        self.expectations.describe(&mut self.judge, instance, subject);
    }

    /// An instance is known from now on, or known better.
    fn begin(&mut self, workload: Arc<Workload>) {
        let known = self.workloads.iter_mut().find(|known| known.instance == workload.instance);
        if let Some(known) = known {
            *known = workload;
            return;
        }
        for what in self.blind.clone() {
            self.blind(&workload, what);
        }
        self.workloads.push(workload);
    }

    fn event(&mut self, mut event: Event) {
        self.judge.judge(&mut event);
        self.histories.review(&mut event);
        self.repeats.note(&event);
        self.tally.event(&event);
        self.tell(event);
    }

    /// Writes a judged event and what is found by it.
    fn tell(&mut self, event: Event) {
        let written = self.stream.event(&event);
        let mut findings = 0;
        let told = match self.ledger.note(&event) {
            Noted::Nothing | Noted::Suppressed => Ok(()),
            Noted::New(finding) | Noted::Raised(finding) => {
                self.recorder.finding(finding);
                findings = 1;
                let told = self.recorder.as_told(finding);
                self.publisher.finding(&told);
                self.stream.finding(&told, false)
            }
            Noted::Repeated(finding) => {
                self.recorder.finding(finding);
                let told = self.recorder.as_told(finding);
                self.publisher.finding(&told);
                self.stream.finding(&told, true)
            }
        };
        self.recorder.event(&event);
        self.inventory.count(&event, findings);
        self.publisher.event(event);
        if self.error.is_none() {
            self.error = written.err().or(told.err());
        }
    }

    fn blind(&mut self, workload: &Arc<Workload>, what: String) {
        self.publisher.blind(workload, "weaker-mechanism", what.clone());
        self.inventory.note(&workload.instance, "weaker-mechanism", &what);
        self.tally.note(&workload.name, &CoverageNote { cause: "weaker-mechanism", what, count: 1 });
    }

    fn flush(&mut self) {
        if let Err(error) = self.stream.flush()
            && self.error.is_none()
        {
            self.error = Some(error);
        }
    }
}

/// What the tier in use does not see, by its nature and on this kernel.
fn blind_spots_of(sensor: &Sensor) -> Vec<String> {
    let by_nature =
        blind_spots(sensor.tier).iter().map(|(observation, what)| format!("{}: {what}", observation.name()));
    let refused = sensor.trial.programs.iter().filter_map(|row| match &row.state {
        ProgramState::Refused(why) if row.tier == sensor.tier => {
            Some(format!("{}: {} is not in use: {why}", row.observation.name(), row.name))
        }
        _ => None,
    });
    by_nature.chain(refused).collect()
}

/// A workload that a person named on the command line: a server until an inventory says otherwise. `what` makes
/// its id, which is the same for every run.
fn workload(name: &str, what: &str) -> Workload {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, what.as_bytes());
    Workload {
        id: id.to_string(),
        instance: uuid::Uuid::now_v7().to_string(),
        kind: WorkloadKind::Server,
        name: name.rsplit('/').next().unwrap_or(name).to_owned(),
        ..Workload::default()
    }
}
