//! The text of a proposal: an expectation with the evidence of each line beside it.

use std::fmt::Write as _;

use super::{
    generalise::{Pattern, Places, patterns},
    observe::{Evidence, Observation, bracketed},
};
use crate::{
    event::escape,
    inventory::live::{
        program::{Execution, identify},
        tools::Tools,
    },
    render::read::{Event, Text},
};

/// Directories whose programs are known by name.
const PROGRAM_DIRECTORIES: [&str; 6] =
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// How much must have been seen.
#[derive(Clone, Copy, Debug)]
pub struct Thoroughness {
    /// Instances below which a proposal is incomplete.
    pub instances: usize,
}

impl Default for Thoroughness {
    fn default() -> Self {
        Self { instances: 3 }
    }
}

/// Names of programs that tell nothing of what they run.
const SAYS_NOTHING: [&str; 10] =
    ["npx", "uvx", "uv", "node", "python", "python3", "bunx", "deno", "docker", "sh"];

/// Writes the proposal for what was seen.
#[must_use]
pub fn propose(observation: &Observation, thoroughness: Thoroughness) -> String {
    let Observation { name, client, packages, instances, events, span, roots, .. } = observation;
    let places = Places { workspaces: observation.workspaces.clone(), roots: roots.clone() };
    let mut text = String::new();
    let span = span.map_or_else(String::new, |(first, last)| format!(", {first} to {last}"));
    let _ = writeln!(text, "# Proposed from {events} events of {} instance(s){span}.", instances.len());
    text.push_str("# Read every line before you promote it; lines marked `review` lead somewhere new.\n");
    text.push_str("apiVersion: mcp-monitor/v1\n");
    match packages.iter().next() {
        Some(package) if SAYS_NOTHING.contains(&name.as_str()) => {
            let _ = writeln!(text, "match: {{package: {}}}", quoted(package));
        }
        _ => {
            let _ = writeln!(text, "workload: {}", quoted(name));
        }
    }
    if let Some(client) = client {
        let _ = writeln!(text, "client: {}", quoted(client));
    }
    text.push_str("files:\n");
    paths(&mut text, "  read", &patterns(&observation.reads, &places), "  ");
    paths(&mut text, "  write", &patterns(&observation.writes, &places), "  ");
    text.push_str("secrets: []\n");
    paths(&mut text, "exec", &programs(observation, &places), "");
    egress(&mut text, observation);
    let listeners = observation
        .listeners
        .iter()
        .map(|(text, evidence)| (text.clone(), evidence, "review: others can reach it; "));
    values(&mut text, "listen", listeners);
    let clients = observation.clients.iter().map(|(text, evidence)| (text.clone(), evidence, ""));
    values(&mut text, "clients", clients);
    paths(&mut text, "unix", &patterns_of_sockets(observation), "");
    text.push_str("mode: alert\n");
    gaps(&mut text, observation, thoroughness);
    if !observation.never.is_empty() {
        text.push_str("# Never learnt, for a person to decide:\n");
        for ((rule, reason), evidence) in &observation.never {
            let _ = writeln!(text, "#   {rule} x{}: {}", evidence.count, one_line(reason));
        }
    }
    text
}

/// The packages that a process's arguments name.
#[must_use]
pub fn packages(event: &Event) -> Vec<String> {
    let Ok(tools) = Tools::embedded() else { return Vec::new() };
    let process = &event.process;
    let arguments: Vec<_> =
        process.args.iter().map(|argument| crate::event::Bytes::new(argument.as_bytes())).collect();
    let program = identify(
        &tools,
        &Execution {
            executable: process.exe.as_ref().map(Text::as_bytes).unwrap_or_default(),
            script: process.script.as_ref().map(Text::as_bytes),
            arguments: &arguments,
            working_directory: process.cwd.as_ref().map(Text::as_bytes).unwrap_or_default(),
        },
    );
    program.package.iter().map(crate::inventory::live::package::Package::key).collect()
}

fn programs(observation: &Observation, places: &Places) -> Vec<Pattern> {
    let mut all = patterns(&observation.programs, places);
    for pattern in &mut all {
        let name =
            pattern.text.rsplit_once('/').filter(|(directory, _)| PROGRAM_DIRECTORIES.contains(directory));
        if let Some((_, name)) = name.filter(|(_, name)| !name.contains(['*', '\\'])) {
            pattern.text = name.to_owned();
        }
    }
    all.sort_by(|one, other| one.text.cmp(&other.text));
    all.dedup_by(|one, other| one.text == other.text);
    all
}

fn patterns_of_sockets(observation: &Observation) -> Vec<Pattern> {
    let one = |(path, evidence): (&Vec<u8>, &Evidence)| {
        let name = String::from_utf8_lossy(path);
        let (at, rest) = name.strip_prefix('@').map_or(("", name.as_ref()), |rest| ("@", rest));
        Pattern {
            text: format!("{at}{}", crate::expectation::file::compile::escaped(rest)),
            paths: 1,
            evidence: evidence.clone(),
            why: Some("review: who listens there is not known"),
        }
    };
    observation.sockets.iter().map(one).collect()
}

fn paths(text: &mut String, key: &str, patterns: &[Pattern], indent: &str) {
    if patterns.is_empty() {
        let _ = writeln!(text, "{key}: []");
        return;
    }
    let _ = writeln!(text, "{key}:");
    for Pattern { text: pattern, paths, evidence, why } in patterns {
        let why = why.map_or_else(String::new, |why| format!("; {why}"));
        let _ = writeln!(text, "{indent}  - {}  # {paths} path(s), {}{why}", quoted(pattern), seen(evidence));
    }
}

fn values<'all>(
    text: &mut String,
    key: &str,
    all: impl Iterator<Item = (String, &'all Evidence, &'static str)>,
) {
    let mut lines = String::new();
    for (value, evidence, note) in all {
        let _ = writeln!(lines, "  - {}  # {note}{}", quoted(&value), seen(evidence));
    }
    if lines.is_empty() {
        let _ = writeln!(text, "{key}: []");
    } else {
        let _ = writeln!(text, "{key}:\n{lines}").map(|()| text.truncate(text.trim_end().len()));
        text.push('\n');
    }
}

fn egress(text: &mut String, observation: &Observation) {
    let all = observation.destinations.iter().map(|(destination, evidence)| {
        let port = destination.port.map_or_else(String::new, |port| format!(":{port}"));
        let protocol = if destination.udp { "/udp" } else { "" };
        let note = if destination.named { "review: " } else { "review: an address without a name; " };
        (format!("{}{port}{protocol}", bracketed(&destination.host)), evidence, note)
    });
    values(text, "egress", all);
}

fn gaps(text: &mut String, observation: &Observation, thoroughness: Thoroughness) {
    let mut gaps: Vec<String> = observation
        .gaps
        .iter()
        .map(|(cause, count)| format!("{count} event(s) were not seen: {cause}"))
        .chain(observation.unseen.iter().cloned())
        .collect();
    let instances = observation.instances.len();
    if instances < thoroughness.instances {
        gaps.push(format!("seen in {instances} instance(s), fewer than {}", thoroughness.instances));
    }
    if gaps.is_empty() {
        return;
    }
    text.push_str("# `promote` asks for --accept-gaps while there is any.\ngaps:\n");
    for gap in gaps {
        let _ = writeln!(text, "  - {}", quoted(&gap));
    }
}

fn seen(evidence: &Evidence) -> String {
    format!("{} time(s) in {} instance(s)", evidence.count, evidence.instances.len())
}

/// A value in double quotes: YAML reads JSON's.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn one_line(text: &str) -> String {
    escape(text.as_bytes())
}
