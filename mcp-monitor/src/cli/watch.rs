//! `mcp-monitor watch -- COMMAND…`: runs COMMAND and watches it and all its descendants.

use super::{
    arguments::{MonitorOptions, StreamOptions},
    exit_code::Exit,
    finish,
    identity::run_as,
    lock::Lock,
    preconditions,
    recording::RecordingOptions,
    serve::ServeOptions,
    signals::{Signals, Wish, is_foreground},
    spawn::{Ended, Handle, SpawnError, hold},
};
use crate::{
    daemon::{self, ExpectationSource, Phase, Roots, Settings},
    event::WorkloadKind,
};
use clap::Args;
use nix::sys::signal::Signal;
use std::{ffi::OsString, os::unix::process::ExitStatusExt, path::PathBuf, process::ExitStatus};
use tokio::sync::watch;

/// Options of `watch`.
#[derive(Clone, Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    monitor: MonitorOptions,
    #[command(flatten)]
    stream: StreamOptions,
    #[command(flatten)]
    serve: ServeOptions,
    #[command(flatten)]
    recording: RecordingOptions,
    /// Run COMMAND as root. Otherwise it runs as the user who called sudo.
    #[arg(long)]
    as_root: bool,
    /// Judge COMMAND as this: a server by what it is expected to do, an agent by what comes of what it does.
    #[arg(long = "as", value_name = "KIND", default_value = "server")]
    kind: Kind,
    /// What COMMAND is expected to do; read again when it changes. See `mcp-monitor expect`.
    #[arg(long, value_name = "FILE", help_heading = "Expectations")]
    expect: Option<PathBuf>,
    /// What to run, with its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What a command is taken for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// An MCP server.
    Server,
    /// An agent runner: shells, compilers and named hosts are its daily work.
    Agent,
}

impl From<Kind> for WorkloadKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Agent => Self::Agent,
        }
    }
}

impl Watch {
    /// Runs to the end.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        if let Some(exit) = preconditions("watch") {
            return Ok(exit);
        }
        let served = match self.serve.settings() {
            Ok(served) => served,
            Err(error) => {
                super::say(&error);
                return Ok(Exit::Usage);
            }
        };
        let run_as = match run_as(self.as_root) {
            Ok(run_as) => run_as,
            Err(error) => {
                super::say(&error);
                return Ok(Exit::Usage);
            }
        };
        let _lock = match Lock::take() {
            Ok(lock) => lock,
            Err(error) => {
                super::say(&error);
                return Ok(Exit::from(&error));
            }
        };
        let mut stream = self.stream.open()?;
        // Forked before there are other threads or kernel objects whose descriptors it could carry.
        let held = match hold(&self.command, &run_as) {
            Ok(held) => held,
            Err(error) => {
                super::say(&error);
                return Ok(Exit::from(&error));
            }
        };
        let homes = run_as.home().into_iter().collect();
        let roots = Roots {
            command: Some((held.pid, self.command.clone())),
            kind: self.kind.into(),
            homes,
            ..Roots::default()
        };
        let store = self.recording.when_asked();
        let settings = Settings {
            control: Some(served),
            store,
            expectations: self.expect.clone().map(ExpectationSource::File),
            ..self.monitor.settings(roots)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (report, ended) = runtime.block_on(async {
            let signals = Signals::new()?;
            let (phase, phases) = watch::channel(Phase::Running);
            let gate = held.gate;
            let watched = async {
                let result = daemon::run(settings, &mut stream, move || gate.release(), phases).await;
                if let Ok(report) = &result
                    && let Some(error) = &report.stream_error
                {
                    super::say(&format_args!("{error}; COMMAND goes on unwatched"));
                }
                result
            };
            let supervised = supervise(held.ended, &held.handle, signals, phase);
            // The watch outlives COMMAND while descendants run; COMMAND outlives a watch whose output failed.
            anyhow::Ok(tokio::join!(watched, supervised))
        })?;
        Ok(match (report, ended) {
            (Err(error), _) => {
                super::say(&error);
                Exit::from(&error)
            }
            (Ok(report), Err(error)) => {
                finish(&stream, &report, &self.stream.fail_on);
                super::say(&error);
                Exit::from(&error)
            }
            (Ok(report), Ok(status)) => {
                finish(&stream, &report, &self.stream.fail_on).unwrap_or(Exit::of_command(status))
            }
        })
    }
}

/// Waits for COMMAND to end and passes signals on to it: what the terminal sends reaches it by itself, a second
/// Ctrl-C asks it to end, a third one ends it. After its end any signal ends the watch.
pub(super) async fn supervise(
    mut ended: Ended,
    handle: &Handle,
    mut signals: Signals,
    phase: watch::Sender<Phase>,
) -> Result<ExitStatus, SpawnError> {
    let mut interrupts = 0;
    let result = loop {
        tokio::select! {
            result = &mut ended => break result.unwrap_or_else(|_| Err(SpawnError::Cancelled("COMMAND".into()))),
            wish = signals.next() => match wish {
                Wish::End | Wish::Reload => handle.send(Signal::SIGTERM),
                Wish::Interrupt => {
                    interrupts += 1;
                    match interrupts {
                        1 if is_foreground() => {}
                        1 => handle.send(Signal::SIGINT),
                        2 => handle.send(Signal::SIGTERM),
                        _ => handle.send(Signal::SIGKILL),
                    }
                }
            },
        }
    };
    let reason = match &result {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("command ended with status {code}"),
            (None, Some(signal)) => format!("command ended by signal {signal}"),
            (None, None) => "command ended".into(),
        },
        Err(error) => error.to_string(),
    };
    // Nobody receives when the watch is over already.
    let _ = phase.send(Phase::CommandEnded(reason.clone()));
    tokio::select! {
        () = phase.closed() => {}
        _ = signals.next() => {
            let _ = phase.send(Phase::Stop(format!("{reason}, interrupted while descendants ran")));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{identity::RunAs, spawn::hold};
    use nix::sys::signal::raise;

    #[test]
    fn a_signal_goes_on_to_the_command_and_its_end_is_told() {
        let words = ["sleep", "60"].map(OsString::from);
        let held = hold(&words, &RunAs::Unchanged).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let signals = Signals::new().unwrap();
            let (phase, mut phases) = watch::channel(Phase::Running);
            held.gate.release();
            let daemon = async move {
                raise(Signal::SIGTERM).unwrap();
                phases.changed().await.unwrap();
                phases.borrow().clone()
            };
            let (told, result) = tokio::join!(daemon, supervise(held.ended, &held.handle, signals, phase));
            assert_eq!(told, Phase::CommandEnded("command ended by signal 15".into()));
            assert_eq!(result.unwrap().signal(), Some(15));
        });
    }
}
