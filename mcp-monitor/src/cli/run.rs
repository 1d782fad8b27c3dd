//! `mcp-monitor run`: the monitor in the foreground, watching every agent and MCP server of the host, or the processes
//! and cgroups that are named.

use super::{
    arguments::{MonitorOptions, StreamOptions},
    exit_code::Exit,
    finish,
    lock::Lock,
    preconditions,
    recording::RecordingOptions,
    serve::ServeOptions,
    signals::{Signals, Wish},
};
use crate::{
    daemon::{self, ExpectationSource, Phase, Roots, Settings},
    expectation::file::DEFAULT_DIRECTORY,
    export::Config,
    service::{self, Manager},
};
use clap::Args;
use std::path::PathBuf;
use tokio::sync::watch;

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    monitor: MonitorOptions,
    #[command(flatten)]
    stream: StreamOptions,
    #[command(flatten)]
    serve: ServeOptions,
    #[command(flatten)]
    recording: RecordingOptions,
    /// Record nothing.
    #[arg(long, conflicts_with = "store", help_heading = "Recording")]
    no_store: bool,
    /// Deliver findings and events to the sinks of this configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "no_store")]
    config: Option<PathBuf>,
    /// Watch this process and its descendants, those that run already included. May be given several times.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,
    /// Keep all privileges after the start, and restrict neither files nor system calls.
    #[arg(long, help_heading = "Service")]
    no_sandbox: bool,
    /// The directory of expectations; read again when a file of it changes.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY, help_heading = "Expectations")]
    expectations: PathBuf,
    /// Watch what runs in this cgroup (a directory below /sys/fs/cgroup), and its descendants.
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<PathBuf>,
}

impl Run {
    /// Runs until a signal.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        if let Some(exit) = preconditions("run") {
            return Ok(exit);
        }
        let served = match self.serve.settings() {
            Ok(served) => served,
            Err(error) => {
                told(&error);
                return Ok(Exit::Usage);
            }
        };
        let sinks = match self.config.as_deref().map(Config::read).transpose() {
            Ok(sinks) => sinks,
            Err(error) => {
                told(&error);
                return Ok(Exit::Usage);
            }
        };
        let _lock = match Lock::take() {
            Ok(lock) => lock,
            Err(error) => {
                told(&error);
                return Ok(Exit::from(&error));
            }
        };
        let mut stream = self.stream.open()?;
        Manager::says("loading kernel programs");
        // Nothing named means everything that is found.
        let host = self.pid.is_empty() && self.cgroup.is_empty();
        if host {
            super::say(&"watching every agent and MCP server of this host. Ctrl-C ends");
        }
        let roots = Roots { host, pids: self.pid.clone(), cgroups: self.cgroup.clone(), ..Roots::default() };
        let store = (!self.no_store).then(|| self.recording.always());
        let settings = Settings {
            control: Some(served),
            store,
            sinks,
            expectations: Some(ExpectationSource::Directory(self.expectations.clone())),
            service: service::Settings { sandbox: !self.no_sandbox, configuration: self.config.clone() },
            ..self.monitor.settings(roots)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(async {
            let mut signals = Signals::new()?;
            let (phase, phases) = watch::channel(Phase::Running);
            let ends = async {
                let mut reloads = 0;
                let reason = loop {
                    match signals.next().await {
                        Wish::Interrupt => break "interrupted",
                        Wish::End => break "ended by a signal",
                        Wish::Reload => {
                            reloads += 1;
                            let _ = phase.send(Phase::Reload(reloads));
                        }
                    }
                };
                let _ = phase.send(Phase::Stop(reason.into()));
                std::future::pending::<()>().await;
            };
            anyhow::Ok(tokio::select! {
                result = daemon::run(settings, &mut stream, || {}, phases) => Some(result),
                () = ends => None,
            })
        })?;
        Ok(match result {
            Some(Ok(report)) => finish(&stream, &report, &self.stream.fail_on).unwrap_or(Exit::Ok),
            Some(Err(error)) => {
                told(&error);
                Exit::from(&error)
            }
            None => Exit::Ok,
        })
    }
}

/// Why there is no monitor: in the journal or on the terminal, and in `systemctl status`.
fn told(error: &dyn std::fmt::Display) {
    super::say(error);
    Manager::says(&error.to_string());
}
