//! What an expectation makes of a ruling: it may allow what is unexpected, find what no rule speaks of, and say in which
//! mode. What the catalogue forbids it allows by name only; what is never learnt stays found.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{
    check::{Mode, Section},
    compile::{Compiled, Said},
    destination::Protocol,
};
use crate::{
    event::{Bytes, NameConfidence, Rule, Verdict},
    expectation::{catalogue::EntryIndex, glob::Homes},
};

/// Something an instance did, as far as an expectation may speak of it.
#[derive(Clone, Copy, Debug)]
pub enum Deed<'event> {
    /// Read a file or directory.
    Read(&'event [u8]),
    /// Changed what stands at these paths.
    Write(&'event [Vec<u8>]),
    /// Reached for a secret: its entry in the catalogue, and the path.
    Secret(EntryIndex, &'event [u8]),
    /// Ran a program or script.
    Exec(&'event [u8]),
    /// Went to an address.
    Egress(Egress<'event>),
    /// Went to a socket in the file system, or with `@` to an abstract one.
    Socket(&'event [u8]),
    /// Listens.
    Listen(IpAddr, u16, Option<Protocol>),
    /// Was connected to, from an address or over a socket in the file system.
    Accept(Option<IpAddr>),
}

/// Where something went.
#[derive(Clone, Copy, Debug)]
pub struct Egress<'event> {
    /// The address.
    pub address: IpAddr,
    /// The port; `None` when it says nothing.
    pub port: Option<u16>,
    /// The protocol, if it has ports.
    pub protocol: Option<Protocol>,
    /// Every name that the address may have been reached by.
    pub names: &'event [Bytes],
    /// How sure those are.
    pub confidence: NameConfidence,
}

impl Deed<'_> {
    /// The section that speaks of it.
    #[must_use]
    pub fn section(&self) -> Section {
        match self {
            Self::Read(_) => Section::Read,
            Self::Write(_) => Section::Write,
            Self::Secret(..) => Section::Secrets,
            Self::Exec(_) => Section::Exec,
            Self::Egress(_) => Section::Egress,
            Self::Socket(_) => Section::Unix,
            Self::Listen(..) => Section::Listen,
            Self::Accept(_) => Section::Clients,
        }
    }

    /// The rule that is broken by what a section does not name, and what to say.
    fn broken(&self) -> Option<(Rule, &'static str)> {
        Some(match self {
            Self::Read(_) => (Rule::UnexpectedRead, "read what is not expected of it"),
            Self::Write(_) => (Rule::UnexpectedWrite, "changed what is not expected of it"),
            Self::Exec(_) => (Rule::UnexpectedExec, "ran a program that is not expected of it"),
            Self::Egress(_) => (Rule::UnknownEgress, "went where it is not expected to go"),
            Self::Socket(_) => (Rule::UnknownEgress, "went to a socket that is not expected"),
            Self::Accept(_) => (Rule::UnexpectedClient, "was connected to by somebody who is not expected"),
            Self::Secret(..) | Self::Listen(..) => return None,
        })
    }
}

/// What was ruled without the expectation.
#[derive(Clone, Copy, Debug)]
pub struct Base<'event> {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule.
    pub rule: Option<Rule>,
    /// The source of the decision.
    pub source: &'event str,
}

/// What the expectation makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewed {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule.
    pub rule: Option<Rule>,
    /// The deciding line; `None` when the mode alone decided.
    pub line: Option<u32>,
    /// In words; `None` leaves the words of the ruling.
    pub reason: Option<String>,
}

/// Never learnt: it is wrong whoever does it.
fn is_never_learnt(rule: Rule, source: &str) -> bool {
    match rule {
        Rule::UnknownEgress => source.starts_with("destination:"),
        Rule::UnexpectedWrite => source.starts_with("system:"),
        Rule::UnexpectedExec | Rule::UnexpectedRead | Rule::UnexpectedClient | Rule::ExposedListener => false,
        _ => true,
    }
}

impl Compiled {
    /// What this expectation makes of a deed; `None` when the ruling stands as it is.
    pub fn review(
        &self,
        deed: &Deed,
        base: Base,
        now: impl Fn() -> Timestamp,
        homes: &Homes,
    ) -> Option<Reviewed> {
        let section = deed.section();
        let said = self.say(deed, base, homes);
        let reviewed = match said {
            Said::Allowed(line) if self.holds(now) => {
                return Some(Reviewed {
                    verdict: Verdict::Expected,
                    rule: None,
                    line: Some(line),
                    reason: Some(format!("named under {}", section.name())),
                });
            }
            // Outside its times an expectation allows nothing.
            Said::Allowed(line) | Said::Refused(line) if base.verdict == Verdict::Unjudged => {
                deed.broken().map(|(rule, what)| {
                    let why = if matches!(said, Said::Allowed(_)) { "; not at this time" } else { "" };
                    Reviewed {
                        verdict: Verdict::Unexpected,
                        rule: Some(rule),
                        line: Some(line),
                        reason: Some(format!("{what}: not under {}{why}", section.name())),
                    }
                })
            }
            // A socket that nobody is known to listen on is a finding only where sockets are listed.
            Said::Refused(line) if base.verdict == Verdict::Unexpected && base.rule.is_none() => {
                let named = matches!(deed, Deed::Socket(_)).then_some(Rule::UnknownEgress);
                Some(Reviewed { verdict: base.verdict, rule: named, line: Some(line), reason: None })
            }
            Said::Refused(line) if base.verdict == Verdict::Unexpected && base.source == "default" => {
                Some(Reviewed { verdict: base.verdict, rule: base.rule, line: Some(line), reason: None })
            }
            _ => None,
        };
        self.in_mode(section, base, reviewed)
    }

    /// What the mode makes of it when no section speaks of what was done.
    #[must_use]
    pub fn in_mode(&self, section: Section, base: Base, reviewed: Option<Reviewed>) -> Option<Reviewed> {
        let mode = self.expectation.mode_of(section);
        let rule = reviewed.as_ref().map_or(base.rule, |reviewed| reviewed.rule);
        let rule = rule.filter(|_| mode != Mode::Alert);
        let Some(rule) = rule else { return reviewed };
        let line = reviewed.as_ref().and_then(|reviewed| reviewed.line);
        let verdict = reviewed.as_ref().map_or(base.verdict, |reviewed| reviewed.verdict);
        match mode {
            Mode::Learn if !is_never_learnt(rule, base.source) => Some(Reviewed {
                verdict: Verdict::Unjudged,
                rule: None,
                line,
                reason: Some(format!("{} is being learnt", section.name())),
            }),
            Mode::Observe if !matches!(rule, Rule::MonitorTamper | Rule::CoverageLoss) => Some(Reviewed {
                verdict,
                rule: None,
                line,
                reason: Some(format!("{}; {} is only observed", rule.id(), section.name())),
            }),
            Mode::Learn | Mode::Observe | Mode::Alert => reviewed,
        }
    }

    fn say(&self, deed: &Deed, base: Base, homes: &Homes) -> Said {
        let by_name = |line: Option<u32>| line.map_or(Said::Nothing, Said::Allowed);
        match (*deed, base.rule) {
            (Deed::Secret(entry, path), _) => by_name(self.names_secret(entry, path, homes)),
            (Deed::Write(paths), Some(Rule::PersistenceWrite)) => {
                let lines: Option<Vec<u32>> =
                    paths.iter().map(|path| self.names_write(path, homes)).collect();
                by_name(lines.and_then(|lines| lines.first().copied()))
            }
            (Deed::Write(paths), _) => {
                let mut all = Said::Nothing;
                for path in paths {
                    match self.writes(path, homes) {
                        said @ (Said::Nothing | Said::Refused(_)) => return said,
                        said @ Said::Allowed(_) => all = said,
                    }
                }
                all
            }
            (Deed::Read(path), _) => self.reads(path, homes),
            (Deed::Exec(path), _) => self.runs(path, homes),
            (Deed::Socket(path), Some(Rule::LineageEscape)) => by_name(self.names_socket(path, homes)),
            (Deed::Socket(path), _) => self.sockets(path, homes),
            (Deed::Egress(egress), rule) => {
                let exact = rule == Some(Rule::MetadataEgress);
                match (self.goes(egress, exact), &self.expectation.egress) {
                    (Some(line), _) => Said::Allowed(line),
                    (None, Some(list)) if !exact => Said::Refused(list.line),
                    (None, _) => Said::Nothing,
                }
            }
            (Deed::Listen(address, port, protocol), _) => self.listens(address, port, protocol),
            (Deed::Accept(from), _) => self.accepts(from),
        }
    }

    fn goes(&self, egress: Egress, exact: bool) -> Option<u32> {
        let Egress { address, port, protocol, names, confidence } = egress;
        if let Some(line) = self.address(address, port, protocol, exact) {
            return Some(line);
        }
        if exact {
            return None;
        }
        let lines: Vec<Option<u32>> =
            names.iter().map(|name| self.name(name.as_slice(), port, protocol)).collect();
        let enough = match confidence {
            // The host's file gives an address several names that all mean the same machine.
            NameConfidence::Host => lines.iter().any(Option::is_some),
            NameConfidence::SharedAddress if lines.len() < 2 => false,
            NameConfidence::Unresolved => false,
            _ => !lines.is_empty() && lines.iter().all(Option::is_some),
        };
        lines.into_iter().flatten().next().filter(|_| enough)
    }
}
