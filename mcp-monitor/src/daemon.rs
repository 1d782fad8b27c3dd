//! The wiring: the only place that knows every stage from the kernel to the reader.
//!
//! Records go up: ring → decode → attribute → judge → ledger → stream and store ([`pipeline`], [`recording`]). Orders go down: labels
//! ([`lineages`]), the published secrets ([`marks`]). What was counted instead of sent or lost comes in by polling
//! ([`counts`]). One thread does all of it; when it is too slow the ring fills, and that is counted.

mod bystanders;
mod counts;
mod delivering;
mod expectations;
mod freeze;
mod health;
mod histories;
mod inventory;
mod lineages;
mod marks;
mod pipeline;
mod places;
mod recording;
mod sandbox;
mod settings;
mod surroundings;

use crate::{
    control::{self, Publisher, Server, orders::Order},
    expectation::JudgeError,
    export,
    host::pods::{Cluster, Pods},
    render::{Stream, StreamError, Summary},
    sensor::{self, SensorError},
    service::{self, Manager},
    store::{self, StoreError},
};
pub use expectations::ExpectationSource;
use mcp_monitor_common::mechanism::Tier;
use pipeline::Pipeline;
use recording::Recorder;
use std::{path::PathBuf, time::Duration};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// Bulk records ask for no attention: the ring is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Losses, ended lineages, and what waited too long.
const TICK_EVERY: Duration = Duration::from_millis(500);
/// Repeats that the kernel counted.
const RELIEF_EVERY: Duration = Duration::from_secs(2);
/// Secrets that came, went or were replaced.
const SCAN_EVERY: Duration = Duration::from_secs(10);

/// What to watch and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Only this tier; `None` for the strongest that works.
    pub tier: Option<Tier>,
    /// Repeated opens may be counted instead of sent.
    pub relief: bool,
    /// Bytes of the ring buffer.
    pub ring_bytes: u32,
    /// What the kernel programs say of themselves on standard error.
    pub diagnostics: Option<sensor::Diagnostics>,
    /// Opens of secrets by processes outside every workload are written down.
    pub host_secrets: bool,
    /// What the command line declares.
    pub declared: Declared,
    /// Where expectations come from.
    pub expectations: Option<ExpectationSource>,
    /// Where lineages start.
    pub roots: Roots,
    /// What is served beside the stream; `None` for nothing.
    pub control: Option<control::server::Settings>,
    /// Where events and findings are recorded, if they are.
    pub store: Option<store::Settings>,
    /// Where findings and events go from the store, if they go anywhere.
    pub sinks: Option<export::Config>,
    /// How it behaves as a service.
    pub service: service::Settings,
}

/// Expectations of the command line, as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `--allow-egress`: `HOST[:PORT]`, `ADDRESS[/PREFIX][:PORT]`.
    pub egress: Vec<String>,
    /// `--allow-read`: globs.
    pub read: Vec<String>,
    /// `--secret`: a path, or an entry of the catalogue.
    pub secrets: Vec<String>,
}

/// Where lineages start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// The command that `watch` holds until it is labelled, with its arguments.
    pub command: Option<(u32, Vec<std::ffi::OsString>)>,
    /// How the command is judged.
    pub kind: crate::event::WorkloadKind,
    /// The whole host: every agent and server on it.
    pub host: bool,
    /// Running processes, with their descendants.
    pub pids: Vec<u32>,
    /// cgroups, with all that runs in them.
    pub cgroups: Vec<PathBuf>,
    /// Home directories beside those of the host's users, e.g. the `HOME` that the command gets.
    pub homes: Vec<PathBuf>,
}

/// How far the watch is. What ends it is the reason that the summary shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Go on.
    #[default]
    Running,
    /// Go on, with expectations and configuration read again. The number tells one wish from the next.
    Reload(u64),
    /// The command has ended: go on until its lineage has, too.
    CommandEnded(String),
    /// End now.
    Stop(String),
}

/// What a watch came to.
#[derive(Debug)]
pub struct Report {
    /// Counted.
    pub summary: Summary,
    /// Why the stream ended before the watch, if it did.
    pub stream_error: Option<StreamError>,
}

/// Why there is no watch. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// An option's value is wrong.
    #[error("{0}")]
    Usage(String),
    /// Root or a capability is missing.
    #[error("{0}")]
    NotPermitted(String),
    /// Another monitor runs.
    #[error("{0}")]
    AlreadyRunning(String),
    /// The sensor did not start or failed.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// What the command line declares or the data files say is wrong.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Anything else.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Watches until `phase` says so. `ready` is called once everything is attached and labelled; it is dropped
/// uncalled when that fails.
pub async fn run(
    settings: Settings,
    stream: &mut Stream,
    ready: impl FnOnce(),
    mut phase: watch::Receiver<Phase>,
) -> Result<Report, DaemonError> {
    // Wrong declarations are told before anything is attached.
    let mut judge = pipeline::judge(&settings)?;
    let expectations = expectations::Expectations::first(settings.expectations.clone())?;
    marks::first_scan(&mut judge);
    surroundings::Surroundings::first(&mut judge);
    let origin = stream.origin().clone();
    let listening = settings.control.clone().map(Server::listen).transpose().map_err(other)?;
    let sensor = sensor::start(&sensor_options(&settings))?;
    let runs_counted = settings.control.as_ref().is_some_and(|control| control.program_stats);
    // The sandbox refuses to begin it later.
    let counting = runs_counted.then(sensor::health::count_runs).flatten();
    // Before any thread is started: it holds for this one and those that come later.
    let sandbox = sandbox::enter(&settings)?;
    let mut server = listening.map(|listening| listening.start(origin)).transpose().map_err(other)?;
    let publisher = server.as_ref().map_or_else(Publisher::silent, |server| server.publisher.clone());
    publisher.sandbox(sandbox.clone());
    let state = format!("tier {}; {}", sensor.tier.name(), sandbox.line());
    stream.origin_mut().pods = pods_of_this_node()?;
    stream.origin_mut().tier = sensor.tier;
    publisher.origin(stream.origin());
    let readiness = sensor.ring.readiness()?;
    let recorder = Recorder::open(settings.store.as_ref(), stream.origin())?;
    if let Some(writer) = recorder.writer() {
        publisher.recorded_by(writer);
    }
    let stored = settings.store.as_ref().map(|store| &store.directory);
    let mut sinks =
        delivering::Sinks::start(settings.sinks.as_ref(), stored, &publisher, sensor.tier).map_err(other)?;
    let mut pipeline = Pipeline::new(
        sensor,
        judge,
        expectations,
        stream,
        publisher.clone(),
        recorder,
        histories::Histories::open(stored),
        settings.host_secrets,
    )?;
    if counting.is_some() {
        pipeline.count_runs();
    }
    pipeline.watch_roots(&settings.roots)?;
    pipeline.publish_living();
    publisher.ready();
    ready();
    Manager::ready(&state);
    let mut manager = Manager::of_this_process();

    let places = pipeline.watch_places();
    let mut look = steady(LOOK_EVERY);
    let mut tick = steady(TICK_EVERY);
    let mut relief = steady(RELIEF_EVERY);
    let mut scan = steady(SCAN_EVERY);
    let mut end = None;
    let stream_error = loop {
        tokio::select! {
            () = readiness.wait() => {}
            _ = look.tick() => {}
            _ = tick.tick() => pipeline.tick(end.is_some()),
            _ = relief.tick() => pipeline.flush_relief(false),
            _ = scan.tick() => pipeline.rescan(),
            () = changes(places.as_ref()) => pipeline.places_changed(),
            order = next_order(&mut server) => pipeline.order(order),
            changed = phase.changed() => match changed {
                Err(_) => break None,
                Ok(()) => match phase.borrow_and_update().clone() {
                    Phase::Running => {}
                    Phase::Reload(_) => {
                        Manager::reloading();
                        pipeline.reload_expectations();
                        sinks.reload(settings.service.configuration.as_deref(), stored);
                        Manager::ready(&state);
                    }
                    Phase::CommandEnded(reason) => end = Some(reason),
                    Phase::Stop(reason) => {
                        end = Some(reason);
                        break None;
                    }
                },
            },
        }
        pipeline.drain();
        publisher.turn();
        manager.turned();
        if let Some(error) = pipeline.stream_error() {
            break Some(error);
        }
        if end.is_some() && pipeline.lineages_ended() {
            break None;
        }
    };
    Manager::stopping("ending");
    let (summary, late_error) = pipeline.finish(end.unwrap_or_else(|| "ended".to_owned()));
    sinks.stop();
    Ok(Report { summary, stream_error: stream_error.or(late_error) })
}

/// An error that the caller can do nothing particular about.
fn other(error: impl std::error::Error + Send + Sync + 'static) -> DaemonError {
    DaemonError::Other(Box::new(error))
}

/// What the sensor is asked for.
fn sensor_options(settings: &Settings) -> sensor::Options {
    sensor::Options {
        tier: settings.tier,
        relief: settings.relief,
        ring_bytes: settings.ring_bytes,
        diagnostics: settings.diagnostics,
        bystanders: settings.host_secrets,
    }
}

/// Something changed where secrets lie; never, when that cannot be watched.
async fn changes(places: Option<&places::Changes>) {
    match places {
        Some(places) => places.wait().await,
        None => std::future::pending().await,
    }
}

/// The pods that events are named by; none outside of a cluster.
fn pods_of_this_node() -> Result<Pods, DaemonError> {
    let Some(cluster) = Cluster::of_this_pod() else { return Ok(Pods::default()) };
    Pods::watch(cluster, |line| eprintln!("mcp-monitor: {line}")).map_err(other)
}

/// What an operator wants; never, when nobody is served.
async fn next_order(server: &mut Option<Server>) -> Order {
    match server {
        Some(server) => server.orders.next().await,
        None => std::future::pending().await,
    }
}

/// A clock that skips what it missed: late is late.
fn steady(period: Duration) -> tokio::time::Interval {
    let mut clock = interval(period);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}
