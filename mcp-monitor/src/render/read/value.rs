//! Parts of lines. Only what is shown or asked for is read; the line itself is kept beside it.

use super::Text;
use serde::Deserialize;
use std::net::IpAddr;

/// The host.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Host {
    /// Machine id.
    #[serde(default)]
    pub id: Text,
    /// Name.
    #[serde(default)]
    pub name: Text,
    /// Boot id.
    #[serde(default)]
    pub boot: Text,
}

/// The monitor.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Monitor {
    /// Version.
    #[serde(default)]
    pub version: Text,
    /// Tier in use.
    #[serde(default)]
    pub tier: Text,
}

/// The workload and instance.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Workload {
    /// Stable hash of what it is.
    pub id: Text,
    /// One running lineage of it.
    pub instance: Text,
    /// `server` or `agent`.
    #[serde(default)]
    pub kind: Text,
    /// Name for people.
    #[serde(default)]
    pub name: Text,
    /// The client that declares it.
    pub client: Option<Text>,
    /// The workload that started it.
    pub parent: Option<Text>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Container {
    /// Id.
    #[serde(default)]
    pub id: Text,
    /// Image.
    pub image: Option<Text>,
    /// Pod.
    pub pod: Option<Text>,
    /// Namespace of the pod.
    pub namespace: Option<Text>,
}

/// Another process.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ProcessReference {
    /// Host process id.
    pub pid: u32,
    /// Start, ns since boot.
    #[serde(default)]
    pub start: u64,
    /// Count of executed programs.
    #[serde(default)]
    pub exec_id: u32,
    /// The program.
    pub exe: Option<Text>,
}

/// Who did it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Process {
    /// Host process id.
    pub pid: u32,
    /// Start, ns since boot.
    #[serde(default)]
    pub start: u64,
    /// Count of executed programs.
    #[serde(default)]
    pub exec_id: u32,
    /// The program.
    pub exe: Option<Text>,
    /// The script.
    pub script: Option<Text>,
    /// Masked arguments.
    #[serde(default)]
    pub args: Vec<Text>,
    /// Real user id.
    #[serde(default)]
    pub uid: u32,
    /// The user's name.
    pub user: Option<Text>,
    /// Audit login uid.
    pub login_uid: Option<u32>,
    /// Audit session.
    pub session: Option<u32>,
    /// Terminal.
    pub tty: Option<Text>,
    /// Working directory.
    pub cwd: Option<Text>,
    /// Container.
    pub container: Option<Container>,
    /// Nearest first.
    #[serde(default)]
    pub ancestors: Vec<ProcessReference>,
}

impl Process {
    /// The program's or the script's last name; `?` when there is none.
    #[must_use]
    pub fn program(&self) -> &[u8] {
        let path = self.script.as_ref().or(self.exe.as_ref());
        path.map(Text::last_name).filter(|name| !name.is_empty()).unwrap_or(b"?")
    }

    /// The user's name, else the number.
    #[must_use]
    pub fn user(&self) -> String {
        self.user.as_ref().map_or_else(|| self.uid.to_string(), Text::to_string)
    }
}

/// A file.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct File {
    /// As seen from the process's root.
    #[serde(default)]
    pub path: Text,
    /// Device number, `major:minor`.
    pub device: Option<Text>,
    /// Inode number.
    pub inode: Option<u64>,
    /// `read`, `write` …
    #[serde(default)]
    pub access: Vec<Text>,
    /// The new place.
    pub target: Option<Text>,
    /// Parts nearest to the root of `target` are missing.
    #[serde(default)]
    pub target_truncated: bool,
    /// As the process gave it.
    #[serde(default)]
    pub unresolved: bool,
    /// Parts nearest to the root are missing.
    #[serde(default)]
    pub truncated: bool,
    /// The name was removed.
    #[serde(default)]
    pub deleted: bool,
    /// Not reachable from the process's root.
    #[serde(default)]
    pub outside_root: bool,
    /// Type and permissions, octal.
    pub mode: Option<Text>,
    /// New permissions, octal, of a change of mode.
    pub new_mode: Option<Text>,
}

/// What an exec started.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Exec {
    /// The program.
    #[serde(default)]
    pub executable: File,
    /// The script.
    pub script: Option<File>,
    /// Masked arguments.
    #[serde(default)]
    pub args: Vec<Text>,
    /// More arguments than were kept.
    #[serde(default)]
    pub args_truncated: bool,
}

/// A connection, a datagram or a listener.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Network {
    /// `out` or `in`.
    #[serde(default)]
    pub direction: Text,
    /// `tcp`, `udp` …
    #[serde(default)]
    pub transport: Text,
    /// IP protocol of a raw socket.
    pub protocol: Option<u16>,
    /// Address family.
    pub family: Option<u16>,
    /// The other end.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// Unix socket.
    pub path: Option<Text>,
    /// `path` is as the process gave it.
    #[serde(default)]
    pub unresolved: bool,
    /// Abstract unix socket.
    #[serde(rename = "abstract")]
    pub abstract_name: Option<Text>,
    /// Name of the address.
    pub name: Option<Text>,
    /// How sure the name is.
    pub name_confidence: Option<Text>,
    /// Our side.
    pub local_address: Option<IpAddr>,
    /// Its port.
    pub local_port: Option<u16>,
    /// Close: bytes sent.
    pub bytes_sent: Option<u64>,
    /// Close: bytes received.
    pub bytes_received: Option<u64>,
}

/// A DNS answer.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Dns {
    /// The resolver.
    pub server: Option<IpAddr>,
    /// Its port.
    pub server_port: Option<u16>,
    /// The name that was asked for.
    #[serde(default)]
    pub question: Text,
    /// Addresses.
    #[serde(default)]
    pub answers: Vec<DnsAnswer>,
    /// 0 is no error.
    #[serde(default)]
    pub response_code: u16,
}

/// One address of an answer.
#[derive(Clone, Debug, Deserialize)]
pub struct DnsAnswer {
    /// The address.
    pub address: IpAddr,
    /// Seconds.
    pub ttl: Option<u32>,
}

/// How a process ended.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Exit {
    /// Status.
    pub code: Option<u32>,
    /// Signal.
    pub signal: Option<u32>,
}

/// Why the verdict is what it is.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Decision {
    /// Where the deciding line stands.
    #[serde(default)]
    pub source: Text,
    /// In words.
    #[serde(default)]
    pub reason: Text,
    /// `observed`, `denied`, `killed`.
    #[serde(default)]
    pub action: Text,
    /// Deciding line of an expectation.
    pub line: Option<u32>,
    /// Text of the expectation.
    pub revision: Option<Text>,
}

/// Place in MITRE ATT&CK.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Attack {
    /// Technique.
    #[serde(default)]
    pub technique: Text,
    /// Tactic.
    #[serde(default)]
    pub tactic: Text,
}
