//! Playing events to a judge.

use std::sync::Arc;

use super::super::*;
use crate::event::{
    Access, BootNs, Bytes, Direction, DnsObject, Endpoint, ExecObject, FileIdentity, FileObject,
    NameConfidence, NetworkObject, Process, ProcessId, ProcessKey, SegmentId, ThreadId, Transport, Workload,
    WorkloadKind,
};

/// A workload, to play events of.
pub(super) struct Play {
    pub(super) judge: Judge,
    pub(super) kind: WorkloadKind,
    pub(super) time: u64,
}

pub(super) const NPX: &str = "/usr/lib/node_modules/npm/bin/npx-cli.js";

impl Play {
    pub(super) fn new(config: JudgeConfig) -> Self {
        Self { judge: Judge::new(config).unwrap(), kind: WorkloadKind::Server, time: 1 }
    }

    pub(super) fn plain() -> Self {
        Self::new(JudgeConfig { resolvers: vec!["127.0.0.53".parse().unwrap()], ..JudgeConfig::default() })
    }

    pub(super) fn agent() -> Self {
        Self { kind: WorkloadKind::Agent, ..Self::plain() }
    }

    pub(super) fn event(&self, process: &Process, action: Action, outcome: Outcome) -> Event {
        Event {
            id: String::from("e"),
            boot_ns: BootNs(self.time * 1_000_000_000),
            sequence: 1,
            lane: 0,
            action,
            thread: ThreadId(process.key.pid.0),
            segment: SegmentId(1),
            process: Arc::new(process.clone()),
            workload: Arc::new(Workload {
                id: "w".into(),
                instance: "i".into(),
                kind: self.kind,
                name: "demo".into(),
                ..Workload::default()
            }),
            outcome,
            count: 1,
            mechanism: "test",
            verdict: Verdict::Unjudged,
            decision: Decision::default(),
            rule: None,
        }
    }

    pub(super) fn tried(&mut self, process: &Process, action: Action, outcome: Outcome) -> Event {
        self.time += 1;
        let mut event = self.event(process, action, outcome);
        self.judge.judge(&mut event);
        event
    }

    pub(super) fn done(&mut self, process: &Process, action: Action) -> Event {
        self.tried(process, action, Outcome::Ok)
    }

    pub(super) fn rule(&mut self, process: &Process, action: Action) -> Option<Rule> {
        self.done(process, action).rule
    }
}

pub(super) fn process(pid: u32, executable: &str, script: Option<&str>) -> Process {
    Process {
        key: ProcessKey { pid: ProcessId(pid), start: BootNs(u64::from(pid)), exec_id: 1 },
        executable: Bytes::from(executable),
        script: script.map(Bytes::from),
        working_directory: Bytes::from("/home/u/work"),
        net_namespace: 5,
        ..Process::default()
    }
}

pub(super) fn server() -> Process {
    process(100, "/usr/bin/node", Some("/home/u/server.js"))
}

pub(super) fn at(path: &str) -> FilePath {
    FilePath { bytes: Bytes::from(path), ..FilePath::default() }
}

pub(super) fn file(path: &str) -> FileObject {
    FileObject {
        path: at(path),
        // An object of its own for every path.
        identity: Some(FileIdentity {
            inode: 1000 + path.bytes().fold(7, |sum, byte| (sum * 31 + u64::from(byte)) % 1_000_003),
            device: 1,
            generation: 5,
        }),
        access: Access { read: true, ..Access::default() },
        mode: 0o100_644,
        links: 1,
        ..FileObject::default()
    }
}

pub(super) fn read(path: &str) -> Action {
    Action::Open(file(path))
}

pub(super) fn write(path: &str) -> Action {
    Action::Open(FileObject {
        access: Access { write: true, create: true, ..Access::default() },
        ..file(path)
    })
}

pub(super) fn moved(from: &str, to: &str) -> FileObject {
    FileObject { target: Some(at(to)), access: Access::default(), ..file(from) }
}

pub(super) fn network(remote: Endpoint, transport: Transport) -> NetworkObject {
    NetworkObject {
        direction: Direction::Out,
        transport,
        remote,
        local: None,
        name: None,
        name_confidence: NameConfidence::Unresolved,
        bytes_sent: None,
        bytes_received: None,
        socket: 1,
        fast_open: false,
    }
}

pub(super) fn connect(address: &str, port: u16) -> Action {
    Action::Connect(network(Endpoint::Internet(address.parse().unwrap(), port), Transport::Tcp))
}

pub(super) fn socket(path: &str) -> Action {
    Action::Connect(network(Endpoint::UnixPath(at(path), None), Transport::UnixStream))
}

pub(super) fn listen(address: &str, port: u16) -> Action {
    Action::Listen(network(Endpoint::Internet(address.parse().unwrap(), port), Transport::Tcp))
}

pub(super) fn answer(server: &str, name: &str, address: &str) -> Action {
    Action::Dns(DnsObject {
        server: (server.parse().unwrap(), 53),
        question: Bytes::from(name),
        addresses: vec![(address.parse().unwrap(), 60)],
        response_code: 0,
        digest: 0,
    })
}

pub(super) fn exec(path: &str) -> Action {
    Action::Exec(Box::new(ExecObject { executable: file(path), ..ExecObject::default() }))
}

pub(super) const KEY: &str = "/home/u/.ssh/id_rsa";
