//! Every rule with a positive case and a benign twin, and the promise never to panic.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::event::{
    Access, BootNs, Bytes, CoverageNote, Direction, DnsObject, Endpoint, ExecObject, FileIdentity,
    FileObject, NameConfidence, NetworkObject, Process, ProcessId, ProcessKey, SegmentId, SnoopObject,
    SnoopWay, ThreadId, Transport, Workload, WorkloadKind,
};

/// A workload, to play events of.
struct Play {
    judge: Judge,
    kind: WorkloadKind,
    time: u64,
}

const NPX: &str = "/usr/lib/node_modules/npm/bin/npx-cli.js";

impl Play {
    fn new(config: JudgeConfig) -> Self {
        Self { judge: Judge::new(config).unwrap(), kind: WorkloadKind::Server, time: 1 }
    }

    fn plain() -> Self {
        Self::new(JudgeConfig { resolvers: vec!["127.0.0.53".parse().unwrap()], ..JudgeConfig::default() })
    }

    fn agent() -> Self {
        Self { kind: WorkloadKind::Agent, ..Self::plain() }
    }

    fn event(&self, process: &Process, action: Action, outcome: Outcome) -> Event {
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
            decision: Decision { source: String::new(), reason: String::new() },
            rule: None,
        }
    }

    fn tried(&mut self, process: &Process, action: Action, outcome: Outcome) -> Event {
        self.time += 1;
        let mut event = self.event(process, action, outcome);
        self.judge.judge(&mut event);
        event
    }

    fn done(&mut self, process: &Process, action: Action) -> Event {
        self.tried(process, action, Outcome::Ok)
    }

    fn rule(&mut self, process: &Process, action: Action) -> Option<Rule> {
        self.done(process, action).rule
    }
}

fn process(pid: u32, executable: &str, script: Option<&str>) -> Process {
    Process {
        key: ProcessKey { pid: ProcessId(pid), start: BootNs(u64::from(pid)), exec_id: 1 },
        executable: Bytes::from(executable),
        script: script.map(Bytes::from),
        working_directory: Bytes::from("/home/u/work"),
        net_namespace: 5,
        ..Process::default()
    }
}

fn server() -> Process {
    process(100, "/usr/bin/node", Some("/home/u/server.js"))
}

fn at(path: &str) -> FilePath {
    FilePath { bytes: Bytes::from(path), ..FilePath::default() }
}

fn file(path: &str) -> FileObject {
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

fn read(path: &str) -> Action {
    Action::Open(file(path))
}

fn write(path: &str) -> Action {
    Action::Open(FileObject {
        access: Access { write: true, create: true, ..Access::default() },
        ..file(path)
    })
}

fn moved(from: &str, to: &str) -> FileObject {
    FileObject { target: Some(at(to)), access: Access::default(), ..file(from) }
}

fn network(remote: Endpoint, transport: Transport) -> NetworkObject {
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

fn connect(address: &str, port: u16) -> Action {
    Action::Connect(network(Endpoint::Internet(address.parse().unwrap(), port), Transport::Tcp))
}

fn socket(path: &str) -> Action {
    Action::Connect(network(Endpoint::UnixPath(at(path), None), Transport::UnixStream))
}

fn listen(address: &str, port: u16) -> Action {
    Action::Listen(network(Endpoint::Internet(address.parse().unwrap(), port), Transport::Tcp))
}

fn answer(server: &str, name: &str, address: &str) -> Action {
    Action::Dns(DnsObject {
        server: (server.parse().unwrap(), 53),
        question: Bytes::from(name),
        addresses: vec![(address.parse().unwrap(), 60)],
        response_code: 0,
    })
}

fn exec(path: &str) -> Action {
    Action::Exec(Box::new(ExecObject { executable: file(path), ..ExecObject::default() }))
}

const KEY: &str = "/home/u/.ssh/id_rsa";

#[test]
fn secret_read() {
    let mut play = Play::plain();
    let event = play.done(&server(), read(KEY));
    assert_eq!((event.rule, event.verdict), (Some(Rule::SecretRead), Verdict::Forbidden));
    assert_eq!(event.decision.source, "catalogue:ssh-private-key");
    assert_eq!(play.rule(&server(), read("/home/u/.ssh/id_rsa.pub")), None);
    assert_eq!(play.rule(&server(), read("/home/u/.ssh/known_hosts")), None);

    let path_only =
        FileObject { access: Access { path_only: true, read: true, ..Access::default() }, ..file(KEY) };
    assert_eq!(play.rule(&server(), Action::Open(path_only)), None);
    let failed = play.tried(&server(), read(KEY), Outcome::Failed(libc::EACCES));
    assert_eq!((failed.rule, failed.verdict), (None, Verdict::Unexpected));
    assert_eq!(play.tried(&server(), read(KEY), Outcome::Failed(libc::ENOENT)).verdict, Verdict::Unjudged);
    assert_eq!(play.tried(&server(), read(KEY), Outcome::Denied).rule, Some(Rule::SecretRead));
    assert_eq!(play.rule(&server(), Action::Receive(file(KEY))), Some(Rule::SecretRead));
}

#[test]
fn a_secret_by_every_other_name() {
    let mut play = Play::plain();
    assert_eq!(play.rule(&server(), Action::Link(moved(KEY, "/home/u/h"))), Some(Rule::SecretRead));
    let hard_link = FileObject { identity: file(KEY).identity, ..file("/home/u/h") };
    let hard_link = play.done(&server(), Action::Open(hard_link));
    assert_eq!(hard_link.rule, Some(Rule::SecretRead));
    assert!(hard_link.decision.reason.contains("under another name"));
    let copy = FileObject {
        identity: Some(FileIdentity { inode: 78, device: 1, generation: 1 }),
        ..file("/home/u/x")
    };
    assert_eq!(play.rule(&server(), Action::Open(copy)), None);

    let given = FileObject {
        path: FilePath { unresolved: true, ..at("../.ssh/./id_rsa") },
        identity: None,
        ..file(KEY)
    };
    let given = play.done(&server(), Action::Open(given));
    assert_eq!(given.rule, Some(Rule::SecretRead));
    assert!(given.decision.reason.contains("not resolved"));
    // A public file's name given is nothing, and is never expected.
    let given = FileObject { path: FilePath { unresolved: true, ..at("/etc/hosts") }, ..file("/etc/hosts") };
    let given = FileObject { identity: None, ..given };
    assert_eq!(play.done(&server(), Action::Open(given)).verdict, Verdict::Unjudged);

    // Replaced by an ordinary file: that is a deed, and the new file is the secret.
    let mut rename = moved("/home/u/new", KEY);
    rename.identity = Some(FileIdentity { inode: 90, device: 1, generation: 1 });
    assert_eq!(play.rule(&server(), Action::Rename(rename)), Some(Rule::SecretRead));
    let elsewhere =
        FileObject { identity: Some(FileIdentity { inode: 90, device: 1, generation: 1 }), ..file("/mnt/k") };
    assert_eq!(play.rule(&server(), Action::Open(elsewhere)), Some(Rule::SecretRead));
}

#[test]
fn a_secret_that_is_declared() {
    let config =
        |secret: &str| JudgeConfig { allow_secrets: vec![secret.to_owned()], ..JudgeConfig::default() };
    for secret in ["ssh-private-key", "~/.ssh/id_rsa", KEY] {
        let event = Play::new(config(secret)).done(&server(), read(KEY));
        assert_eq!(
            (event.verdict, event.decision.source.as_str()),
            (Verdict::Expected, "command-line"),
            "{secret}"
        );
    }
    assert_eq!(Play::new(config("aws")).rule(&server(), read(KEY)), Some(Rule::SecretRead));
    // A glob of files does not allow a secret.
    let config = JudgeConfig { allow_read: vec!["/home/u".into()], ..JudgeConfig::default() };
    let mut play = Play::new(config);
    assert_eq!(play.rule(&server(), read(KEY)), Some(Rule::SecretRead));
    assert_eq!(play.done(&server(), read("/home/u/notes/a")).verdict, Verdict::Expected);
    assert_eq!(play.done(&server(), write("/home/u/notes/a")).verdict, Verdict::Unjudged);
    assert!(Judge::new(JudgeConfig { allow_secrets: vec!["ssh".into()], ..JudgeConfig::default() }).is_err());
}

#[test]
fn owners_count_below_agents_and_launchers_while_they_launch() {
    let ssh = process(7, "/usr/bin/ssh", None);
    assert_eq!(Play::agent().done(&ssh, read(KEY)).decision.source, "owner");
    assert_eq!(Play::plain().rule(&ssh, read(KEY)), Some(Rule::SecretRead));
    assert_eq!(Play::agent().rule(&process(7, "/home/u/ssh", None), read(KEY)), Some(Rule::SecretRead));

    let npmrc = "/home/u/.npmrc";
    let mut play = Play::plain();
    let npx = process(10, "/usr/bin/node", Some(NPX));
    assert_eq!(play.done(&npx, read(npmrc)).decision.source, "profile:launch/npm");
    // The server that it starts, by a shell, and npm below that server: the launch is over.
    let shell =
        Process { key: ProcessKey { pid: ProcessId(11), start: BootNs(11), exec_id: 1 }, ..npx.clone() };
    play.done(&npx, Action::Fork(shell.key));
    let mut image = process(11, "/usr/bin/dash", None);
    image.key.exec_id = 2;
    play.done(&image, exec("/usr/bin/dash"));
    let mut image = server();
    image.key = ProcessKey { exec_id: 3, ..shell.key };
    assert_eq!(play.rule(&image, read(npmrc)), Some(Rule::SecretRead));
    let mut image = process(11, "/usr/bin/node", Some(NPX));
    image.key.exec_id = 4;
    assert_eq!(play.rule(&image, read(npmrc)), Some(Rule::SecretRead));
}

#[test]
fn a_script_is_followed_through_env() {
    let mut play = Play::plain();
    let env = process(10, "/usr/bin/env", Some(NPX));
    play.done(&env, exec("/usr/bin/env"));
    let mut node = process(10, "/usr/bin/node", Some("/somewhere/npx"));
    node.key.exec_id = 2;
    assert_eq!(play.done(&node, read("/home/u/.npmrc")).decision.source, "profile:launch/npm");
}

#[test]
fn unknown_egress() {
    let allow = |texts: &[&str]| JudgeConfig {
        allow_egress: texts.iter().map(|text| text.parse().unwrap()).collect(),
        resolvers: vec!["127.0.0.53".parse().unwrap()],
        ..JudgeConfig::default()
    };
    let mut play = Play::new(allow(&["api.example.com:443", "10.0.0.0/8"]));
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), Some(Rule::UnknownEgress));
    play.done(&server(), answer("127.0.0.53", "api.example.com", "192.0.2.1"));
    let named = play.done(&server(), connect("192.0.2.1", 443));
    assert_eq!((named.rule, named.verdict), (None, Verdict::Expected));
    assert_eq!(named.action.network().unwrap().name, Some(Bytes::from("api.example.com")));
    assert_eq!(named.action.network().unwrap().name_confidence, NameConfidence::WorkloadDns);
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 80)), Some(Rule::UnknownEgress));
    assert_eq!(play.rule(&server(), connect("10.1.2.3", 9)), None);
    assert_eq!(play.rule(&server(), connect("::ffff:10.1.2.3", 9)), None);
    assert_eq!(play.rule(&server(), connect("127.0.0.53", 53)), None);
    // A name that shares the address and is not declared spoils it.
    play.done(&server(), answer("127.0.0.53", "evil.example", "192.0.2.1"));
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), Some(Rule::UnknownEgress));
    // An answer of somebody else is not believed.
    play.done(&server(), answer("203.0.113.1", "api.example.com", "192.0.2.9"));
    assert_eq!(play.rule(&server(), connect("192.0.2.9", 443)), Some(Rule::UnknownEgress));
    // A datagram, a raw packet, a fast open are no way round; asking for the way sends nothing.
    let to = |port| Endpoint::Internet("192.0.2.50".parse().unwrap(), port);
    assert_eq!(
        play.rule(&server(), Action::Send(network(to(99), Transport::Udp))),
        Some(Rule::UnknownEgress)
    );
    assert_eq!(
        play.rule(&server(), Action::Send(network(to(0), Transport::Raw(1)))),
        Some(Rule::UnknownEgress)
    );
    assert_eq!(play.rule(&server(), Action::Connect(network(to(0), Transport::Udp))), None);
    let packet = network(Endpoint::Unnamed, Transport::Other(17, 0));
    assert_eq!(play.rule(&server(), Action::Send(packet)), Some(Rule::UnknownEgress));
    assert_eq!(play.rule(&server(), Action::Send(network(Endpoint::Unnamed, Transport::Other(16, 0)))), None);
}

#[test]
fn registries_while_launching_only() {
    let mut play = Play::plain();
    let npx = process(10, "/usr/bin/node", Some(NPX));
    for pid in [npx.clone(), server()] {
        play.done(&pid, answer("127.0.0.53", "registry.npmjs.org", "192.0.2.7"));
    }
    assert_eq!(play.done(&npx, connect("192.0.2.7", 443)).decision.source, "profile:launch/npm");
    assert_eq!(play.rule(&server(), connect("192.0.2.7", 443)), Some(Rule::UnknownEgress));
}

#[test]
fn agents_may_talk_to_named_hosts() {
    let mut play = Play::agent();
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), Some(Rule::UnknownEgress));
    play.done(&server(), answer("127.0.0.53", "docs.example", "192.0.2.1"));
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), None);
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 80)), Some(Rule::MetadataEgress));
}

#[test]
fn loopback_needs_a_listener_of_the_workload() {
    let mut play = Play::plain();
    let event = play.done(&server(), connect("127.0.0.1", 3128));
    assert_eq!(event.rule, Some(Rule::UnknownEgress));
    assert!(event.decision.reason.contains("loopback listener outside the workload"));
    play.done(&server(), listen("127.0.0.1", 3128));
    for address in ["127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1"] {
        assert_eq!(play.rule(&server(), connect(address, 3128)), None, "{address}");
    }
    play.done(&server(), Action::Exit(0));
    assert_eq!(
        play.rule(&server(), connect("127.0.0.1", 3128)),
        Some(Rule::UnknownEgress),
        "the listener ended"
    );
    let refused = play.tried(&server(), connect("127.0.0.1", 9), Outcome::Failed(libc::ECONNREFUSED));
    assert_eq!(refused.rule, None);
}

#[test]
fn metadata_egress() {
    let mut play = Play::plain();
    for address in ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "168.63.129.16"] {
        assert_eq!(play.rule(&server(), connect(address, 80)), Some(Rule::MetadataEgress), "{address}");
    }
    let failed = play.tried(&server(), connect("169.254.169.254", 80), Outcome::Failed(libc::EHOSTUNREACH));
    assert_eq!(failed.rule, Some(Rule::MetadataEgress));
    // Only the address itself allows it; some clouds resolve names there.
    let mut play = Play::new(JudgeConfig {
        allow_egress: vec!["169.254.0.0/16".parse().unwrap()],
        resolvers: vec!["169.254.169.254".parse().unwrap()],
        ..JudgeConfig::default()
    });
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 80)), Some(Rule::MetadataEgress));
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 53)), None);
    let allow_egress = vec!["169.254.169.254".parse().unwrap()];
    let mut play = Play::new(JudgeConfig { allow_egress, ..JudgeConfig::default() });
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 80)), None);
}

#[test]
fn process_snoop() {
    let mut play = Play::plain();
    let child = ProcessKey { pid: ProcessId(101), start: BootNs(101), exec_id: 1 };
    play.done(&server(), Action::Fork(child));
    let environ = |pid: u32| {
        Action::Open(FileObject { filesystem_magic: 0x9fa0, ..file(&format!("/proc/{pid}/environ")) })
    };
    assert_eq!(play.rule(&server(), environ(1)), Some(Rule::ProcessSnoop));
    assert_eq!(play.rule(&server(), environ(100)), None, "its own");
    assert_eq!(play.rule(&server(), environ(101)), None, "its child");
    let in_child = Process { key: child, ..server() };
    assert_eq!(play.rule(&in_child, environ(100)), Some(Rule::ProcessSnoop), "its parent");
    let named_so = FileObject { filesystem_magic: 0xef53, ..file("/home/u/12/environ") };
    assert_eq!(play.rule(&server(), Action::Open(named_so)), None);

    let snoop = |pid: u32| {
        Action::Snoop(SnoopObject {
            target: ProcessId(pid),
            target_start: None,
            target_segment: None,
            target_executable: None,
            way: SnoopWay::AccessCheck,
        })
    };
    assert_eq!(play.rule(&server(), snoop(1)), Some(Rule::ProcessSnoop));
    assert_eq!(play.rule(&server(), snoop(101)), None);
    assert_eq!(play.tried(&server(), snoop(1), Outcome::Failed(libc::EPERM)).rule, None);
}

#[test]
fn persistence_write() {
    let mut play = Play::plain();
    for path in [
        "/home/u/.bashrc",
        "/etc/cron.d/x",
        "/home/u/.config/systemd/user/a.service",
        "/home/u/.ssh/authorized_keys",
    ] {
        assert_eq!(play.rule(&server(), write(path)), Some(Rule::PersistenceWrite), "{path}");
        assert_eq!(play.rule(&server(), read(path)), None, "{path}");
    }
    let renamed = FileObject { identity: None, ..moved("/home/u/x", "/home/u/.profile") };
    assert_eq!(play.rule(&server(), Action::Rename(renamed)), Some(Rule::PersistenceWrite));
    assert_eq!(
        play.rule(&server(), Action::Symlink(file("/home/u/.config/autostart/x.desktop"))),
        Some(Rule::PersistenceWrite)
    );
    assert_eq!(play.rule(&server(), write("/home/u/work/.bashrc.txt")), None);
    assert_eq!(play.tried(&server(), write("/etc/cron.d/x"), Outcome::Failed(libc::EACCES)).rule, None);
}

#[test]
fn lineage_escape() {
    let mut play = Play::plain();
    for path in ["/run/docker.sock", "/var/run/docker.sock", "/run/user/1000/bus", "/tmp/ssh-X/agent.1"] {
        assert_eq!(play.rule(&server(), socket(path)), Some(Rule::LineageEscape), "{path}");
    }
    let given = network(Endpoint::UnixGiven(Bytes::from("../../../run/docker.sock")), Transport::UnixStream);
    assert_eq!(play.rule(&server(), Action::Connect(given)), Some(Rule::LineageEscape));
    assert_eq!(play.tried(&server(), socket("/run/docker.sock"), Outcome::Failed(libc::ENOENT)).rule, None);
    assert_eq!(play.rule(&server(), socket("/run/systemd/journal/socket")), None);
    assert_eq!(
        play.rule(&server(), Action::Connect(network(Endpoint::Unnamed, Transport::UnixStream))),
        None
    );
    // Who listens is not known: told, not found.
    let unknown = play.done(&server(), socket("/tmp/x.sock"));
    assert_eq!((unknown.rule, unknown.verdict), (None, Verdict::Unexpected));
    let own = network(Endpoint::UnixPath(at("/tmp/x.sock"), None), Transport::UnixStream);
    play.done(&server(), Action::Listen(own));
    assert_eq!(play.done(&server(), socket("/tmp/x.sock")).verdict, Verdict::Expected);
    // The docker client that is the launcher, and one that a server starts.
    let docker = process(300, "/usr/bin/docker", None);
    assert_eq!(play.done(&docker, socket("/run/docker.sock")).decision.source, "profile:launch/docker");
    let key = ProcessKey { pid: ProcessId(301), start: BootNs(301), exec_id: 1 };
    play.done(&server(), Action::Fork(key));
    let below = Process { key: ProcessKey { exec_id: 2, ..key }, ..docker };
    assert_eq!(play.rule(&below, socket("/run/docker.sock")), Some(Rule::LineageEscape));
}

#[test]
fn hidden_exec() {
    let mut play = Play::plain();
    for path in ["/tmp/x", "/dev/shm/x", "/home/u/.x/run"] {
        assert_eq!(play.rule(&server(), exec(path)), Some(Rule::HiddenExec), "{path}");
    }
    for path in [
        "/usr/bin/git",
        "/home/u/.npm/_npx/a/node_modules/.bin/x",
        "/home/u/.cache/uv/archive-v0/a/bin/python",
    ] {
        assert_eq!(play.rule(&server(), exec(path)), None, "{path}");
    }
    let memory = |name: &str| {
        let executable = FileObject { links: 0, ..file(name) };
        Action::Exec(Box::new(ExecObject { executable, ..ExecObject::default() }))
    };
    assert_eq!(play.rule(&server(), memory("memfd:x")), Some(Rule::HiddenExec));
    assert_eq!(play.rule(&server(), memory("/memfd:runc_cloned:/proc/self/exe")), Some(Rule::HiddenExec));
    assert_eq!(Play::agent().rule(&server(), memory("/memfd:runc_cloned:/proc/self/exe")), None);
    assert_eq!(play.rule(&server(), memory("/usr/bin/gone")), Some(Rule::HiddenExec));
}

#[test]
fn exposed_listener() {
    let mut play = Play::plain();
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        assert_eq!(play.rule(&server(), listen(address, 80)), Some(Rule::ExposedListener), "{address}");
    }
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.2"] {
        assert_eq!(play.rule(&server(), listen(address, 80)), None, "{address}");
    }
}

#[test]
fn coverage_loss() {
    let mut play = Play::plain();
    let note = |cause| Action::Coverage(CoverageNote { cause, what: "records were lost".into(), count: 3 });
    assert_eq!(play.rule(&server(), note("ring-full")), Some(Rule::CoverageLoss));
    assert_eq!(play.rule(&server(), note("lineage-insert")), Some(Rule::LineageEscape));
    assert_eq!(play.rule(&server(), note("weaker-mechanism")), None);
}

#[test]
fn a_start_is_silent() {
    let mut play = Play::plain();
    for path in [
        "/etc/ld.so.cache",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/proc/100/maps",
        "/etc/ssl/certs/ca-certificates.crt",
        "/home/u/work/node_modules/x/index.js",
        "/dev/null",
    ] {
        let event = play.done(&server(), read(path));
        assert_eq!(
            (event.verdict, event.rule),
            (Verdict::Expected, None),
            "{path}: {}",
            event.decision.reason
        );
        assert!(event.decision.source.starts_with("profile:") || path.starts_with("/proc/"), "{path}");
    }
    assert_eq!(play.done(&server(), read("/home/u/notes")).decision.source, "default");
}

prop_compose! {
    fn any_path()(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "(/proc/[0-9]{0,12}/(environ|mem)|/home/u/\\.ssh/id_rsa|/tmp/\\.x/y|/|//|memfd:x|\\.\\./\\.\\.)".prop_map(String::into_bytes),
        ],
        truncated in any::<bool>(), unresolved in any::<bool>(), deleted in any::<bool>(),
    ) -> FilePath {
        FilePath { bytes: Bytes::new(&bytes), truncated, unresolved, deleted, outside_root: false }
    }
}

prop_compose! {
    fn any_file()(
        path in any_path(), target in prop::option::of(any_path()),
        ids in prop::array::uniform4(prop::option::of((0_u64..4, 0_u32..2, 0_u32..3))),
        bits in any::<u8>(), mode in prop::sample::select(vec![0, 0o100_600, 0o040_700]), links in 0_u32..3,
        magic in prop::sample::select(vec![0_u64, 0x9fa0]),
    ) -> FileObject {
        let id = |index: usize| ids[index].map(|(inode, device, generation)| FileIdentity { inode, device, generation });
        FileObject {
            path, target, identity: id(0), parent: id(1), target_parent: id(2), replaced: id(3),
            access: Access {
                read: bits & 1 != 0, write: bits & 2 != 0, execute: bits & 4 != 0,
                path_only: bits & 8 != 0, create: bits & 16 != 0, truncate: bits & 32 != 0,
            },
            flags: 0, mode, links, filesystem_magic: magic, marked_secret: bits & 64 != 0,
        }
    }
}

prop_compose! {
    fn any_network()(
        path in any_path(), address in any::<[u8; 16]>(), port in any::<u16>(), which in 0_u8..6, transport in 0_u8..6, out in any::<bool>(),
    ) -> NetworkObject {
        let remote = match which {
            0 => Endpoint::Internet(IpAddr::from(address), port),
            1 => Endpoint::Internet(IpAddr::from([127, 0, 0, address[3]]), port),
            2 => Endpoint::UnixPath(path, None),
            3 => Endpoint::UnixAbstract(path.bytes),
            4 => Endpoint::UnixGiven(path.bytes),
            _ => Endpoint::Unnamed,
        };
        let transport = match transport {
            0 => Transport::Tcp,
            1 => Transport::Udp,
            2 => Transport::Raw(port),
            3 => Transport::UnixStream,
            4 => Transport::UnixDatagram,
            _ => Transport::Other(port, 0),
        };
        let direction = if out { Direction::Out } else { Direction::In };
        NetworkObject { direction, ..network(remote, transport) }
    }
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (any_file(), 0_u8..9).prop_map(|(file, kind)| match kind {
            0 => Action::Open(file),
            1 => Action::Rename(file),
            2 => Action::Link(file),
            3 => Action::Symlink(file),
            4 => Action::Unlink(file),
            5 => Action::Truncate(file),
            6 => Action::Chmod(file),
            7 => Action::Receive(file),
            _ => Action::Map(file),
        }),
        (any_network(), 0_u8..5).prop_map(|(network, kind)| match kind {
            0 => Action::Connect(network),
            1 => Action::Send(network),
            2 => Action::Accept(network),
            3 => Action::Listen(network),
            _ => Action::Close(network),
        }),
        (any_file(), prop::option::of(any_file())).prop_map(|(executable, script)| {
            Action::Exec(Box::new(ExecObject { executable, script, ..ExecObject::default() }))
        }),
        (0_u32..4, 0_u64..3).prop_map(|(pid, start)| Action::Fork(ProcessKey {
            pid: ProcessId(pid),
            start: BootNs(start),
            exec_id: 0
        })),
        any::<u32>().prop_map(Action::Exit),
        ("\\PC{0,9}", any::<[u8; 4]>(), any::<u32>()).prop_map(|(name, address, seconds)| Action::Dns(
            DnsObject {
                server: (IpAddr::from([127, 0, 0, 53]), 53),
                question: Bytes::from(name.as_str()),
                addresses: vec![(IpAddr::from(address), seconds)],
                response_code: 0,
            }
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn never_panics_and_guesses_are_never_expected(
        actions in prop::collection::vec((any_action(), 0_u32..4, 0_u64..2, any_path(), prop::option::of(any_path()), -2_i32..200), 1..30),
        agent in any::<bool>(),
    ) {
        let mut play = if agent { Play::agent() } else { Play::plain() };
        for (action, pid, start, executable, script, outcome) in actions {
            let mut process = process(pid, "", None);
            process.key.start = BootNs(start);
            process.executable = executable.bytes;
            process.script = script.map(|script| script.bytes);
            let outcome = match outcome {
                -2 => Outcome::Started,
                -1 => Outcome::Denied,
                0 => Outcome::Permitted,
                1..100 => Outcome::Failed(outcome),
                _ => Outcome::Ok,
            };
            let event = play.tried(&process, action, outcome);
            let guessed = event.action.file().is_some_and(|file| file.path.truncated || file.path.unresolved);
            prop_assert!(!guessed || event.verdict != Verdict::Expected, "{:?}", event);
            prop_assert!(!event.decision.source.is_empty() && !event.decision.reason.is_empty());
            prop_assert!(event.rule.is_none() || event.verdict != Verdict::Expected);
        }
    }
}

/// Not a test of right or wrong: says what a verdict costs. `cargo test --release -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    let mut play = Play::plain();
    let rounds: u32 = 200_000;
    for path in ["/usr/lib/x86_64-linux-gnu/libc.so.6", "/home/u/work/src/module/file.c", "/tmp/bench/d1/f"] {
        let event = play.event(&server(), read(path), Outcome::Ok);
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            let mut event = event.clone();
            play.judge.judge(&mut event);
        }
        println!("{path}: {:?} each", start.elapsed() / rounds);
    }
}

#[test]
fn numbers_in_a_pid_namespace_are_its_own() {
    let mut play = Play::plain();
    let inside = Process { namespace_pid: 3, ..server() };
    let environ = |pid: u32| {
        Action::Open(FileObject { filesystem_magic: 0x9fa0, ..file(&format!("/proc/{pid}/environ")) })
    };
    assert_eq!(play.rule(&inside, environ(3)), None);
    assert_eq!(play.rule(&inside, environ(4)), Some(Rule::ProcessSnoop));
}
