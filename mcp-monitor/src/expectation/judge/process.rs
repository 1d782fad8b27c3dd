//! Rulings on processes: hidden programs, reaching into others, and what could not be seen.

use super::{Case, Judge, Ruling, plain};
use crate::{
    event::{CoverageNote, ExecObject, FileObject, Outcome, Rule, SnoopObject, SnoopWay, Verdict},
    expectation::{lineage::Phase, places::OddPlace, secrets::MatchedBy},
};
use mcp_monitor_common::loss::LossCause;

impl Judge {
    pub(super) fn judge_exec(&self, case: &Case, exec: &ExecObject) -> Ruling {
        let event = case.event;
        if let Some(what) = self.without_a_file(case, &exec.executable) {
            return Ruling::broken(Rule::HiddenExec, Verdict::Forbidden, "default", what)
                .tried(event.outcome);
        }
        let rulings =
            [Self::judge_disguise, Self::judge_becoming_root, Self::judge_command, Self::judge_undeclared];
        let mut recorded = None;
        for ruling in rulings.iter().filter_map(|rule| rule(self, case, exec)) {
            if ruling.rule.is_some() {
                return ruling;
            }
            recorded.get_or_insert(ruling);
        }
        for (file, what) in [(Some(&exec.executable), "program"), (exec.script.as_ref(), "script")] {
            let Some(file) = file else { continue };
            let path = plain(&file.path, event);
            if let Some(secret) =
                self.secrets.match_file(file, &path).filter(|secret| secret.by != MatchedBy::Directory)
                && let Some(entry) = self.secrets.catalogue().entry(secret.entry)
                && !case.agent
            {
                let source = format!("catalogue:{}", entry.id);
                let what = format!("ran a secret as {what}: {}", entry.title);
                return Ruling::broken(Rule::SecretRead, Verdict::Forbidden, source, what)
                    .tried(event.outcome);
            }
            // A script's name as an argument gives it may be anything; its open tells more.
            if case.agent || file.path.unresolved || case.scope.is_own(&path) {
                continue;
            }
            let place = match self.places.odd_place(&path, self.secrets.homes()) {
                Some(OddPlace::Temporary) => "a directory for temporary files",
                Some(OddPlace::Hidden) => "a hidden directory",
                None => continue,
            };
            let what = format!("ran a {what} in {place}");
            return Ruling::broken(Rule::HiddenExec, Verdict::Unexpected, "default", what)
                .tried(event.outcome);
        }
        recorded.unwrap_or_else(|| Ruling::unjudged("no rule is broken"))
    }

    /// Rules on a program that a declaration or the nature of what started it does not name.
    fn judge_undeclared(&self, case: &Case, exec: &ExecObject) -> Option<Ruling> {
        if case.image.begins || case.image.phase != Phase::Serve {
            return None;
        }
        let file = exec.script.as_ref().filter(|script| !script.path.unresolved).unwrap_or(&exec.executable);
        let path = plain(&file.path, case.event);
        let homes = self.secrets.homes();
        let said: Vec<_> =
            self.allowed(case).filter_map(|allowed| Some((allowed, allowed.runs(&path, homes)?))).collect();
        if let Some((refusing, _)) = said.first() {
            if let Some((allowed, _)) = said.iter().find(|(_, runs)| *runs) {
                return Some(if super::is_certain(&file.path) {
                    Ruling::expected(allowed.source.clone(), "a declared program")
                } else {
                    Ruling::unjudged("the path is not certain")
                });
            }
            let what = "ran a program that is not declared";
            let ruling =
                Ruling::broken(Rule::UnexpectedExec, Verdict::Unexpected, refusing.source.clone(), what);
            return Some(ruling.tried(case.event.outcome));
        }
        let (source, why) = self.profiles.refuses_exec(&case.image.starters, &path, homes)?;
        let what = format!("was started by a program that {why}");
        let ruling = Ruling::broken(Rule::UnexpectedExec, Verdict::Unexpected, source.to_owned(), what);
        (!case.agent).then(|| ruling.tried(case.event.outcome))
    }

    /// In words why a program has no file, unless a container runtime protects itself that way.
    fn without_a_file(&self, case: &Case, executable: &FileObject) -> Option<&'static str> {
        let path = executable.path.bytes.as_slice();
        let name = path.strip_prefix(b"/").unwrap_or(path);
        if name.starts_with(b"memfd:") {
            // Only agents have reason to start containers; the name is the process's own choice.
            let known = case.agent && self.places.is_known_memory_file(name);
            return (!known).then_some("ran a program that lies in memory only");
        }
        // A mode of 0 means that the mechanism did not tell the number of links either.
        let deleted = executable.path.deleted || executable.links == 0 && executable.mode != 0;
        deleted.then_some("ran a program whose file was removed")
    }

    pub(super) fn judge_snoop(&self, case: &Case, snoop: &SnoopObject) -> Ruling {
        let event = case.event;
        let key = event.process.key;
        if self.monitor.is_process(snoop.target) && snoop.target != key.pid {
            let what = "reached into the monitor's own process";
            return Ruling::broken(Rule::MonitorTamper, Verdict::Forbidden, "monitor", what)
                .tried(event.outcome);
        }
        if snoop.target == key.pid || self.lineage.descends(snoop.target, key) {
            return Ruling::expected("default", "its own process, or one that it started");
        }
        if snoop.target.0 == 0 && snoop.way == SnoopWay::PidfdGetfd {
            // The weakest tier does not know whose it was; what came out of it is judged as a file that came in.
            return Ruling {
                verdict: Verdict::Unexpected,
                ..Ruling::unjudged("took a descriptor out of a process that could not be told")
            };
        }
        let whose = match self.lineage.instance_of(snoop.target) {
            Some(instance) if instance == event.workload.instance => {
                "a process of its own workload that it did not start"
            }
            Some(_) => "a process of another workload",
            None => "a process outside the workload",
        };
        let shown = match &snoop.target_executable {
            Some(executable) => format!("{} ({})", executable.escaped(), snoop.target.0),
            None => snoop.target.0.to_string(),
        };
        let what = format!("reached into {whose}: {shown}");
        let ruling = Ruling::broken(Rule::ProcessSnoop, Verdict::Forbidden, "default", what);
        if event.outcome == Outcome::Started {
            Ruling { rule: None, ..ruling }
        } else {
            ruling.tried(event.outcome)
        }
    }
}

pub(super) fn judge_coverage(note: &CoverageNote) -> Ruling {
    let Some(cause) = LossCause::ALL.into_iter().find(|cause| cause.name() == note.cause) else {
        return Ruling::unjudged("a limit of what can be seen");
    };
    let what = format!("{} ({} lost, {})", note.what, note.count, note.cause);
    let rule = if cause == LossCause::LineageInsert { Rule::LineageEscape } else { Rule::CoverageLoss };
    Ruling::broken(rule, Verdict::Unexpected, "default", what)
}
