//! The workloads of a host as a tree for people: agents with the servers below them, servers without an agent, what is
//! declared and does not run, and what looks like a server and is unknown.

use std::{collections::HashSet, fmt::Write as _};

use crate::inventory::live::snapshot::{DeclaredView, InstanceView, Snapshot, UnmatchedView};

/// Lines of what is declared and does not run; more are counted.
const IDLE_MAX: usize = 200;
/// Agents within agents that are drawn.
const DEPTH_MAX: usize = 8;

/// The tree. With `ended`, instances that have ended, too.
#[must_use]
pub fn tree(snapshot: &Snapshot, ended: bool) -> String {
    let shown: Vec<&InstanceView> =
        snapshot.instances.iter().filter(|one| ended || one.state != "ended").collect();
    let known: HashSet<&str> = shown.iter().map(|one| one.instance.as_str()).collect();
    let is_root = |one: &&InstanceView| one.parent.as_deref().is_none_or(|parent| !known.contains(parent));
    let mut text = String::new();
    for root in shown.iter().copied().filter(is_root) {
        branch(&mut text, &shown, root, &mut String::new(), None, 0);
    }
    if shown.is_empty() {
        text.push_str("no agent and no MCP server runs\n");
    }
    let idle: Vec<&DeclaredView> = snapshot.idle.iter().collect();
    if !idle.is_empty() {
        text.push_str("\ndeclared, not running\n");
        for server in idle.iter().take(IDLE_MAX) {
            let _ = writeln!(text, "  {}", declared(server));
        }
        if idle.len() > IDLE_MAX {
            let _ = writeln!(text, "  … and {} more", idle.len() - IDLE_MAX);
        }
    }
    if !snapshot.unmatched.is_empty() {
        let count = snapshot.unmatched.len();
        let _ = writeln!(text, "\n{count} unmatched: `mcp-monitor workloads --unmatched`");
    }
    if snapshot.refused > 0 {
        let _ = writeln!(text, "\n{} instances were not kept: too many run at once", snapshot.refused);
    }
    text
}

fn branch(
    text: &mut String,
    all: &[&InstanceView],
    one: &InstanceView,
    indent: &mut String,
    last: Option<bool>,
    depth: usize,
) {
    let edge = match last {
        None => "",
        Some(true) => "└─ ",
        Some(false) => "├─ ",
    };
    let _ = writeln!(text, "{indent}{edge}{}", line(one));
    if depth >= DEPTH_MAX {
        return;
    }
    let length = indent.len();
    indent.push_str(match last {
        None => "",
        Some(true) => "   ",
        Some(false) => "│  ",
    });
    let children: Vec<&&InstanceView> =
        all.iter().filter(|child| child.parent.as_deref() == Some(one.instance.as_str())).collect();
    for (index, child) in children.iter().enumerate() {
        branch(text, all, child, indent, Some(index + 1 == children.len()), depth + 1);
    }
    indent.truncate(length);
}

/// One instance in a line: what, which version, how it came to be known, how it is, how busy.
fn line(one: &InstanceView) -> String {
    let mut words = vec![one.name.clone(), one.kind.clone()];
    if let Some(version) = &one.version {
        words.push(match &one.version_before {
            Some(before) => format!("{version} (was {before})"),
            None => version.clone(),
        });
    }
    let mut state = vec![one.state.clone()];
    match &one.declared {
        Some(declared) => {
            state.push(format!("declared ({})", declared.scope));
            if matches!(declared.approval.as_str(), "not-approved" | "disabled") {
                state.push(declared.approval.replace('-', " "));
            }
        }
        None if one.origin == "undeclared" => state.push("undeclared".to_owned()),
        None => {}
    }
    if one.parent.is_none()
        && one.kind == "server"
        && let Some(client) = &one.client
    {
        state.push(format!("of {client}"));
    }
    words.push(state.join(", "));
    words.push(format!("pid {} ({})", one.pid, plural(u64::from(one.processes), "process", "processes")));
    if one.restarts > 0 {
        words.push(plural(one.restarts, "restart", "restarts"));
    }
    words.push(format!("{}/min", one.events_per_minute));
    if one.findings > 0 {
        words.push(plural(one.findings, "finding", "findings"));
    }
    let notes = one.coverage.iter().filter(|note| note.cause != "weaker-mechanism").count();
    if notes > 0 {
        words.push(format!(
            "not all seen ({})",
            one.coverage
                .iter()
                .filter(|note| note.cause != "weaker-mechanism")
                .map(|note| note.cause.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    words.join("  ")
}

fn declared(server: &DeclaredView) -> String {
    let mut text = format!("{}  {} ({})", server.name, server.client, server.scope);
    if matches!(server.approval.as_str(), "not-approved" | "disabled") {
        let _ = write!(text, ", {}", server.approval.replace('-', " "));
    }
    if let Some(other) = &server.overridden_by {
        let _ = write!(text, ", overridden by {other}");
    }
    if let Some(url) = &server.url {
        let _ = write!(text, ", remote: {url}");
    }
    text
}

/// What looks like a server and is unknown.
#[must_use]
pub fn unmatched(all: &[UnmatchedView]) -> String {
    if all.is_empty() {
        return "nothing looks like an MCP server and is unknown\n".to_owned();
    }
    let mut text = String::new();
    for one in all {
        let of = one.client.as_deref().map(|client| format!("  of {client}")).unwrap_or_default();
        let _ = writeln!(text, "{}  pid {}{of}  since {}", one.name, one.pid, one.started);
        let _ = writeln!(text, "  {}  {}", one.program, one.arguments.join(" "));
    }
    text
}

/// Everything that is known of one workload's instances.
#[must_use]
pub fn details(instances: &[&InstanceView]) -> String {
    let mut text = String::new();
    for (index, one) in instances.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let mut row = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "{name:<18} {value}");
            }
        };
        row("name", &one.name);
        row("kind", &one.kind);
        row("workload", &one.workload);
        row("instance", &one.instance);
        row("state", &one.state);
        row("origin", &one.origin);
        row("client", one.client.as_deref().unwrap_or_default());
        row("package", one.package.as_deref().unwrap_or_default());
        row("version", one.version.as_deref().unwrap_or_default());
        row("version before", one.version_before.as_deref().unwrap_or_default());
        row("launcher", one.launcher.as_deref().unwrap_or_default());
        row("runtime", &one.runtime);
        row("program", &one.program);
        row("passes on to", one.address.as_deref().unwrap_or_default());
        row("image", one.image.as_deref().unwrap_or_default());
        row("container", one.container.as_deref().unwrap_or_default());
        row("working directory", &one.working_directory);
        row("user", &one.user);
        row("pid", &one.pid.to_string());
        row("processes", &one.processes.to_string());
        row("started", &one.started);
        row("ended", one.ended.as_deref().unwrap_or_default());
        row("restarts", &one.restarts.to_string());
        row("events", &format!("{} ({} in the last minute)", one.events, one.events_per_minute));
        row("findings", &one.findings.to_string());
        if let Some(declared) = &one.declared {
            let line = declared.line.map(|line| format!(":{line}")).unwrap_or_default();
            row("declared in", &format!("{}{line}, {}", declared.file, declared.key));
            row("scope", &declared.scope);
            row("approval", &format!("{}: {}", declared.approval, declared.approval_reason));
            row("overridden by", declared.overridden_by.as_deref().unwrap_or_default());
            row("variables", &declared.environment_names.join(" "));
        }
        for note in &one.coverage {
            row("not seen", &format!("{}: {}", note.cause, note.what));
        }
    }
    text
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, parent: Option<&str>, kind: &str, name: &str) -> InstanceView {
        InstanceView {
            workload: format!("w-{name}"),
            instance: id.into(),
            parent: parent.map(str::to_owned),
            kind: kind.into(),
            name: name.into(),
            client: Some("claude-code".into()),
            origin: if kind == "agent" { "agent" } else { "declared" }.into(),
            state: "running".into(),
            runtime: "node".into(),
            program: "/usr/bin/x".into(),
            pid: 4711,
            processes: 3,
            user: "eve".into(),
            working_directory: "/work".into(),
            started: "2026-11-20T12:00:00Z".into(),
            events: 77,
            events_per_minute: 12,
            ..InstanceView::default()
        }
    }

    fn snapshot() -> Snapshot {
        let github = DeclaredView {
            client: "claude-code".into(),
            name: "github".into(),
            scope: "project".into(),
            file: "/work/.mcp.json".into(),
            line: Some(3),
            key: "mcpServers.github".into(),
            approval: "not-approved".into(),
            approval_reason: "listed under disabledMcpjsonServers".into(),
            ..DeclaredView::default()
        };
        let mut snapshot = Snapshot {
            instances: vec![
                instance("1", None, "agent", "claude-code"),
                InstanceView {
                    version: Some("2.1".into()),
                    version_before: Some("2.0".into()),
                    restarts: 1,
                    findings: 2,
                    package: Some("npm:@s/github".into()),
                    declared: Some(github.clone()),
                    ..instance("2", Some("1"), "server", "github")
                },
                InstanceView {
                    origin: "undeclared".into(),
                    processes: 1,
                    ..instance("3", Some("1"), "server", "thing-mcp")
                },
                InstanceView { state: "orphan".into(), ..instance("4", Some("gone"), "server", "memory") },
                InstanceView { state: "ended".into(), processes: 0, ..instance("5", None, "agent", "codex") },
            ],
            idle: vec![DeclaredView {
                name: "time".into(),
                approval: "approved".into(),
                scope: "user".into(),
                ..github
            }],
            unmatched: vec![UnmatchedView {
                name: "thing.py".into(),
                pid: 9,
                program: "/usr/bin/python3".into(),
                arguments: vec!["python3".into(), "thing.py".into()],
                client: Some("vscode".into()),
                parent: None,
                started: "2026-11-20T12:00:00Z".into(),
            }],
            ..Snapshot::default()
        };
        snapshot.instances[3].coverage.push(crate::inventory::live::snapshot::CoverageView {
            cause: "started-before".into(),
            what: "what it did before".into(),
        });
        snapshot
    }

    #[test]
    fn a_tree_for_people() {
        insta::assert_snapshot!(tree(&snapshot(), false));
    }

    #[test]
    fn ended_ones_are_shown_when_asked_for() {
        assert!(!tree(&snapshot(), false).contains("codex") && tree(&snapshot(), true).contains("codex"));
    }

    #[test]
    fn details_and_unmatched_for_people() {
        let snapshot = snapshot();
        insta::assert_snapshot!(format!(
            "{}\n{}",
            details(&[&snapshot.instances[1]]),
            unmatched(&snapshot.unmatched)
        ));
    }
}
