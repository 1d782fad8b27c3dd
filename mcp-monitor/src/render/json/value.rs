//! Values that lines are made of, serialised straight from the domain model without a copy where possible.

use crate::{
    event::{
        Access, Bytes, Descriptor, DescriptorKind, Outcome, Process, ProcessKey, Workload, WorkloadKind,
    },
    host::pods::Pods,
    render::{Origin, text},
};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::{borrow::Cow, collections::BTreeMap};

/// Hostile bytes as escaped text.
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl<'a> Text<'a> {
    pub(super) fn of(bytes: &'a Bytes) -> Self {
        Self(bytes.as_slice())
    }

    pub(super) fn unless_empty(bytes: &'a Bytes) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self::of(bytes))
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text::escaped(self.0))
    }
}

impl JsonSchema for Text<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Bytes from a monitored process. A byte that is not UTF-8, a control character or a \
                            character that changes how a line reads is written \\xNN per byte, a backslash \\\\."
        })
    }
}

/// A list of hostile texts.
pub(super) struct Texts<'a>(pub(super) &'a [Bytes]);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Text::of))
    }
}

/// Wall-clock time, RFC 3339 in UTC with nanoseconds.
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.9}", self.0))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"
        })
    }
}

/// A device number `major:minor`.
pub(super) struct Device(pub(super) u32);

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}:{}", self.0 >> 20, self.0 & 0xf_ffff))
    }
}

/// What came of an operation.
pub(super) struct ResultWord(pub(super) Outcome);

impl Serialize for ResultWord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Outcome::Ok => serializer.serialize_str("ok"),
            Outcome::Permitted => serializer.serialize_str("permitted"),
            Outcome::Started => serializer.serialize_str("started"),
            Outcome::Denied => serializer.serialize_str("denied"),
            Outcome::Failed(errno) => {
                serializer.collect_str(&format_args!("failed:{}", text::errno_name(errno)))
            }
        }
    }
}

impl JsonSchema for ResultWord {
    fn schema_name() -> Cow<'static, str> {
        "Result".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(ok|permitted|started|denied|failed:(E[A-Z0-9]+|-?[0-9]+))$",
            "description": "permitted: allowed, and the mechanism does not see what came of it; started: the \
                            outcome follows in another event; denied: refused by the monitor."
        })
    }
}

/// A set of accesses.
pub(super) struct AccessWords(pub(super) Access);

/// The words of [`AccessWords`].
pub(super) fn access_words(access: Access) -> impl Iterator<Item = &'static str> {
    [
        (access.read, "read"),
        (access.write, "write"),
        (access.execute, "execute"),
        (access.path_only, "path"),
        (access.create, "create"),
        (access.truncate, "truncate"),
    ]
    .into_iter()
    .filter_map(|(set, word)| set.then_some(word))
}

impl Serialize for AccessWords {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(access_words(self.0))
    }
}

/// The host.
#[derive(Serialize, JsonSchema)]
pub(super) struct Host<'a> {
    id: &'a str,
    name: &'a str,
    boot: &'a str,
}

/// The monitor.
#[derive(Serialize, JsonSchema)]
pub(super) struct Monitor<'a> {
    version: &'a str,
    #[schemars(extend("enum" = ["lsm", "probe", "tracepoint"]))]
    tier: &'a str,
}

impl<'a> Host<'a> {
    pub(super) fn new(origin: &'a Origin) -> Self {
        Self { id: &origin.host_id, name: &origin.host_name, boot: &origin.boot_id }
    }
}

impl Monitor<'_> {
    pub(super) fn new(origin: &Origin) -> Self {
        Self { version: origin.version, tier: origin.tier.name() }
    }
}

/// An MCP server or an agent runner.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Workload")]
pub(super) struct WorkloadValue<'a> {
    /// Stable hash of what it is.
    id: &'a str,
    /// One running lineage of it.
    instance: &'a str,
    #[schemars(extend("enum" = ["server", "agent"]))]
    kind: &'static str,
    #[schemars(with = "Text")]
    name: Text<'a>,
    /// The client that declares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    /// The workload that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
}

impl<'a> WorkloadValue<'a> {
    pub(super) fn new(workload: &'a Workload) -> Self {
        Self {
            id: &workload.id,
            instance: &workload.instance,
            kind: match workload.kind {
                WorkloadKind::Server => "server",
                WorkloadKind::Agent => "agent",
            },
            name: Text(workload.name.as_bytes()),
            client: workload.client.as_deref(),
            parent: workload.parent.as_deref(),
        }
    }
}

/// A process that no other will ever be.
#[derive(Serialize, JsonSchema)]
pub(super) struct ProcessReference<'a> {
    pid: u32,
    /// Nanoseconds from boot to its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
    /// Counts the programs it executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    exec_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe: Option<Text<'a>>,
}

impl<'a> ProcessReference<'a> {
    pub(super) fn new(key: ProcessKey, exe: Option<Text<'a>>) -> Self {
        Self { exec_id: Some(key.exec_id), ..Self::weak(key.pid.0, Some(key.start.0), exe) }
    }

    pub(super) fn weak(pid: u32, start: Option<u64>, exe: Option<Text<'a>>) -> Self {
        Self { pid, start, exec_id: None, exe }
    }
}

/// Forebears, nearest first.
pub(super) struct Ancestors<'a>(pub(super) &'a [(ProcessKey, Bytes)]);

impl Serialize for Ancestors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(self.0.iter().map(|(key, exe)| ProcessReference::new(*key, Text::unless_empty(exe))))
    }
}

/// A container.
#[derive(Serialize, JsonSchema)]
pub(super) struct Container<'a> {
    id: &'a str,
    #[serde(flatten)]
    pod: Option<PodValue>,
}

impl<'a> Container<'a> {
    fn new(id: &'a str, process: &Process, pods: &Pods) -> Self {
        let pod = pods.of(process.cgroup.as_slice()).map(|pod| {
            let (name, image) = pod.containers.get(id).cloned().unzip();
            let text = |text: &str| crate::event::escape(text.as_bytes());
            PodValue {
                name: name.as_deref().map(text),
                image: image.as_deref().map(text),
                pod: text(&pod.name),
                namespace: text(&pod.namespace),
                labels: pod.labels.iter().map(|(key, value)| (text(key), text(value))).collect(),
            }
        });
        Self { id, pod }
    }
}

/// What a Kubernetes cluster says of a container.
#[derive(Serialize, JsonSchema)]
struct PodValue {
    /// Name of the container in its pod; absent until the cluster knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// Name of its pod.
    pod: String,
    /// Namespace of its pod.
    namespace: String,
    /// Labels of its pod.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

/// Who did it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Process")]
pub(super) struct ProcessValue<'a> {
    pid: u32,
    /// Nanoseconds from boot to its start.
    start: u64,
    /// Counts the programs it executed.
    exec_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe: Option<Text<'a>>,
    /// The program's file has no name any more, or lies in memory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    exe_deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<Text<'a>>,
    /// Arguments; what looks like a secret is masked.
    #[schemars(with = "Vec<Text>")]
    args: Texts<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    args_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<Text<'a>>,
    uid: u32,
    euid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tty: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<Text<'a>>,
    mount_namespace: u32,
    pid_namespace: u32,
    net_namespace: u32,
    /// Nearest first.
    #[schemars(with = "Vec<ProcessReference>")]
    ancestors: Ancestors<'a>,
    /// Started before the monitor, or known from procfs only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    bootstrap: bool,
}

impl<'a> ProcessValue<'a> {
    pub(super) fn new(process: &'a Process, pods: &Pods) -> Self {
        Self {
            pid: process.key.pid.0,
            start: process.key.start.0,
            exec_id: process.key.exec_id,
            exe: Text::unless_empty(&process.executable),
            exe_deleted: process.executable_deleted,
            script: process.script.as_ref().map(Text::of),
            args: Texts(&process.arguments),
            args_truncated: process.arguments_truncated,
            cwd: Text::unless_empty(&process.working_directory),
            uid: process.uid,
            euid: process.euid,
            user: process.user.as_deref(),
            login_uid: process.login_uid,
            session: process.session,
            tty: process.tty.as_ref().map(Text::of),
            container: process.container.as_deref().map(|id| Container::new(id, process, pods)),
            cgroup: Text::unless_empty(&process.cgroup),
            mount_namespace: process.mount_namespace,
            pid_namespace: process.pid_namespace,
            net_namespace: process.net_namespace,
            ancestors: Ancestors(&process.ancestors),
            bootstrap: process.bootstrap,
        }
    }
}

/// A standard descriptor at exec.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Descriptor")]
pub(super) struct DescriptorValue {
    #[schemars(extend("enum" = ["closed", "pipe", "socket", "character-device", "file", "other"]))]
    kind: &'static str,
    inode: u64,
    /// Inode of the socket at the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_inode: Option<u64>,
    #[schemars(with = "String")]
    device: Device,
}

impl DescriptorValue {
    pub(super) fn new(descriptor: &Descriptor) -> Self {
        Self {
            kind: match descriptor.kind {
                DescriptorKind::Closed => "closed",
                DescriptorKind::Pipe => "pipe",
                DescriptorKind::Socket => "socket",
                DescriptorKind::CharacterDevice => "character-device",
                DescriptorKind::File => "file",
                DescriptorKind::Other => "other",
            },
            inode: descriptor.inode,
            peer_inode: descriptor.peer_inode,
            device: Device(descriptor.device),
        }
    }
}
