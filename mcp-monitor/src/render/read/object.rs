//! The object of a line that was read, in the words of [`crate::render::object`].

use super::{Event, Exec, File, Finding, Network, ProcessReference, Text};
use crate::render::{
    object::{Described, exit_words, internet},
    text::byte_count,
};
use std::fmt::Write as _;

/// See [`crate::render::object::describe`].
pub(super) fn described(event: &Event) -> Described {
    let kind = event.kind.as_bytes();
    if let Some(note) = &event.coverage {
        let after = if note.count > 0 { format!(" ({})", note.count) } else { String::new() };
        return Described { before: note.cause.to_string(), main: note.what.to_string(), after };
    }
    if let Some(dns) = &event.dns {
        let mut main = dns.question.to_string();
        for (index, answer) in dns.answers.iter().enumerate() {
            let _ = write!(main, "{}{}", if index == 0 { " → " } else { ", " }, answer.address);
        }
        let code = dns.response_code;
        let after = if code == 0 { String::new() } else { format!(" (code {code})") };
        return Described { before: String::new(), main, after };
    }
    if let Some(exit) = &event.exit {
        return Described { main: exit_words(exit.code, exit.signal), ..Described::default() };
    }
    if let Some(exec) = &event.exec {
        return of_exec(exec);
    }
    if let Some(network) = &event.network {
        return of_network(network);
    }
    if let Some(target) = &event.target_process {
        return match &event.way {
            Some(way) => Described { before: way_word(way), main: reference(target), after: String::new() },
            None => Described { main: format!("child {}", target.pid), ..Described::default() },
        };
    }
    event.file.as_ref().map(|file| of_file(file, kind)).unwrap_or_default()
}

/// Path, address or name of the object alone.
pub(super) fn in_words(event: &Event) -> String {
    if let Some(exec) = &event.exec {
        return path_of(exec.script.as_ref().unwrap_or(&exec.executable));
    }
    if let Some(network) = &event.network {
        return named(network);
    }
    described(event).main
}

/// The same of a finding.
pub(super) fn of_finding(finding: &Finding) -> String {
    if let Some(exec) = &finding.exec {
        return path_of(exec.script.as_ref().unwrap_or(&exec.executable));
    }
    if let Some(network) = &finding.network {
        return named(network);
    }
    if let Some(file) = &finding.file {
        return of_file(file, finding.kind.as_bytes()).main;
    }
    if let Some(dns) = &finding.dns {
        return dns.question.to_string();
    }
    finding.target_process.as_ref().map(reference).unwrap_or_default()
}

/// A destination as `NAME:PORT`, else `ADDRESS:PORT`; `None` when it is on no network.
#[must_use]
pub fn destination(network: &Network) -> Option<String> {
    let (address, port) = (network.address?, network.port.unwrap_or(0));
    Some(match &network.name {
        Some(name) => format!("{name}:{port}"),
        None => internet(address, port),
    })
}

fn named(network: &Network) -> String {
    let Described { main, after, .. } = of_network(network);
    if network.name.is_some() { format!("{main} {}", after.trim()).trim_end().to_owned() } else { main }
}

fn reference(process: &ProcessReference) -> String {
    match &process.exe {
        Some(exe) => format!("pid {} {exe}", process.pid),
        None => format!("pid {}", process.pid),
    }
}

fn way_word(way: &Text) -> String {
    match way.as_bytes() {
        b"access-check" => "access".into(),
        b"process-vm-readv" => "vm-read".into(),
        b"process-vm-writev" => "vm-write".into(),
        b"pidfd-getfd" => "getfd".into(),
        b"proc-file" => "proc".into(),
        _ => way.to_string(),
    }
}

fn path_of(file: &File) -> String {
    path(&file.path, file.truncated)
}

fn path(text: &Text, truncated: bool) -> String {
    let begin = if truncated { "…/" } else { "" };
    let end = if text.is_empty() { "?" } else { "" };
    format!("{begin}{text}{end}")
}

fn marks(file: &File) -> String {
    let marks = [
        (file.unresolved, " (as given)"),
        (file.deleted, " (deleted)"),
        (file.outside_root, " (outside root)"),
    ];
    marks.into_iter().filter_map(|(set, mark)| set.then_some(mark)).collect()
}

fn of_file(file: &File, kind: &[u8]) -> Described {
    let mut main = path_of(file);
    if let Some(target) = &file.target {
        let _ = write!(main, " → {}", path(target, file.target_truncated));
    }
    let before = match kind {
        b"open" | b"receive" | b"map" => access_letters(file),
        b"chmod" => file.new_mode.as_ref().map(|mode| format!("{:0>4}", mode.escaped())).unwrap_or_default(),
        _ => String::new(),
    };
    Described { before, main, after: marks(file) }
}

fn access_letters(file: &File) -> String {
    let letters =
        [("read", 'r'), ("write", 'w'), ("execute", 'x'), ("path", 'p'), ("create", '+'), ("truncate", '0')];
    letters
        .into_iter()
        .filter(|(word, _)| file.access.iter().any(|access| access == *word))
        .map(|(_, letter)| letter)
        .collect()
}

fn of_exec(exec: &Exec) -> Described {
    let mut main = path_of(&exec.executable);
    if let Some(script) = &exec.script {
        let _ = write!(main, " [{}]", path_of(script));
    }
    for argument in exec.args.iter().skip(1) {
        let text = argument.escaped();
        if text.is_empty() || text.contains(' ') {
            let _ = write!(main, " '{text}'");
        } else {
            let _ = write!(main, " {text}");
        }
    }
    if exec.args_truncated {
        main.push_str(" …");
    }
    Described { before: String::new(), main, after: marks(&exec.executable) }
}

fn of_network(network: &Network) -> Described {
    let before = match (network.transport.as_bytes(), network.protocol, network.family) {
        (b"raw", Some(protocol), _) => format!("raw/{protocol}"),
        (b"other", _, Some(family)) => format!("family/{family}"),
        (b"unix-stream", ..) => "unix".into(),
        (b"unix-datagram", ..) => "unix-dgram".into(),
        _ => network.transport.to_string(),
    };
    let mut after = String::new();
    let main = if let (Some(address), Some(port)) = (network.address, network.port) {
        internet(address, port)
    } else if let Some(socket) = &network.path {
        if network.unresolved {
            after.push_str(" (as given)");
        }
        path(socket, false)
    } else if let Some(name) = &network.abstract_name {
        format!("@{name}")
    } else {
        "unnamed".into()
    };
    if let Some(name) = &network.name {
        let _ = write!(after, " ({name})");
    }
    if let (Some(sent), Some(received)) = (network.bytes_sent, network.bytes_received) {
        let _ = write!(after, " sent {}, received {}", byte_count(sent), byte_count(received));
    }
    Described { before, main, after }
}
