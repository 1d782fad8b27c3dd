//! The processes of instances as trees, put together from events: whose child a process is, which programs it
//! executed, and what was judged of what it did.
//!
//! Any event tells of its process and of that process's ancestors, so that a tree is whole also where the record of a
//! fork or an exec is not among the events.

use super::{
    human::{Look, severity_style, verdict_badge},
    output::Rows,
    read::{Event, Finding, Text},
    text::{columns, escaped, shortened},
};
use crate::event::{Severity, Verdict};
use anstyle::Style;
use indexmap::{IndexMap, IndexSet};
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Write as _;
use utoipa::ToSchema;

/// Processes that one tree shows; more are counted.
pub const PROCESSES_MAX: usize = 4096;
/// Programs that are shown of one process.
const PROGRAMS_MAX: usize = 16;
/// Rules that are shown of one process.
const RULES_MAX: usize = 8;

/// A process that no other will ever be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    pid: u32,
    start: u64,
}

/// Trees of several instances.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Forest {
    /// `mcp-monitor/tree/v1`.
    pub schema: &'static str,
    /// One an instance.
    pub instances: Vec<Instance>,
}

/// One instance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Instance {
    /// Name of the workload.
    pub workload: String,
    /// Its id.
    pub id: String,
    /// Of this instance.
    pub instance: String,
    /// `server` or `agent`.
    pub kind: String,
    /// The client that declares it.
    pub client: Option<String>,
    /// First processes, each with its children.
    pub processes: Vec<Node>,
    /// Processes beyond [`PROCESSES_MAX`].
    pub more: u64,
}

/// One process.
#[derive(Debug, Serialize, ToSchema)]
pub struct Node {
    /// Process id.
    pub pid: u32,
    /// Nanoseconds from boot to its start.
    pub start: u64,
    /// User.
    pub user: Option<String>,
    /// Programs it executed, in their order.
    pub programs: Vec<String>,
    /// Its arguments, as last executed.
    pub args: Vec<String>,
    /// When it was first heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// How it ended.
    pub exit: Option<String>,
    /// Events by verdict: expected, unexpected, forbidden, unjudged.
    pub events: Counts,
    /// Rules that it broke, with the severity of the finding.
    pub rules: Vec<BrokenRule>,
    /// Its children.
    #[schema(no_recursion)]
    pub children: Vec<Node>,
}

/// Events by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Allowed.
    pub expected: u64,
    /// Not allowed.
    pub unexpected: u64,
    /// Wrong unless named.
    pub forbidden: u64,
    /// Not judged.
    pub unjudged: u64,
}

impl Counts {
    /// Counts `count` events of `verdict`.
    pub fn add(&mut self, verdict: Option<Verdict>, count: u64) {
        let place = match verdict {
            Some(Verdict::Expected) => &mut self.expected,
            Some(Verdict::Unexpected) => &mut self.unexpected,
            Some(Verdict::Forbidden) => &mut self.forbidden,
            Some(Verdict::Unjudged) | None => &mut self.unjudged,
        };
        *place = place.saturating_add(count);
    }

    /// The worst verdict that there is.
    #[must_use]
    pub fn worst(&self) -> Verdict {
        match self {
            Self { forbidden: 1.., .. } => Verdict::Forbidden,
            Self { unexpected: 1.., .. } => Verdict::Unexpected,
            Self { expected: 1.., .. } => Verdict::Expected,
            _ => Verdict::Unjudged,
        }
    }

    /// Of every verdict.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.expected + self.unexpected + self.forbidden + self.unjudged
    }
}

/// A rule that a process broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BrokenRule {
    /// Its id.
    pub rule: String,
    /// How bad, where a finding says so.
    pub severity: Option<String>,
}

#[derive(Debug, Default)]
struct Gathering {
    parent: Option<Key>,
    user: Option<String>,
    programs: IndexSet<String>,
    args: Vec<String>,
    first: Option<Timestamp>,
    exit: Option<String>,
    events: Counts,
    rules: IndexMap<String, Option<Severity>>,
}

#[derive(Debug)]
struct Growing {
    workload: super::read::Workload,
    processes: IndexMap<Key, Gathering>,
    more: u64,
}

impl Growing {
    fn process(&mut self, key: Key) -> Option<&mut Gathering> {
        if !self.processes.contains_key(&key) && self.processes.len() >= PROCESSES_MAX {
            self.more += 1;
            return None;
        }
        Some(self.processes.entry(key).or_default())
    }

    fn event(&mut self, event: &Event) {
        let process = &event.process;
        let key = Key { pid: process.pid, start: process.start };
        let mut child = key;
        for ancestor in &process.ancestors {
            let parent = Key { pid: ancestor.pid, start: ancestor.start };
            if parent == child {
                continue;
            }
            if let Some(of) = self.process(child) {
                of.parent.get_or_insert(parent);
            }
            if let (Some(of), Some(exe)) = (self.process(parent), &ancestor.exe) {
                add_program(of, exe);
            }
            child = parent;
        }
        if let (b"fork", Some(target)) = (event.kind.as_bytes(), &event.target_process)
            && let Some(of) = self.process(Key { pid: target.pid, start: target.start })
        {
            of.parent.get_or_insert(key);
        }
        let Some(of) = self.process(key) else { return };
        of.first.get_or_insert(event.time);
        of.user.get_or_insert_with(|| process.user());
        if let Some(program) = process.script.as_ref().or(process.exe.as_ref()) {
            add_program(of, program);
        }
        if !process.args.is_empty() {
            of.args = process.args.iter().map(Text::to_string).collect();
        }
        if event.exit.is_some() {
            of.exit = Some(event.object());
        }
        if event.coverage.is_none() {
            of.events.add(event.verdict(), event.count);
        }
        if let Some(rule) = &event.rule
            && of.rules.len() < RULES_MAX
        {
            of.rules.entry(rule.to_string()).or_default();
        }
    }
}

fn add_program(of: &mut Gathering, path: &Text) {
    if of.programs.len() < PROGRAMS_MAX && !path.is_empty() {
        of.programs.insert(path.to_string());
    }
}

impl Forest {
    /// Trees of the instances that `events` belong to.
    pub fn new<'a>(
        events: impl IntoIterator<Item = &'a Event>,
        findings: impl IntoIterator<Item = &'a Finding>,
    ) -> Self {
        let mut growing: IndexMap<Text, Growing> = IndexMap::new();
        for event in events {
            let of = growing.entry(event.workload.instance.clone()).or_insert_with(|| Growing {
                workload: event.workload.clone(),
                processes: IndexMap::new(),
                more: 0,
            });
            of.event(event);
        }
        for finding in findings {
            let key = Key { pid: finding.process.pid, start: finding.process.start };
            let Some(of) = growing.get_mut(&finding.workload.instance) else { continue };
            if let Some(of) = of.processes.get_mut(&key)
                && (of.rules.len() < RULES_MAX || of.rules.contains_key(finding.rule.escaped().as_ref()))
            {
                let known = of.rules.entry(finding.rule.to_string()).or_default();
                *known = (*known).max(finding.severity());
            }
        }
        Self {
            schema: "mcp-monitor/tree/v1",
            instances: growing.into_values().map(Instance::grown).collect(),
        }
    }
}

impl Instance {
    fn grown(growing: Growing) -> Self {
        let Growing { workload, mut processes, more } = growing;
        let mut children: IndexMap<Key, Vec<Key>> = IndexMap::new();
        let mut roots = Vec::new();
        for (&key, of) in &processes {
            match of.parent.filter(|parent| *parent != key && processes.contains_key(parent)) {
                Some(parent) => children.entry(parent).or_default().push(key),
                None => roots.push(key),
            }
        }
        let mut instance = Self {
            workload: workload.name.to_string(),
            id: workload.id.to_string(),
            instance: workload.instance.to_string(),
            kind: workload.kind.to_string(),
            client: workload.client.as_ref().map(Text::to_string),
            processes: Vec::new(),
            more,
        };
        roots.sort_by_key(|key| (key.start, key.pid));
        for root in roots {
            if let Some(node) = node(root, &mut processes, &children, 0) {
                instance.processes.push(node);
            }
        }
        // Lines that were made up may say that two processes are each other's parent.
        while let Some((&key, _)) = processes.first() {
            if let Some(node) = node(key, &mut processes, &children, 0) {
                instance.processes.push(node);
            }
        }
        instance
    }
}

/// Depth beyond which a tree is cut into several: nobody can read it, and made-up lines could exhaust the stack.
const DEPTH_MAX: usize = 64;

fn node(
    key: Key,
    processes: &mut IndexMap<Key, Gathering>,
    children: &IndexMap<Key, Vec<Key>>,
    depth: usize,
) -> Option<Node> {
    let of = processes.shift_remove(&key)?;
    let mut below = Vec::new();
    if depth < DEPTH_MAX {
        let mut keys = children.get(&key).cloned().unwrap_or_default();
        keys.sort_by_key(|key| (key.start, key.pid));
        below.extend(keys.into_iter().filter_map(|key| node(key, processes, children, depth + 1)));
    }
    Some(Node {
        pid: key.pid,
        start: key.start,
        user: of.user,
        programs: of.programs.into_iter().collect(),
        args: of.args,
        first: of.first.map(|time| time.to_string()),
        exit: of.exit,
        events: of.events,
        rules: of
            .rules
            .into_iter()
            .map(|(rule, severity)| BrokenRule { rule, severity: severity.map(|of| of.name().into()) })
            .collect(),
        children: below,
    })
}

impl Rows for Forest {
    const HEADER: &'static [&'static str] = &[
        "workload",
        "instance",
        "pid",
        "parent",
        "depth",
        "user",
        "program",
        "expected",
        "unexpected",
        "forbidden",
        "unjudged",
        "rules",
        "exit",
    ];

    fn rows(&self) -> Vec<Vec<String>> {
        fn add(rows: &mut Vec<Vec<String>>, of: &Instance, node: &Node, parent: Option<u32>, depth: usize) {
            let rules: Vec<_> = node.rules.iter().map(|broken| broken.rule.as_str()).collect();
            rows.push(vec![
                of.workload.clone(),
                of.instance.clone(),
                node.pid.to_string(),
                parent.map(|pid| pid.to_string()).unwrap_or_default(),
                depth.to_string(),
                node.user.clone().unwrap_or_default(),
                node.programs.last().cloned().unwrap_or_default(),
                node.events.expected.to_string(),
                node.events.unexpected.to_string(),
                node.events.forbidden.to_string(),
                node.events.unjudged.to_string(),
                rules.join(" "),
                node.exit.clone().unwrap_or_default(),
            ]);
            for child in &node.children {
                add(rows, of, child, Some(node.pid), depth + 1);
            }
        }
        let mut rows = Vec::new();
        for instance in &self.instances {
            for node in &instance.processes {
                add(&mut rows, instance, node, None, 0);
            }
        }
        rows
    }
}

/// `forest` for people.
#[must_use]
pub fn for_people(forest: &Forest, look: &Look) -> String {
    let mut text = String::new();
    let bold = look.style(Style::new().bold());
    let dim = look.style(Style::new().dimmed());
    for (index, instance) in forest.instances.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let client = instance.client.as_ref().map(|client| format!(" of {client}")).unwrap_or_default();
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{bold}{}{bold:#}{dim}  {}{client}, instance {}{dim:#}",
            instance.workload, instance.kind, instance.instance
        );
        let count = instance.processes.len();
        for (at, node) in instance.processes.iter().enumerate() {
            draw(&mut text, node, "", at + 1 == count, look);
        }
        if instance.more > 0 {
            let _ = writeln!(text, "   and {} more", instance.more);
        }
    }
    text
}

/// The last name of a path that is escaped.
pub(super) fn last_name(path: &str) -> &str {
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// Programs that a process was, in short: `sh → node`.
pub(super) fn programs(node: &Node) -> String {
    let names: Vec<_> = node.programs.iter().map(|path| last_name(path)).collect();
    if names.is_empty() { "?".into() } else { names.join(" → ") }
}

fn draw(text: &mut String, node: &Node, indent: &str, last: bool, look: &Look) {
    let dim = look.style(Style::new().dimmed());
    let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    let worst = node.events.worst();
    let (badge, badge_style) = verdict_badge(Some(worst));
    let badge_style = look.style(badge_style);
    let bad = node.events.unexpected + node.events.forbidden;
    let badge = match worst {
        Verdict::Forbidden | Verdict::Unexpected => format!("{badge} {bad}/{}", node.events.total()),
        Verdict::Unjudged if node.events.total() == 0 => "no events".into(),
        Verdict::Expected | Verdict::Unjudged => format!("{badge} {}", node.events.total()),
    };
    let exit = node.exit.as_ref().map(|exit| format!(" ({exit})")).unwrap_or_default();
    let rules: usize = node.rules.iter().map(|broken| broken.rule.len() + 3).sum();
    let fixed = format!("{indent}{branch} {} [{badge}]{exit}", node.pid);
    let arguments = node.args.iter().skip(1).map(String::as_str).collect::<Vec<_>>().join(" ");
    let what = format!("{} {arguments}", programs(node));
    let what = match look.width {
        Some(width) => shortened(what.trim(), width.saturating_sub(columns(&fixed) + rules + 1).max(12)),
        None => what.trim().into(),
    };
    let _ = write!(
        text,
        "{dim}{indent}{branch}{dim:#}{dim}{}{dim:#} {what} {badge_style}[{badge}]{badge_style:#}{dim}{exit}{dim:#}",
        node.pid
    );
    for broken in &node.rules {
        let severity = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
            .into_iter()
            .find(|severity| broken.severity.as_deref() == Some(severity.name()));
        let style = look.style(severity.map_or(badge_style, severity_style));
        let _ = write!(text, " {style}[{}]{style:#}", escaped_once(&broken.rule));
    }
    text.push('\n');
    let indent = format!("{indent}{below}");
    let count = node.children.len();
    for (at, child) in node.children.iter().enumerate() {
        draw(text, child, &indent, at + 1 == count, look);
    }
}

fn escaped_once(text: &str) -> &str {
    debug_assert!(escaped(text.as_bytes()).len() >= text.len(), "escaped where it was read");
    text
}
