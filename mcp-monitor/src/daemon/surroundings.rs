//! What the judge is told of the host around the workloads: who listens, and what the hosts file says. Looked at on a
//! thread of its own, so that a slow `/proc` delays no event.

use std::{sync::mpsc, thread, time::Duration};

use crate::{
    event::ProcessId,
    expectation::{ForeignListener, Judge},
    host::listeners,
};

/// How long the first look may take before the watch begins without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What one look found.
struct Seen {
    listeners: Vec<ForeignListener>,
    hosts: String,
}

/// The look that is under way.
#[derive(Default)]
pub(super) struct Surroundings(Option<mpsc::Receiver<Seen>>);

impl Surroundings {
    /// Looks around before anything is watched.
    pub(super) fn first(judge: &mut Judge) {
        if let Some(receiver) = start(judge)
            && let Ok(seen) = receiver.recv_timeout(PATIENCE)
        {
            take(judge, seen);
        }
    }

    /// Starts a look unless one is under way.
    pub(super) fn look(&mut self, judge: &Judge) {
        if self.0.is_none() {
            self.0 = start(judge);
        }
    }

    /// Takes over what a finished look found.
    pub(super) fn poll(&mut self, judge: &mut Judge) {
        let Some(receiver) = &self.0 else { return };
        match receiver.try_recv() {
            Ok(seen) => {
                take(judge, seen);
                self.0 = None;
            }
            Err(mpsc::TryRecvError::Disconnected) => self.0 = None,
            Err(mpsc::TryRecvError::Empty) => {}
        }
    }
}

fn start(judge: &Judge) -> Option<mpsc::Receiver<Seen>> {
    let viewers: Vec<ProcessId> = judge.viewers().collect();
    let (sender, receiver) = mpsc::sync_channel(1);
    let look = move || {
        let listeners = listeners::look(&viewers).into_iter().map(|listener| ForeignListener {
            net_namespace: listener.net_namespace,
            port: listener.port,
            process: listener.process,
            executable: listener.executable,
        });
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        // Nobody waits any more when that fails.
        let _ = sender.send(Seen { listeners: listeners.collect(), hosts });
    };
    thread::Builder::new().name("surroundings".to_owned()).spawn(look).ok()?;
    Some(receiver)
}

fn take(judge: &mut Judge, seen: Seen) {
    judge.take_listeners(seen.listeners);
    judge.take_hosts(&seen.hosts);
}
