//! What runs now: servers that others on the network can reach, and servers whose client has gone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Problem;
use crate::{
    event::{ProcessId, ProcessKey, Severity, escape},
    host::{
        listeners,
        procfs::{ProcessSource as _, Procfs},
    },
    inventory::live::{
        program::{Execution, Program, identify},
        tools::{Runtime, Tools},
    },
};

/// Processes that are looked at.
const PROCESSES_MAX: usize = 32 * 1024;

/// Looks at the processes of this host.
pub(super) fn check(tools: &Tools, keep: &mut impl FnMut(Problem)) {
    for listener in listeners::look(&[]).into_iter().filter(|listener| listener.exposed) {
        let Some((program, shown)) = program(listener.process, tools) else { continue };
        if !is_server_like(&program) {
            continue;
        }
        keep(Problem {
            check: "listener-exposed",
            severity: Severity::Medium,
            path: PathBuf::from(shown),
            line: None,
            key: Some(format!("pid {}, port {}", listener.process.0, listener.port)),
            what: String::from("other hosts can reach this server"),
            fix: String::from("Have it listen on 127.0.0.1, or put something before it that asks who comes"),
        });
    }
    for pid in processes() {
        let Some((program, shown)) = program(pid, tools) else { continue };
        if is_orphan(pid) && is_mcp(&program) {
            keep(Problem {
                check: "server-orphan",
                severity: Severity::Low,
                path: PathBuf::from(shown),
                line: None,
                key: Some(format!("pid {}", pid.0)),
                what: String::from("the client that started this server has gone, and nobody stops it"),
                fix: format!("See what it still does; `kill {}` ends it", pid.0),
            });
        }
    }
}

fn processes() -> Vec<ProcessId> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(ProcessId).take(PROCESSES_MAX).collect()
}

fn program(pid: ProcessId, tools: &Tools) -> Option<(Program, String)> {
    let process = Procfs::default().process(ProcessKey { pid, ..ProcessKey::default() })?;
    if process.executable.is_empty() {
        return None;
    }
    let program = identify(
        tools,
        &Execution {
            executable: process.executable.as_slice(),
            script: None,
            arguments: &process.arguments,
            working_directory: process.working_directory.as_slice(),
        },
    );
    let shown = program.script.as_ref().unwrap_or(&process.executable).escaped();
    Some((program, shown))
}

/// Something that an interpreter runs, or that calls itself a server of MCP. What a system brings along is another's.
fn is_server_like(program: &Program) -> bool {
    let interpreted = matches!(
        program.runtime,
        Runtime::Node | Runtime::Python | Runtime::Bun | Runtime::Deno | Runtime::Java
    );
    is_mcp(program)
        || interpreted
            && !program.executable.as_slice().starts_with(b"/usr/share/")
            && program.script.is_some()
}

fn is_mcp(program: &Program) -> bool {
    let names = [
        Some(program.executable_name()),
        program.script.as_ref().map(crate::event::Bytes::as_slice),
        program.module.as_ref().map(crate::event::Bytes::as_slice),
        program.package.as_ref().map(|package| package.name.as_bytes()),
    ];
    names.into_iter().flatten().any(|name| {
        let name = escape(name).to_lowercase();
        name.split(|one: char| !one.is_ascii_alphanumeric())
            .any(|word| matches!(word, "mcp" | "modelcontextprotocol"))
    })
}

/// Its parent is the first process, and no unit of systemd holds it.
fn is_orphan(pid: ProcessId) -> bool {
    let directory = Path::new("/proc").join(pid.0.to_string());
    let Ok(status) = fs::read_to_string(directory.join("status")) else { return false };
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let cgroup = fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
    let last = cgroup.lines().last().unwrap_or_default();
    let in_unit = last.rsplit('/').any(|name| name.ends_with(".service") && !name.starts_with("user@"));
    parent.is_some_and(|parent| parent.trim() == "1") && !in_unit && pid.0 != 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Bytes;

    #[test]
    fn a_server_is_known_by_its_words_and_nothing_by_chance() {
        let named = |name: &str| is_mcp(&Program { executable: Bytes::from(name), ..Program::default() });
        assert!(named("/opt/mcp-server-git") && named("/opt/github_mcp") && named("/x/server.mcp"));
        assert!(!named("/usr/sbin/dhcpd") && !named("/usr/bin/mcpu") && !named("/usr/bin/node"));
    }

    #[test]
    fn this_host_can_be_looked_at() {
        check(&Tools::embedded().unwrap(), &mut |problem| assert!(!problem.text().contains('\u{1b}')));
    }
}
