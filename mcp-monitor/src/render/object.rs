//! The object of an event in a few words for people: a path, an address, a name. Escaped.

use super::text::{byte_count, errno_name, escaped};
use crate::event::{
    Access, Action, DnsObject, Endpoint, ExecObject, FileObject, FilePath, NetworkObject, Outcome, SnoopWay,
    Transport,
};
use std::{fmt::Write as _, net::IpAddr};

/// What a line for people says of an action: words before and after the part that may be shortened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// In front: access, transport.
    pub(super) before: String,
    /// May be shortened in the middle.
    pub(super) main: String,
    /// Behind: name, bytes, result.
    pub(super) after: String,
}

/// Path, address or name of an action's object, in full.
pub(super) fn of_action(action: &Action) -> String {
    match action {
        Action::Exec(exec) => path(exec.script.as_ref().map_or(&exec.executable.path, |script| &script.path)),
        other => {
            let described = describe(other);
            match other.network() {
                Some(network) if network.name.is_some() => {
                    format!("{} {}", described.main, described.after.trim()).trim_end().to_owned()
                }
                _ => described.main,
            }
        }
    }
}

/// See [`Described`].
pub(super) fn describe(action: &Action) -> Described {
    match action {
        Action::Fork(child) => Described { main: format!("child {}", child.pid.0), ..Described::default() },
        Action::Exec(exec) => of_exec(exec),
        Action::Exit(status) => Described { main: exit_status(*status), ..Described::default() },
        Action::Open(file) | Action::Receive(file) | Action::Map(file) => {
            Described { before: access_letters(file.access), ..of_file(file) }
        }
        Action::Chmod(file) => Described { before: format!("{:04o}", file.flags & 0o7777), ..of_file(file) },
        Action::Rename(file)
        | Action::Link(file)
        | Action::Symlink(file)
        | Action::Unlink(file)
        | Action::Truncate(file) => of_file(file),
        Action::Connect(network)
        | Action::Send(network)
        | Action::Accept(network)
        | Action::Listen(network)
        | Action::Close(network) => of_network(network),
        Action::Dns(dns) => of_dns(dns),
        Action::Snoop(snoop) => {
            let mut main = format!("pid {}", snoop.target.0);
            if let Some(exe) = &snoop.target_executable {
                let _ = write!(main, " {}", escaped(exe.as_slice()));
            }
            let before = match snoop.way {
                SnoopWay::AccessCheck => "access",
                SnoopWay::Ptrace => "ptrace",
                SnoopWay::ProcessVmRead => "vm-read",
                SnoopWay::ProcessVmWrite => "vm-write",
                SnoopWay::PidfdGetfd => "getfd",
                SnoopWay::ProcFile => "proc",
            };
            Described { before: before.into(), main, after: String::new() }
        }
        Action::Coverage(note) => {
            let count = if note.count > 0 { format!(" ({})", note.count) } else { String::new() };
            Described {
                before: note.cause.into(),
                main: escaped(note.what.as_bytes()).into_owned(),
                after: count,
            }
        }
    }
}

/// What came of it, where that is worth a word.
pub(super) fn outcome_word(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Ok | Outcome::Permitted => None,
        Outcome::Started => Some("started".into()),
        Outcome::Denied => Some("denied".into()),
        Outcome::Failed(errno) => Some(errno_name(errno)),
    }
}

/// A wait status in words.
fn exit_status(status: u32) -> String {
    match status & 0x7f {
        0 => exit_words(Some(status >> 8 & 0xff), None),
        signal => exit_words(None, Some(signal)),
    }
}

/// How a process ended, in words.
pub(super) fn exit_words(code: Option<u32>, signal: Option<u32>) -> String {
    match (code, signal) {
        (_, Some(signal)) => i32::try_from(signal)
            .ok()
            .and_then(|number| nix::sys::signal::Signal::try_from(number).ok())
            .map_or_else(|| format!("signal {signal}"), |signal| signal.as_str().to_owned()),
        (Some(code), None) => format!("status {code}"),
        (None, None) => "ended".into(),
    }
}

/// A path with what is wrong with it.
fn path(path: &FilePath) -> String {
    let mut text = String::new();
    if path.truncated {
        text.push_str("…/");
    }
    text.push_str(&escaped(path.bytes.as_slice()));
    if path.bytes.is_empty() {
        text.push('?');
    }
    text
}

fn path_marks(path: &FilePath) -> String {
    let marks = [
        (path.unresolved, " (as given)"),
        (path.deleted, " (deleted)"),
        (path.outside_root, " (outside root)"),
    ];
    marks.into_iter().filter_map(|(set, mark)| set.then_some(mark)).collect()
}

fn of_file(file: &FileObject) -> Described {
    let mut main = path(&file.path);
    if let Some(target) = &file.target {
        let _ = write!(main, " → {}", path(target));
    }
    Described { before: String::new(), main, after: path_marks(&file.path) }
}

/// `r`, `w`, `x`, `p` for read, write, execute and path only; `+` created, `0` cut off.
fn access_letters(access: Access) -> String {
    let letters = [
        (access.read, 'r'),
        (access.write, 'w'),
        (access.execute, 'x'),
        (access.path_only, 'p'),
        (access.create, '+'),
        (access.truncate, '0'),
    ];
    letters.into_iter().filter_map(|(set, letter)| set.then_some(letter)).collect()
}

fn of_exec(exec: &ExecObject) -> Described {
    let mut main = path(&exec.executable.path);
    if let Some(script) = &exec.script {
        let _ = write!(main, " [{}]", path(&script.path));
    }
    for argument in exec.arguments.iter().skip(1) {
        let text = escaped(argument.as_slice());
        if text.is_empty() || text.contains(' ') {
            let _ = write!(main, " '{text}'");
        } else {
            let _ = write!(main, " {text}");
        }
    }
    if exec.arguments_truncated {
        main.push_str(" …");
    }
    Described { before: String::new(), main, after: path_marks(&exec.executable.path) }
}

/// An address with its port, as it is written in URLs.
pub(super) fn internet(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

fn of_network(network: &NetworkObject) -> Described {
    let before = match network.transport {
        Transport::Tcp => "tcp".into(),
        Transport::Udp => "udp".into(),
        Transport::Raw(protocol) => format!("raw/{protocol}"),
        Transport::UnixStream => "unix".into(),
        Transport::UnixDatagram => "unix-dgram".into(),
        Transport::Other(family, _) => format!("family/{family}"),
    };
    let mut after = String::new();
    let main = match &network.remote {
        Endpoint::Internet(address, port) => internet(*address, *port),
        Endpoint::UnixPath(socket, _) => {
            after.push_str(&path_marks(socket));
            path(socket)
        }
        Endpoint::UnixAbstract(name) => format!("@{}", escaped(name.as_slice())),
        Endpoint::UnixGiven(name) => {
            after.push_str(" (as given)");
            escaped(name.as_slice()).into_owned()
        }
        Endpoint::Unnamed => "unnamed".into(),
    };
    if let Some(name) = &network.name {
        let _ = write!(after, " ({})", escaped(name.as_slice()));
    }
    if let (Some(sent), Some(received)) = (network.bytes_sent, network.bytes_received) {
        let _ = write!(after, " sent {}, received {}", byte_count(sent), byte_count(received));
    }
    Described { before, main, after }
}

fn of_dns(dns: &DnsObject) -> Described {
    let mut main = escaped(dns.question.as_slice()).into_owned();
    for (index, (address, _)) in dns.addresses.iter().enumerate() {
        let _ = write!(main, "{}{address}", if index == 0 { " → " } else { ", " });
    }
    let after = if dns.response_code == 0 { String::new() } else { format!(" (code {})", dns.response_code) };
    Described { before: String::new(), main, after }
}
