//! Rulings on what a program was called with, called itself, or became.

use super::{Case, Judge, Ruling, plain};
use crate::{
    event::{Action, ExecObject, FileObject, Outcome, Rule, Verdict},
    expectation::{
        commands::{AgentsCommand, Below, Command},
        disguise::Setuid,
        program::Installs,
    },
};

/// `S_ISUID` and `S_ISGID`.
const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;

impl Judge {
    /// Rules on a program by what it was called with; `None` when nothing is known about that.
    pub(super) fn judge_command(&self, case: &Case, exec: &ExecObject) -> Option<Ruling> {
        let mut recorded = None;
        for command in self.commands.find(exec) {
            if !counts_here(case, command) {
                continue;
            }
            let what = format!("ran {}", command.title);
            let lenient = case.agent && case.image.below_installer != Some(Installs::Packages);
            if lenient && command.agents == AgentsCommand::Recorded {
                recorded = Some(Ruling::unjudged(format!("{what}; agents do that all day")));
                continue;
            }
            let verdict = match command.rule {
                Rule::MonitorTamper | Rule::EncodedExec => Verdict::Forbidden,
                _ => Verdict::Unexpected,
            };
            let what = match case.image.below_installer {
                Some(Installs::Packages) => format!("{what}, below the installation of a package"),
                _ => what,
            };
            return Some(
                Ruling::broken(command.rule, verdict, command.source(lenient), what)
                    .tried(case.event.outcome),
            );
        }
        if self.signals_monitor(exec) {
            let what = "ran a command that signals the monitor";
            return Some(
                Ruling::broken(Rule::MonitorTamper, Verdict::Forbidden, "monitor", what)
                    .tried(case.event.outcome),
            );
        }
        recorded
    }

    /// `kill` with the monitor's own process id.
    fn signals_monitor(&self, exec: &ExecObject) -> bool {
        let name = crate::expectation::commands::last_name(exec.executable.path.bytes.as_slice());
        let Some(monitor) = self.monitor.process.filter(|_| name == b"kill") else { return false };
        let number = monitor.0.to_string();
        exec.arguments.iter().skip(1).any(|argument| argument.as_slice() == number.as_bytes())
    }

    /// Rules on a name that a program took to be overlooked.
    pub(super) fn judge_disguise(&self, case: &Case, exec: &ExecObject) -> Option<Ruling> {
        let pretence = self.disguises.pretence(exec)?;
        let what = format!("ran {pretence}, which it is not");
        let ruling = Ruling::broken(Rule::Masquerade, Verdict::Forbidden, "masquerade", what);
        Some(ruling.tried(case.event.outcome))
    }

    /// Rules on a program by which a process became root.
    pub(super) fn judge_becoming_root(&self, case: &Case, exec: &ExecObject) -> Option<Ruling> {
        let image = &case.image;
        if image.euid != 0 || image.euid_before.is_none_or(|before| before == 0) {
            return None;
        }
        let path = plain(&exec.executable.path, case.event);
        let what = match (self.disguises.setuid(&path), case.agent) {
            (Setuid::Harmless, _) | (Setuid::Known, true) => return None,
            (Setuid::Known, false) => "became root by a program that is made for that",
            (Setuid::Unknown, _) => "became root by a program that nobody knows for that",
        };
        let ruling = Ruling::broken(Rule::PrivilegeChange, Verdict::Unexpected, "privilege:root", what);
        Some(ruling.tried(case.event.outcome))
    }

    /// Rules on a program that is given its owner's rights for whoever runs it.
    pub(super) fn judge_mode(case: &Case, file: &FileObject) -> Option<Ruling> {
        const TYPE: u32 = 0o170_000;
        const REGULAR: u32 = 0o100_000;
        let is_program = file.mode & TYPE == REGULAR || file.mode == 0;
        let gives = file.flags & SET_USER != 0
            || file.flags & SET_GROUP != 0 && file.flags & 0o111 != 0 && file.mode != 0;
        let installs = case.agent && case.image.installing == Some(Installs::System);
        if !matches!(case.event.action, Action::Chmod(_)) || !is_program || !gives || installs {
            return None;
        }
        if case.event.outcome == Outcome::Started {
            return None;
        }
        let what = "made a file run with its owner's rights for whoever starts it (setuid or setgid)";
        let ruling = Ruling::broken(Rule::PrivilegeChange, Verdict::Unexpected, "privilege:setuid", what);
        Some(ruling.tried(case.event.outcome))
    }
}

fn counts_here(case: &Case, command: &Command) -> bool {
    match command.below {
        None => true,
        Some(Below::Install) => {
            case.image.below_installer == Some(Installs::Packages) || !case.agent && !case.image.begins
        }
    }
}
