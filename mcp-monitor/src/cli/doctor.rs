//! `mcp-monitor doctor`: what this host offers, which mechanism makes each observation, what is not seen, and
//! what repairs what is missing.

use super::{
    arguments::{ColourOption, FormatOption},
    exit_code::Exit,
    say,
};
use crate::{
    event::escape,
    host::{
        kernel::{self, Facts},
        kernel_checks::{Check, State, checks},
    },
    render::{
        Format,
        human::Look,
        stream::{Colour, Destination},
    },
    sensor::{
        self,
        trial::{ProgramState, ProgramTrial, Trial},
    },
};
use anstyle::{AnsiColor, Style};
use clap::Args;
use mcp_monitor_common::mechanism::{Attach, Observation, PROGRAMS, SYSCALL_EXIT, Tier, blind_spots};
use serde::Serialize;
use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

/// Schema of the JSON report.
const DOCTOR_SCHEMA: &str = "mcp-monitor/doctor/v1";

/// Options of `doctor`.
#[derive(Clone, Debug, Args)]
pub(super) struct Doctor {
    /// table on a terminal, json elsewhere, if not given.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<FormatOption>,
    /// Colour, for people.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColourOption,
}

impl Doctor {
    /// Looks, tries, reports.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let facts = Facts::read();
        let trial = kernel::missing_capabilities().is_empty().then(sensor::trial);
        let (trial, error) = match trial {
            Some(Ok(trial)) => (Some(trial), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let mut report = Report::new(&facts, trial.as_ref());
        report.error = error.as_ref().map(ToString::to_string);
        let destination = Destination::standard_output()?;
        let format = self.output.map_or_else(|| destination.natural_format(), Format::from);
        let text = match format {
            Format::Table => report.for_people(&destination.look(Colour::from(self.color))),
            Format::Json => serde_json::to_string(&report)? + "\n",
        };
        match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
        if let Some(error) = &error {
            return Ok(Exit::from(error));
        }
        let exit = report.exit(&facts);
        if exit == Exit::NotPermitted {
            say(&"mechanisms were not tried: that needs root. Call `sudo mcp-monitor doctor`");
        }
        Ok(exit)
    }
}

/// A mechanism that was refused.
#[derive(Debug, Serialize)]
struct Refused<'a> {
    name: &'static str,
    tier: &'static str,
    why: &'a str,
}

/// One observation.
#[derive(Debug, Serialize)]
struct ObservationRow<'a> {
    observation: &'static str,
    state: &'static str,
    in_use: Vec<&'static str>,
    refused: Vec<Refused<'a>>,
    not_seen: Vec<&'static str>,
}

/// One fact of the host.
#[derive(Debug, Serialize)]
struct CheckRow {
    name: &'static str,
    state: &'static str,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    consequence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<String>,
}

/// All that `doctor` says.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    version: &'static str,
    /// Monitoring is possible.
    possible: bool,
    tried: bool,
    /// Why no mechanism could be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    tier: Option<&'static str>,
    host: Vec<CheckRow>,
    observations: Vec<ObservationRow<'a>>,
}

impl<'a> Report<'a> {
    fn new(facts: &Facts, trial: Option<&'a Trial>) -> Self {
        let rows = checks(facts);
        let failed = rows.iter().any(|row| row.state == State::Fail);
        let tier = trial.and_then(|trial| trial.tier);
        Self {
            schema: DOCTOR_SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            possible: !failed && tier.is_some(),
            tried: trial.is_some(),
            error: None,
            tier: tier.map(Tier::name),
            host: rows.into_iter().map(CheckRow::new).collect(),
            observations: trial.map(observations).unwrap_or_default(),
        }
    }

    fn exit(&self, facts: &Facts) -> Exit {
        if self.possible {
            Exit::Ok
        } else if !self.tried || (!facts.root && !facts.sys_admin && !facts.missing.is_empty()) {
            Exit::NotPermitted
        } else {
            Exit::Unsupported
        }
    }

    fn for_people(&self, look: &Look) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = self.write(&mut text, look);
        text
    }

    fn write(&self, text: &mut String, look: &Look) -> std::fmt::Result {
        let bold = look.style(Style::new().bold());
        let dim = look.style(Style::new().dimmed());
        writeln!(text, "{bold}mcp-monitor {}{bold:#}\n\n{bold}Host{bold:#}", self.version)?;
        for row in &self.host {
            let style = state_style(row.state, look);
            writeln!(text, "  {style}{:<4}{style:#}  {:<20} {}", row.state, row.name, shown(&row.found))?;
            if let Some(consequence) = &row.consequence {
                writeln!(text, "        {dim}{:<20} {}{dim:#}", "", shown(consequence))?;
            }
            if let Some(repair) = &row.repair {
                writeln!(text, "        {:<20} repair: {bold}{}{bold:#}", "", shown(repair))?;
            }
        }
        let tier = match (self.tier, self.tried) {
            (Some(tier), _) => format!("tier {tier}"),
            (None, true) => "no tier works".into(),
            (None, false) => "not tried".into(),
        };
        writeln!(text, "\n{bold}Observations{bold:#}  {tier}")?;
        for row in &self.observations {
            let style = state_style(row.state, look);
            let in_use = if row.in_use.is_empty() {
                "none".to_owned()
            } else {
                row.in_use.iter().map(|name| named(name)).collect::<Vec<_>>().join(", ")
            };
            writeln!(text, "  {style}{:<4}{style:#}  {:<20} {in_use}", row.state, row.observation)?;
            for refused in &row.refused {
                let why = shown(refused.why.trim_end_matches(": ").trim_end());
                writeln!(
                    text,
                    "        {dim}{:<20} refused: {} ({}): {why}{dim:#}",
                    "", refused.name, refused.tier
                )?;
            }
            for blind in &row.not_seen {
                writeln!(text, "        {dim}{:<20} not seen: {blind}{dim:#}", "")?;
            }
        }
        for line in self.error.iter().flat_map(|error| error.lines()) {
            writeln!(text, "  {}", shown(line))?;
        }
        let (verdict, style) = if self.possible {
            ("Monitoring is possible.", AnsiColor::Green.on_default())
        } else {
            ("Monitoring is not possible.", AnsiColor::Red.on_default())
        };
        let style = look.style(style.bold());
        writeln!(text, "\n{style}{verdict}{style:#}")
    }
}

impl CheckRow {
    fn new(check: Check) -> Self {
        Self {
            name: check.name,
            state: check.state.name(),
            found: check.found,
            consequence: check.consequence,
            repair: check.repair,
        }
    }
}

fn shown(text: &str) -> String {
    escape(text.as_bytes())
}

fn state_style(state: &str, look: &Look) -> Style {
    look.style(match state {
        "ok" => AnsiColor::Green.on_default(),
        "warn" => AnsiColor::Yellow.on_default(),
        _ => AnsiColor::Red.on_default().bold(),
    })
}

/// A program and where it goes, for people.
fn named(name: &str) -> String {
    format!("{name} ({})", place(name))
}

/// Where a program of this name goes, for people.
fn place(name: &str) -> &'static str {
    match PROGRAMS.iter().find(|program| program.name == name).map(|program| program.attach) {
        Some(Attach::Lsm(hook)) => hook,
        Some(Attach::Kprobe(function)) => function,
        Some(Attach::RawTracepoint(point)) => point,
        Some(Attach::CgroupSockAddr) => "cgroup socket address",
        Some(Attach::CgroupSkbIngress) => "cgroup ingress",
        None => "",
    }
}

fn observations(trial: &Trial) -> Vec<ObservationRow<'_>> {
    Observation::ALL.into_iter().map(|observation| observation_row(trial, observation)).collect()
}

fn observation_row(trial: &Trial, observation: Observation) -> ObservationRow<'_> {
    let programs = || trial.programs.iter().filter(|program| serves(program, observation));
    let in_use: Vec<_> = programs()
        .filter(|program| program.state == ProgramState::Attached)
        .filter(|program| trial.tier == Some(program.tier))
        .map(|program| program.name)
        .collect();
    let refused: Vec<_> = programs()
        .filter_map(|program| match &program.state {
            ProgramState::Refused(why) => {
                Some(Refused { name: program.name, tier: program.tier.name(), why: why.as_str() })
            }
            ProgramState::Attached | ProgramState::NotTried => None,
        })
        .collect();
    let mut not_seen: Vec<_> = trial
        .tier
        .into_iter()
        .flat_map(blind_spots)
        .filter(|(blind, _)| *blind == observation)
        .map(|(_, what)| *what)
        .collect();
    if in_use.is_empty() && trial.tier.is_some() {
        not_seen.insert(0, "anything of this");
    }
    let refused_in_use = programs()
        .any(|program| matches!(program.state, ProgramState::Refused(_)) && trial.tier == Some(program.tier));
    let core = PROGRAMS.iter().any(|program| program.observation == observation && program.core);
    let state = match (in_use.is_empty(), trial.tier) {
        (true, None) if core => State::Fail,
        (true, _) => State::Warn,
        _ if refused_in_use || !not_seen.is_empty() => State::Warn,
        _ => State::Ok,
    };
    ObservationRow { observation: observation.name(), state: state.name(), in_use, refused, not_seen }
}

/// True when the program makes the observation: its own, or one of the many that the end of a system call gives
/// away in the tracepoint tier.
fn serves(program: &ProgramTrial, observation: Observation) -> bool {
    use Observation::{Accept, Change, Egress, Map, Receive, Snoop, Unix};
    program.observation == observation
        || (program.name == PROGRAMS[SYSCALL_EXIT as usize].name
            && [Accept, Change, Egress, Map, Receive, Snoop, Unix].contains(&observation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn facts() -> Facts {
        Facts {
            release: "6.18.44".into(),
            machine: "x86_64".into(),
            btf_bytes: Some(1),
            ring_buffer: Some(true),
            lsms: Some("lockdown,yama\u{1b}[31m".into()),
            preemption: Some("voluntary".into()),
            root: true,
            sys_admin: true,
            seccomp: true,
            ..Facts::default()
        }
    }

    fn trial() -> Trial {
        let programs = PROGRAMS.iter().map(|program| {
            let tier =
                if program.tiers.contains(&Tier::Tracepoint) { Tier::Tracepoint } else { program.tiers[0] };
            let state = match (tier, program.observation) {
                (_, Observation::Dns) => ProgramState::Refused("cgroup v2 is not mounted".into()),
                (Tier::Tracepoint, _) => ProgramState::Attached,
                (Tier::Lsm, Observation::Open) => ProgramState::Refused("attached, but never fired".into()),
                _ => ProgramState::NotTried,
            };
            ProgramTrial { name: program.name, observation: program.observation, tier, state }
        });
        Trial { tier: Some(Tier::Tracepoint), programs: programs.collect() }
    }

    #[test]
    fn for_people() {
        let trial = trial();
        let look = Look { colour: false, width: None, time_zone: TimeZone::UTC };
        let mut text = Report::new(&facts(), Some(&trial)).for_people(&look);
        text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        assert!(!text.contains('\u{1b}'));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn exit_status_tells_why() {
        let good = trial();
        assert_eq!(Report::new(&facts(), Some(&good)).exit(&facts()), Exit::Ok);
        assert_eq!(Report::new(&facts(), Some(&Trial::default())).exit(&facts()), Exit::Unsupported);
        let user = Facts { root: false, sys_admin: false, missing: vec!["CAP_BPF"], ..facts() };
        assert_eq!(Report::new(&user, None).exit(&user), Exit::NotPermitted);
        let locked = Facts { lockdown: Some("confidentiality".into()), ..facts() };
        assert_eq!(Report::new(&locked, Some(&good)).exit(&locked), Exit::Unsupported);
    }

    #[test]
    fn every_program_has_a_place() {
        assert!(PROGRAMS.iter().all(|program| !place(program.name).is_empty()));
    }
}
