//! Objects of the schema: device, process, file, endpoint, observables.

use serde_json::{Value, json};

use crate::{
    export::{
        format::{command_line, directory_of, name_of},
        record::Parts,
    },
    render::read::{File, Network, Process, ProcessReference, Text},
};

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// The clock of the host against the time since boot, in ms; known where the line has both.
#[derive(Clone, Copy)]
pub(super) struct Boot(pub(super) Option<i64>);

impl Boot {
    /// Milliseconds since 1970 of a time since boot.
    fn time(self, since_boot: u64) -> Option<i64> {
        let offset = i64::try_from(since_boot / MILLISECOND).ok()?;
        (since_boot > 0).then(|| self.0?.checked_add(offset))?
    }
}

/// The host.
pub(super) fn device(parts: &Parts<'_>) -> Value {
    json!({
        "type_id": 0,
        "type": "Unknown",
        "uid": parts.host.id.to_string(),
        "name": parts.host.name.to_string(),
        "hostname": parts.host.name.to_string(),
        "boot_uid": parts.host.boot.to_string(),
        "os": {"name": "Linux", "type_id": 200, "type": "Linux"},
    })
}

fn key(pid: u32, start: u64, exec_id: u32) -> String {
    format!("{pid}-{start}-{exec_id}")
}

fn program(path: &Text) -> Value {
    json!({
        "name": named(path),
        "path": path.to_string(),
        "parent_folder": directory_of(path),
        "type_id": 8,
        "type": "Executable File",
    })
}

fn named(path: &Text) -> String {
    let name = name_of(path);
    if name.is_empty() { "?".into() } else { name }
}

/// The process that did it.
pub(super) fn process(process: &Process, boot: Boot) -> Value {
    let user = json!({
        "uid": process.uid.to_string(),
        "name": process.user.as_ref().map(ToString::to_string),
    });
    let container = process.container.as_ref().filter(|container| !container.id.is_empty()).map(|container| {
        json!({
            "uid": container.id.to_string(),
            "image": container.image.as_ref().map(|image| json!({"name": image.to_string(), "uid": image.to_string()})),
            "name": container.pod.as_ref().map(ToString::to_string),
        })
    });
    let session = (process.session.is_some() || process.tty.is_some()).then(|| {
        json!({
            "uid": process.session.map(|session| session.to_string()),
            "terminal": process.tty.as_ref().map(ToString::to_string),
        })
    });
    json!({
        "pid": process.pid,
        "uid": key(process.pid, process.start, process.exec_id),
        "name": process.exe.as_ref().map(name_of),
        "path": process.exe.as_ref().map(ToString::to_string),
        "file": process.exe.as_ref().map(program),
        "cmd_line": command_line(&process.args),
        "created_time": boot.time(process.start),
        "working_directory": process.cwd.as_ref().map(ToString::to_string),
        "user": user,
        "auid": process.login_uid,
        "session": session,
        "container": container,
        "parent_process": process.ancestors.first().map(|parent| reference(parent, boot)),
        "ancestry": process.ancestors.iter().map(|ancestor| entity(ancestor, boot)).collect::<Vec<_>>(),
        "lineage": process.ancestors.iter().filter_map(|one| one.exe.as_ref()).map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// A process of which little is known.
pub(super) fn reference(process: &ProcessReference, boot: Boot) -> Value {
    json!({
        "pid": process.pid,
        "uid": key(process.pid, process.start, process.exec_id),
        "name": process.exe.as_ref().map(name_of),
        "file": process.exe.as_ref().map(program),
        "created_time": boot.time(process.start),
    })
}

fn entity(process: &ProcessReference, boot: Boot) -> Value {
    json!({
        "pid": process.pid,
        "uid": key(process.pid, process.start, process.exec_id),
        "name": process.exe.as_ref().map(name_of),
        "path": process.exe.as_ref().map(ToString::to_string),
        "created_time": boot.time(process.start),
    })
}

/// A file under another name than its own, if `path` is given.
pub(super) fn file(file: &File, path: Option<&Text>) -> Value {
    let own = path.is_none();
    let path = path.unwrap_or(&file.path);
    let (type_id, word) = file_type(file);
    let inode = file.inode.filter(|_| own);
    json!({
        "name": named(path),
        "path": path.to_string(),
        "parent_folder": directory_of(path),
        "type_id": type_id,
        "type": word,
        "uid": inode.map(|inode| {
            let device = file.device.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{device}/{inode}")
        }),
        "is_deleted": file.deleted.then_some(true),
    })
}

fn file_type(file: &File) -> (u32, &'static str) {
    let mode = file
        .mode
        .as_ref()
        .and_then(|mode| u32::from_str_radix(std::str::from_utf8(mode.as_bytes()).ok()?, 8).ok());
    match mode.map(|mode| mode & 0o170_000) {
        Some(0o100_000) => (1, "Regular File"),
        Some(0o040_000) => (2, "Folder"),
        Some(0o020_000) => (3, "Character Device"),
        Some(0o060_000) => (4, "Block Device"),
        Some(0o140_000) => (5, "Local Socket"),
        Some(0o010_000) => (6, "Named Pipe"),
        Some(0o120_000) => (7, "Symbolic Link"),
        _ => (0, "Unknown"),
    }
}

/// The other end; `None` when nothing is known of it.
pub(super) fn remote(network: &Network) -> Option<Value> {
    let name = network.name.as_ref().map(ToString::to_string);
    let socket = match (&network.path, &network.abstract_name) {
        (Some(path), _) => Some(path.to_string()),
        (None, Some(name)) => Some(format!("@{name}")),
        (None, None) => None,
    };
    let address = network.address.map(|address| address.to_string());
    let shown = name.clone().or_else(|| address.clone()).or(socket).filter(|shown| !shown.is_empty())?;
    Some(json!({
        "ip": address,
        "port": network.port,
        "hostname": name,
        "name": shown,
    }))
}

/// Our end.
pub(super) fn local(network: &Network, parts: &Parts<'_>) -> Value {
    json!({
        "ip": network.local_address.map(|address| address.to_string()),
        "port": network.local_port,
        "name": parts.host.name.to_string(),
        "uid": parts.host.id.to_string(),
    })
}

/// How bytes travel.
pub(super) fn connection(network: &Network) -> Value {
    let inbound = network.direction == *"in";
    let loopback = network.address.is_some_and(|address| address.is_loopback());
    let version = network.address.map(|address| if address.is_ipv4() { 4 } else { 6 });
    let number = match network.transport.as_bytes() {
        b"tcp" => Some(6),
        b"udp" => Some(17),
        _ => network.protocol,
    };
    json!({
        "direction_id": if inbound { 1 } else { 2 },
        "direction": if inbound { "Inbound" } else { "Outbound" },
        "protocol_name": network.transport.to_string(),
        "protocol_num": number,
        "protocol_ver_id": version,
        "boundary_id": loopback.then_some(1),
        "boundary": loopback.then_some("Localhost"),
    })
}

/// What an analyst searches for.
pub(super) fn observables(parts: &Parts<'_>) -> Value {
    let mut list = Vec::new();
    let mut put = |type_id: u32, kind: &str, name: &str, value: String| {
        if !value.is_empty() {
            list.push(json!({"type_id": type_id, "type": kind, "name": name, "value": value}));
        }
    };
    if let Some(file) = parts.file.or(parts.exec.map(|exec| &exec.executable)) {
        put(45, "File Path", "file.path", file.path.to_string());
    }
    if let Some(network) = parts.network {
        let end = if network.direction == *"in" { "src_endpoint" } else { "dst_endpoint" };
        if let Some(address) = network.address {
            put(2, "IP Address", &format!("{end}.ip"), address.to_string());
        }
        if let Some(name) = &network.name {
            put(1, "Hostname", &format!("{end}.hostname"), name.to_string());
        }
    }
    if let Some(dns) = parts.dns {
        put(1, "Hostname", "query.hostname", dns.question.to_string());
    }
    if let Some(exe) = &parts.process.exe {
        put(9, "Process Name", "actor.process.name", name_of(exe));
    }
    if let Some(line) = command_line(&parts.process.args) {
        put(13, "Command Line", "actor.process.cmd_line", line);
    }
    put(15, "Process ID", "actor.process.pid", parts.process.pid.to_string());
    if let Some(user) = &parts.process.user {
        put(4, "User Name", "actor.user.name", user.to_string());
    }
    if let Some(container) = &parts.process.container {
        put(27, "Container", "actor.process.container", container.id.to_string());
    }
    Value::Array(list)
}
