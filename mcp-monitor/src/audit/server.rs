//! What a declaration lets a server do: versions that nobody chose, rights that nobody needs.

use super::{Problem, file::is_secret_name};
use crate::{
    event::{Bytes, Severity},
    inventory::{
        declared::{DeclaredServer, Transport},
        live::{
            program::{Execution, identify},
            tools::Tools,
        },
    },
};

/// Options that give a container the host, and what to do.
const CONTAINER_FLAGS: [(&str, Severity, &str); 12] = [
    ("--privileged", Severity::Critical, "gives the container every right on the host"),
    ("--pid=host", Severity::High, "shows the container every process of the host"),
    ("--network=host", Severity::High, "lets the container reach everything that listens on this host"),
    ("--net=host", Severity::High, "lets the container reach everything that listens on this host"),
    ("--ipc=host", Severity::Medium, "shares memory with the host"),
    ("--userns=host", Severity::Medium, "makes root in the container root on the host"),
    ("--cap-add=ALL", Severity::Critical, "gives the container every right on the host"),
    ("--cap-add=SYS_ADMIN", Severity::High, "lets the container mount what it likes"),
    ("--cap-add=SYS_PTRACE", Severity::High, "lets the container look into processes"),
    ("--security-opt=seccomp=unconfined", Severity::High, "takes the filter of system calls away"),
    ("--security-opt=apparmor=unconfined", Severity::High, "takes the confinement away"),
    ("--security-opt=label=disable", Severity::Medium, "takes the confinement away"),
];

pub(super) fn check(server: &DeclaredServer, tools: &Tools, keep: &mut impl FnMut(Problem)) {
    let mut tell = |check, severity, what: String, fix: &str| {
        keep(Problem {
            check,
            severity,
            path: server.place.path.clone(),
            line: server.place.line,
            key: Some(server.place.key.clone()),
            what,
            fix: fix.to_owned(),
        });
    };
    let Transport::Stdio { command, arguments, .. } = &server.transport else { return };
    if server.uid == Some(0) {
        tell(
            "server-as-root",
            Severity::Medium,
            String::from("the server runs as root"),
            "Declare it for a user of its own",
        );
    }
    let words: Vec<Bytes> =
        std::iter::once(command).chain(arguments).map(|argument| argument.shown().clone()).collect();
    let program = identify(
        tools,
        &Execution {
            executable: command.shown().as_slice(),
            script: None,
            arguments: &words,
            working_directory: b"/",
        },
    );
    if let Some(package) = &program.package {
        let moving =
            package.version.as_deref().is_none_or(|version| matches!(version, "latest" | "next" | "*"));
        let fetched = program.launcher.is_some() || program.container.is_some();
        if fetched && moving && matches!(package.registry.as_str(), "npm" | "pypi" | "oci" | "jsr") {
            let fix = match package.registry.as_str() {
                "pypi" => "Write `NAME==VERSION`",
                "oci" => "Write `IMAGE@sha256:DIGEST`",
                _ => "Write `NAME@VERSION`",
            };
            tell(
                "unpinned-server",
                Severity::Medium,
                format!("every start may fetch another version of {}", package.key()),
                fix,
            );
        }
    }
    roots(server, &words, &mut tell);
    if program.container.is_some() {
        container(&words, &mut tell);
    }
}

/// Folders that hold everything a person has.
fn roots(
    server: &DeclaredServer,
    words: &[Bytes],
    tell: &mut impl FnMut(&'static str, Severity, String, &str),
) {
    use std::os::unix::ffi::OsStrExt as _;
    let home = server.home.as_ref().map(|home| home.as_os_str().as_bytes());
    for word in words.iter().skip(1) {
        let word = word.as_slice();
        let path = word.strip_suffix(b"/").filter(|path| !path.is_empty()).unwrap_or(word);
        let whole_home = home.is_some_and(|home| path == home)
            || matches!(path, b"~" | b"$HOME" | b"${HOME}" | b"${userHome}" | b"/home" | b"/root");
        if whole_home || path == b"/" {
            let what =
                if path == b"/" { "the whole host" } else { "a whole home, with its keys and tokens," };
            tell(
                "home-as-root",
                Severity::High,
                format!("{what} is given to the server as a folder"),
                "Give it the folders that it is for",
            );
        }
    }
}

fn container(words: &[Bytes], tell: &mut impl FnMut(&'static str, Severity, String, &str)) {
    let texts: Vec<String> =
        words.iter().map(|word| String::from_utf8_lossy(word.as_slice()).into_owned()).collect();
    for (index, text) in texts.iter().enumerate() {
        let next = texts.get(index + 1).map_or("", String::as_str);
        // `--flag value` and `--flag=value` mean the same.
        let joined =
            format!("{text}={next}").replace("seccomp:", "seccomp=").replace("apparmor:", "apparmor=");
        let known = CONTAINER_FLAGS.iter().find(|(flag, _, _)| text == flag || joined == *flag);
        if let Some((flag, severity, why)) = known {
            tell("container-isolation", *severity, format!("`{flag}` {why}"), "Leave it out");
        }
        let option = text.split_once('=');
        let mount = match (text.as_str(), option) {
            ("-v" | "--volume" | "--mount", _) => next,
            (_, Some(("-v" | "--volume" | "--mount", value))) => value,
            _ => "",
        };
        let source = mount
            .split(',')
            .find_map(|part| part.strip_prefix("source=").or_else(|| part.strip_prefix("src=")))
            .unwrap_or_else(|| mount.split(':').next().unwrap_or(""));
        if source == "/" {
            tell(
                "container-isolation",
                Severity::Critical,
                String::from("the host's root directory is mounted into the container"),
                "Mount the folders that it is for",
            );
        } else if source.ends_with("docker.sock")
            || source.ends_with("containerd.sock")
            || source.ends_with("podman.sock")
        {
            tell(
                "container-isolation",
                Severity::Critical,
                String::from(
                    "the container runtime's socket is mounted into the container: it can start what it likes",
                ),
                "Leave it out",
            );
        }
        let variable = match (text.as_str(), option) {
            ("-e" | "--env", _) => next,
            (_, Some(("-e" | "--env", value))) => value,
            _ => "",
        };
        if let Some((name, value)) = variable.split_once('=')
            && is_secret_name(name)
            && super::file::is_literal(value)
        {
            tell(
                "secret-in-arguments",
                Severity::High,
                format!("the value of {name} is an argument, which every user of the host can read"),
                "Write `-e NAME` and set the variable under `env`",
            );
        }
    }
}
