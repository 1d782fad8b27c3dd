//! What is compared: each a state of this host, and a worker in it.

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::Result;

use crate::{
    Setup, alone,
    audit::{self, Audit},
    bpf::Empty,
    bpftrace::Bpftrace,
    monitor::{self, Idle, Talk},
    worker::Worker,
};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// Nothing attached.
    Nothing,
    /// A program that returns 0 at the exit of every system call.
    Empty,
    /// The monitor watches, but not the worker.
    Untracked,
    /// It watches the worker and sends every open.
    Tracked,
    /// It watches the worker and counts repeated opens.
    Relieved,
    /// auditd has equivalent rules, which do not match the worker.
    AuditOther,
    /// They match it.
    AuditMine,
    /// bpftrace is on the same hook and filters the worker out.
    BpftraceOther,
    /// It prints what the worker does.
    BpftraceMine,
}

/// All of them, in the table's order; the first is what the others are compared with.
pub(crate) const ALL: &[Subject] = &[
    Subject::Nothing,
    Subject::Empty,
    Subject::Untracked,
    Subject::Tracked,
    Subject::Relieved,
    Subject::AuditOther,
    Subject::AuditMine,
    Subject::BpftraceOther,
    Subject::BpftraceMine,
];

impl Subject {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Nothing => "no monitor",
            Self::Empty => "empty program",
            Self::Untracked => "untracked",
            Self::Tracked => "tracked, relief off",
            Self::Relieved => "tracked, relief on",
            Self::AuditOther => "auditd, no match",
            Self::AuditMine => "auditd, match",
            Self::BpftraceOther => "bpftrace, no match",
            Self::BpftraceMine => "bpftrace, match",
        }
    }

    /// Programs that it attaches to the exit of system calls, where that can be told.
    fn on_syscall_exit(self, setup: &Setup) -> usize {
        let monitor = usize::from(setup.tier == "tracepoint");
        match self {
            Self::Empty => 1,
            Self::Untracked | Self::Tracked | Self::Relieved => monitor,
            _ => 0,
        }
    }

    /// Brings this host into that state, does `act` with a worker in it, and takes it all back. Also gives how many
    /// records were lost meanwhile, and whether nobody else was seen to measure.
    pub(crate) fn with<T>(
        self,
        setup: &Setup,
        mut act: impl FnMut(&mut Worker) -> Result<T>,
    ) -> Result<(T, u64, bool)> {
        let scratch = setup.scratch();
        let ours = self.on_syscall_exit(setup);
        alone::wait(0);
        let mut measured = |mut worker: Worker| {
            let result = act(&mut worker)?;
            let alone = alone::is(ours);
            worker.end()?;
            anyhow::Ok((result, alone))
        };
        let mut lost = 0;
        let (result, alone) = match self {
            Self::Nothing => measured(Worker::plain(scratch)?)?,
            Self::Empty => {
                let _empty = Empty::on_syscall_exit()?;
                measured(Worker::plain(scratch)?)?
            }
            Self::Untracked => {
                let _idle = Idle::start(setup)?;
                measured(Worker::plain(scratch)?)?
            }
            Self::Tracked | Self::Relieved => {
                let talk = Talk::new()?;
                let mut watch = monitor::watch(setup, self == Self::Relieved, Path::new("/dev/null"));
                watch.args(Worker::words(scratch)?).stderr(talk.end_of_monitor()?);
                let worker = Worker::start(&mut watch)?;
                drop(watch);
                let result = measured(worker)?;
                lost = talk.summary()?.lost;
                result
            }
            Self::AuditOther | Self::AuditMine => {
                let _audit = Audit::start(scratch)?;
                let [program, words @ ..] = Worker::words(scratch)?;
                let mut command = Command::new(program);
                command.args(words);
                if self == Self::AuditMine {
                    command.gid(audit::GROUP);
                }
                measured(Worker::start(&mut command)?)?
            }
            Self::BpftraceOther | Self::BpftraceMine => {
                let worker = Worker::plain(scratch)?;
                // No process has pid 4194304: it is the bound of pid_max.
                let pid = if self == Self::BpftraceMine { worker.pid() } else { 4_194_304 };
                let _bpftrace = Bpftrace::start(pid)?;
                measured(worker)?
            }
        };
        Ok((result, lost, alone))
    }
}
