//! The sentence for the analyst: who did what to what, and why that matters. One line, nothing in it moves a
//! terminal.

use crate::event::{Action, Endpoint, Event, FileObject, NetworkObject, Outcome, Process};

/// What `event` was done to, for people: a path, a destination, a process.
#[must_use]
pub fn object(event: &Event) -> Option<String> {
    match &event.action {
        Action::Exec(exec) => Some(path(exec.script.as_ref().unwrap_or(&exec.executable))),
        Action::Snoop(snoop) => Some(format!("process {}", snoop.target.0)),
        Action::Dns(answer) => Some(answer.question.escaped()),
        action => action.file().map(path).or_else(|| action.network().map(destination)),
    }
}

fn path(file: &FileObject) -> String {
    let shown =
        if file.path.bytes.is_empty() { String::from("(unknown path)") } else { file.path.bytes.escaped() };
    let shown = if file.path.truncated { format!("…/{shown}") } else { shown };
    match &file.target {
        Some(target) if !target.bytes.is_empty() => format!("{shown} → {}", target.bytes.escaped()),
        _ => shown,
    }
}

/// `name (address:port)`, `address:port`, or the socket.
#[must_use]
pub fn destination(network: &NetworkObject) -> String {
    match &network.remote {
        Endpoint::Internet(address, port) => {
            let at = std::net::SocketAddr::new(*address, *port);
            match &network.name {
                Some(name) => format!("{} ({at})", name.escaped()),
                None => at.to_string(),
            }
        }
        Endpoint::UnixPath(path, _) => path.bytes.escaped(),
        Endpoint::UnixAbstract(name) => format!("@{}", name.escaped()),
        Endpoint::UnixGiven(name) => name.escaped(),
        Endpoint::Unnamed => String::from("(no address)"),
    }
}

/// The program that a process runs, for people: the script where there is one.
#[must_use]
pub fn program(process: &Process) -> String {
    let executable = if process.executable.is_empty() {
        String::from("(unknown program)")
    } else {
        process.executable.escaped()
    };
    match &process.script {
        Some(script) => format!("{executable} running {}", script.escaped()),
        None => executable,
    }
}

/// The whole sentence.
#[must_use]
pub fn sentence(event: &Event) -> String {
    let who = format!(
        "{} (pid {}) of {}",
        program(&event.process),
        event.process.key.pid.0,
        crate::event::escape(event.workload.name.as_bytes())
    );
    let reason = &event.decision.reason;
    let denied = if event.outcome == Outcome::Denied { " It was denied." } else { "" };
    match object(event) {
        Some(object) if !reason.contains(&object) => format!("{who}: {reason} [{object}].{denied}"),
        _ => format!("{who}: {reason}.{denied}"),
    }
}
