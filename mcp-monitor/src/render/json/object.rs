//! Objects of events: files, programs, peers, names, other processes.

use super::value::{AccessWords, DescriptorValue, Device, ProcessReference, Text, Texts};
use crate::{
    event::{
        Action, Direction, DnsObject, Endpoint, ExecObject, FileIdentity, FileObject, FilePath,
        NameConfidence, NetworkObject, SnoopWay, Transport,
    },
    render::text,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{borrow::Cow, net::IpAddr, ops::Not};

/// What makes a file that file, as the kernel has it (not as `stat` tells).
#[derive(Serialize, JsonSchema)]
pub(super) struct Identity {
    #[schemars(with = "String")]
    device: Device,
    inode: u64,
    generation: u32,
}

impl Identity {
    fn new(identity: FileIdentity) -> Self {
        Self { device: Device(identity.device), inode: identity.inode, generation: identity.generation }
    }
}

/// A file.
#[derive(Serialize, JsonSchema)]
pub(super) struct File<'a> {
    /// As seen from the process's root.
    path: Text<'a>,
    #[serde(flatten)]
    identity: Option<Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Identity>,
    #[schemars(with = "Vec<String>")]
    access: AccessWords,
    /// Rename, link: the new place. Symlink: what it points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Not::not")]
    target_unresolved: bool,
    /// Parts of `target` nearest to the root are missing.
    #[serde(skip_serializing_if = "Not::not")]
    target_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_parent: Option<Identity>,
    /// Rename: what was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Identity>,
    /// The name is as the process gave it; the kernel did not resolve it.
    #[serde(skip_serializing_if = "Not::not")]
    unresolved: bool,
    /// Parts nearest to the root are missing.
    #[serde(skip_serializing_if = "Not::not")]
    truncated: bool,
    /// The name was removed.
    #[serde(skip_serializing_if = "Not::not")]
    deleted: bool,
    /// Not reachable from the process's root.
    #[serde(skip_serializing_if = "Not::not")]
    outside_root: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    filesystem: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<u32>,
    /// Type and permissions, octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Change of mode: the permissions that were asked for, octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_mode: Option<String>,
    /// Found in the kernel's set of secrets.
    #[serde(skip_serializing_if = "Not::not")]
    secret: bool,
}

impl<'a> File<'a> {
    pub(super) fn new(file: &'a FileObject) -> Self {
        Self {
            path: Text::of(&file.path.bytes),
            identity: file.identity.map(Identity::new),
            parent: file.parent.map(Identity::new),
            access: AccessWords(file.access),
            target: file.target.as_ref().map(|target| Text::of(&target.bytes)),
            target_unresolved: file.target.as_ref().is_some_and(|target| target.unresolved),
            target_truncated: file.target.as_ref().is_some_and(|target| target.truncated),
            target_parent: file.target_parent.map(Identity::new),
            replaced: file.replaced.map(Identity::new),
            unresolved: file.path.unresolved,
            truncated: file.path.truncated,
            deleted: file.path.deleted,
            outside_root: file.path.outside_root,
            filesystem: (file.filesystem_magic != 0).then(|| text::filesystem(file.filesystem_magic)),
            links: file.identity.map(|_| file.links),
            mode: (file.mode != 0).then(|| format!("{:o}", file.mode)),
            new_mode: None,
            secret: file.marked_secret,
        }
    }
}

/// What an exec started.
#[derive(Serialize, JsonSchema)]
pub(super) struct Exec<'a> {
    executable: File<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<File<'a>>,
    /// What was asked to be executed, as given.
    given_name: Text<'a>,
    /// Arguments; what looks like a secret is masked.
    #[schemars(with = "Vec<Text>")]
    args: Texts<'a>,
    #[serde(skip_serializing_if = "Not::not")]
    args_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<Text<'a>>,
    stdin: DescriptorValue,
    stdout: DescriptorValue,
    mount_namespace: u32,
    pid_namespace: u32,
    net_namespace: u32,
}

impl<'a> Exec<'a> {
    fn new(exec: &'a ExecObject) -> Self {
        Self {
            executable: File::new(&exec.executable),
            script: exec.script.as_ref().map(File::new),
            given_name: Text::of(&exec.given_name),
            args: Texts(&exec.arguments),
            args_truncated: exec.arguments_truncated,
            cwd: Text::unless_empty(&exec.working_directory.bytes),
            stdin: DescriptorValue::new(&exec.stdin),
            stdout: DescriptorValue::new(&exec.stdout),
            mount_namespace: exec.mount_namespace,
            pid_namespace: exec.pid_namespace,
            net_namespace: exec.net_namespace,
        }
    }
}

/// A connection, a datagram or a listener.
#[derive(Serialize, JsonSchema)]
pub(super) struct Network<'a> {
    #[schemars(extend("enum" = ["out", "in"]))]
    direction: &'static str,
    #[schemars(extend("enum" = ["tcp", "udp", "raw", "unix-stream", "unix-datagram", "other"]))]
    transport: &'static str,
    /// IP protocol of a raw socket; protocol of other families.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<u16>,
    /// Number of an address family that is none of the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<u16>,
    /// The other end; a listener's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Path of a unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Text<'a>>,
    /// The path or name is as the process gave it.
    #[serde(skip_serializing_if = "Not::not")]
    unresolved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_file: Option<Identity>,
    /// Abstract name of a unix socket.
    #[serde(rename = "abstract", skip_serializing_if = "Option::is_none")]
    abstract_name: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["workload-dns", "host", "shared-address", "unresolved"]))]
    name_confidence: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    local_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_received: Option<u64>,
    /// Data went out with the first packet (`MSG_FASTOPEN`).
    #[serde(skip_serializing_if = "Not::not")]
    fast_open: bool,
}

/// The word for `confidence`.
pub(super) fn confidence_word(confidence: NameConfidence) -> &'static str {
    match confidence {
        NameConfidence::WorkloadDns => "workload-dns",
        NameConfidence::Host => "host",
        NameConfidence::SharedAddress => "shared-address",
        NameConfidence::Unresolved => "unresolved",
    }
}

impl<'a> Network<'a> {
    fn new(network: &'a NetworkObject) -> Self {
        let (transport, protocol, family) = match network.transport {
            Transport::Tcp => ("tcp", None, None),
            Transport::Udp => ("udp", None, None),
            Transport::Raw(protocol) => ("raw", Some(protocol), None),
            Transport::UnixStream => ("unix-stream", None, None),
            Transport::UnixDatagram => ("unix-datagram", None, None),
            Transport::Other(family, protocol) => ("other", Some(protocol), Some(family)),
        };
        let given = |path: &'a FilePath| (Some(Text::of(&path.bytes)), path.unresolved);
        let ((path, unresolved), abstract_name, socket_file) = match &network.remote {
            Endpoint::UnixPath(path, identity) => (given(path), None, identity.map(Identity::new)),
            Endpoint::UnixAbstract(name) => ((None, false), Some(Text::of(name)), None),
            Endpoint::UnixGiven(name) => ((Some(Text::of(name)), true), None, None),
            Endpoint::Internet(..) | Endpoint::Unnamed => ((None, false), None, None),
        };
        let internet = match network.remote {
            Endpoint::Internet(address, port) => Some((address, port)),
            _ => None,
        };
        Self {
            direction: match network.direction {
                Direction::Out => "out",
                Direction::In => "in",
            },
            transport,
            protocol,
            family,
            address: internet.map(|(address, _)| address),
            port: internet.map(|(_, port)| port),
            path,
            unresolved,
            socket_file,
            abstract_name,
            name: network.name.as_ref().map(Text::of),
            name_confidence: internet.map(|_| confidence_word(network.name_confidence)),
            local_address: network.local.map(|(address, _)| address),
            local_port: network.local.map(|(_, port)| port),
            bytes_sent: network.bytes_sent,
            bytes_received: network.bytes_received,
            fast_open: network.fast_open,
        }
    }
}

/// A DNS answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct Dns<'a> {
    #[schemars(with = "String")]
    server: IpAddr,
    server_port: u16,
    question: Text<'a>,
    answers: Vec<DnsAnswer>,
    response_code: u16,
}

/// One address of a DNS answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct DnsAnswer {
    #[schemars(with = "String")]
    address: IpAddr,
    /// Seconds.
    ttl: u32,
}

impl<'a> Dns<'a> {
    fn new(dns: &'a DnsObject) -> Self {
        Self {
            server: dns.server.0,
            server_port: dns.server.1,
            question: Text::of(&dns.question),
            answers: dns.addresses.iter().map(|&(address, ttl)| DnsAnswer { address, ttl }).collect(),
            response_code: dns.response_code,
        }
    }
}

/// A process's end.
#[derive(Serialize, JsonSchema)]
pub(super) struct Exit {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u32>,
    /// Number of the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u32>,
}

/// What could not be seen.
#[derive(Serialize, JsonSchema)]
pub(super) struct Coverage<'a> {
    cause: Cow<'a, str>,
    what: Cow<'a, str>,
    count: u64,
}

impl<'a> Coverage<'a> {
    pub(super) fn new(note: &'a crate::event::CoverageNote) -> Self {
        Self { cause: note.cause.into(), what: text::escaped(note.what.as_bytes()), count: note.count }
    }
}

/// The object of an action; at most two of these are there.
#[derive(Default, Serialize, JsonSchema)]
pub(super) struct Objects<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exec: Option<Exec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Network<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<Dns<'a>>,
    /// Fork: the child. Snoop: whose memory, registers or files were reached into.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_process: Option<ProcessReference<'a>>,
    /// Snoop: how.
    #[serde(skip_serializing_if = "Option::is_none")]
    way: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<Exit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<Coverage<'a>>,
}

/// The word for `way`.
pub(super) fn way_word(way: SnoopWay) -> &'static str {
    match way {
        SnoopWay::AccessCheck => "access-check",
        SnoopWay::Ptrace => "ptrace",
        SnoopWay::ProcessVmRead => "process-vm-readv",
        SnoopWay::ProcessVmWrite => "process-vm-writev",
        SnoopWay::PidfdGetfd => "pidfd-getfd",
        SnoopWay::ProcFile => "proc-file",
    }
}

impl<'a> Objects<'a> {
    pub(super) fn new(action: &'a Action) -> Self {
        let mut objects = Self::default();
        match action {
            Action::Fork(child) => objects.target_process = Some(ProcessReference::new(*child, None)),
            Action::Exec(exec) => objects.exec = Some(Exec::new(exec)),
            Action::Exit(status) => {
                let signal = status & 0x7f;
                objects.exit = Some(Exit {
                    code: (signal == 0).then_some(status >> 8 & 0xff),
                    signal: (signal != 0).then_some(signal),
                });
            }
            Action::Dns(dns) => objects.dns = Some(Dns::new(dns)),
            Action::Snoop(snoop) => {
                objects.target_process = Some(ProcessReference::weak(
                    snoop.target.0,
                    snoop.target_start.map(|start| start.0),
                    snoop.target_executable.as_ref().map(Text::of),
                ));
                objects.way = Some(way_word(snoop.way));
            }
            Action::Chmod(file) => {
                let new_mode = Some(format!("{:o}", file.flags & 0o7777));
                objects.file = Some(File { new_mode, ..File::new(file) });
            }
            Action::Coverage(note) => objects.coverage = Some(Coverage::new(note)),
            other => {
                objects.file = other.file().map(File::new);
                objects.network = other.network().map(Network::new);
            }
        }
        objects
    }
}
