//! What stays the same when the same thing is done again: numbers, process ids, hashes and temporary names in paths do
//! not count, nor do ports of whoever listens briefly, and a name stands for all its addresses.

use crate::{
    event::{Action, Bytes, Endpoint, Event, NetworkObject},
    expectation::network::{fold, is_own_host},
};

/// Ports from here on are handed out to whoever asks for any.
const EPHEMERAL_PORT: u16 = 32_768;
/// Letters and digits of a name that is most likely made up.
const RANDOM_LEAST: usize = 6;

/// The generalised object of an event, with the source of its decision.
#[must_use]
pub fn generalised(event: &Event) -> Vec<u8> {
    let mut target = event.decision.source.clone().into_bytes();
    target.push(0);
    match &event.action {
        Action::Exec(exec) => {
            let file = exec.script.as_ref().unwrap_or(&exec.executable);
            path(file.path.bytes.as_slice(), &mut target);
        }
        Action::Snoop(snoop) => {
            let executable = snoop.target_executable.as_ref().map(Bytes::as_slice);
            path(executable.unwrap_or(b"?"), &mut target);
        }
        Action::Coverage(note) => target.extend_from_slice(note.cause.as_bytes()),
        Action::Listen(network)
        | Action::Connect(network)
        | Action::Send(network)
        | Action::Accept(network)
        | Action::Close(network) => endpoint(network, &mut target),
        action => {
            if let Some(file) = action.file() {
                path(file.path.bytes.as_slice(), &mut target);
            }
        }
    }
    target
}

/// The generalised program of an event.
#[must_use]
pub fn program(event: &Event) -> Vec<u8> {
    let mut program = Vec::new();
    path(event.process.executable.as_slice(), &mut program);
    if let Some(script) = &event.process.script {
        program.push(0);
        path(script.as_slice(), &mut program);
    }
    program
}

fn endpoint(network: &NetworkObject, target: &mut Vec<u8>) {
    match &network.remote {
        Endpoint::Internet(address, port) => {
            let address = fold(*address);
            match &network.name {
                Some(name) => target.extend_from_slice(name.as_slice()),
                None => target.extend_from_slice(address.to_string().as_bytes()),
            }
            // What is listened at on this host gets a new number with every start.
            if is_own_host(address) && *port >= EPHEMERAL_PORT {
                target.extend_from_slice(b":#");
            } else {
                target.extend_from_slice(format!(":{port}").as_bytes());
            }
        }
        Endpoint::UnixPath(socket, _) => path(socket.bytes.as_slice(), target),
        Endpoint::UnixAbstract(name) | Endpoint::UnixGiven(name) => path(name.as_slice(), target),
        Endpoint::Unnamed => {}
    }
}

/// A path without what changes from run to run.
#[must_use]
pub fn general_path(given: &[u8]) -> Vec<u8> {
    let mut general = Vec::new();
    path(given.strip_prefix(b"/").unwrap_or(given), &mut general);
    general
}

/// Adds `path` with every run of digits as `#` and every name that looks made up as `*`.
fn path(path: &[u8], target: &mut Vec<u8>) {
    for name in path.split(|&byte| byte == b'/') {
        target.push(b'/');
        if is_made_up(name) {
            target.push(b'*');
            continue;
        }
        let mut in_number = false;
        for &byte in name {
            if !byte.is_ascii_digit() {
                target.push(byte);
            } else if !in_number {
                target.push(b'#');
            }
            in_number = byte.is_ascii_digit();
        }
    }
}

/// Hashes, UUIDs, and what `mktemp` makes: a stretch of at least six letters and digits with both, or with capitals
/// in its middle, behind the last separator.
fn is_made_up(name: &[u8]) -> bool {
    let is_hexadecimal =
        name.len() >= 16 && name.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let last = name.rsplit(|byte| matches!(byte, b'.' | b'-' | b'_')).next().unwrap_or_default();
    let digits = last.iter().filter(|byte| byte.is_ascii_digit()).count();
    let capitals = last.iter().skip(1).filter(|byte| byte.is_ascii_uppercase()).count();
    let small = last.iter().filter(|byte| byte.is_ascii_lowercase()).count();
    let alphanumeric = last.iter().all(u8::is_ascii_alphanumeric);
    let mixed =
        digits > 0 && capitals > 0 || capitals > 0 && small > 0 && last.len() == 10 && name.len() > 10;
    let mixed = mixed || digits > 1 && small > 1 && last.len() >= 8;
    is_hexadecimal || alphanumeric && last.len() >= RANDOM_LEAST && mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        let mut target = Vec::new();
        path(text.as_bytes(), &mut target);
        String::from_utf8(target).unwrap().split_off(1)
    }

    #[test]
    fn numbers_hashes_and_temporary_names_are_one() {
        assert_eq!(of("/proc/4711/environ"), of("/proc/7/environ"));
        assert_eq!(of("/tmp/tmp.aB3dE9fGh1/x"), of("/tmp/tmp.Zz81KkQ2p0/x"));
        assert_eq!(of("/x/0123456789abcdef0123"), of("/x/ffeeddccbbaa99887766"));
        assert_eq!(of("/opt/tool-1.2.3/bin"), of("/opt/tool-1.10.0/bin"));
    }

    #[test]
    fn names_that_mean_something_stay() {
        for path in [
            "/home/u/.ssh/id_rsa",
            "/home/u/.aws/credentials",
            "/home/u/.docker/config.json",
            "/home/u/README",
        ] {
            assert_eq!(of(path), path);
        }
        assert_ne!(of("/home/u/.ssh/id_rsa"), of("/home/u/.ssh/id_ed25519"));
    }
}
