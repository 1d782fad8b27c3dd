//! Events, findings and summaries that tests of this room share.

use super::{Loss, Origin, Summary, Tally, human::Look};
use crate::event::{
    Access, Action, BootNs, Bytes, CoverageNote, Decision, Descriptor, DescriptorKind, Direction, DnsObject,
    Endpoint, Event, ExecObject, FileIdentity, FileObject, FilePath, Finding, FindingState, NameConfidence,
    NetworkObject, Outcome, Process, ProcessId, ProcessKey, Rule, SegmentId, Severity, SnoopObject, SnoopWay,
    ThreadId, Transport, Verdict, Workload, WorkloadKind,
};
use jiff::tz::TimeZone;
use mcp_monitor_common::mechanism::Tier;
use std::{net::IpAddr, sync::Arc};

pub(crate) fn origin() -> Origin {
    Origin {
        host_id: "0123456789abcdef0123456789abcdef".into(),
        host_name: "example".into(),
        boot_id: "11111111-2222-3333-4444-555555555555".into(),
        version: "0.1.0",
        tier: Tier::Tracepoint,
        clock_offset_ns: 1_795_000_000_000_000_000,
        pods: crate::host::pods::Pods::default(),
        test: false,
    }
}

pub(crate) fn look() -> Look {
    Look { colour: false, width: None, time_zone: TimeZone::UTC }
}

fn path(text: &[u8]) -> FilePath {
    FilePath { bytes: Bytes::new(text), ..FilePath::default() }
}

fn identity(inode: u64) -> FileIdentity {
    FileIdentity { inode, device: (8 << 20) | 1, generation: 7 }
}

fn file(text: &[u8]) -> FileObject {
    FileObject {
        path: path(text),
        identity: Some(identity(42)),
        parent: Some(identity(41)),
        access: Access { read: true, ..Access::default() },
        mode: 0o100_600,
        links: 1,
        filesystem_magic: 0xef53,
        ..FileObject::default()
    }
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey { pid: ProcessId(pid), start: BootNs(5_000_000_000), exec_id: 3 }
}

pub(crate) fn process() -> Process {
    Process {
        key: key(4711),
        executable: "/usr/bin/node".into(),
        executable_identity: Some(identity(1)),
        script: Some("/home/user/.npm/_npx/15b07286cbcc3329/node_modules/.bin/mcp-server-filesystem".into()),
        arguments: vec!["node".into(), "mcp-server-filesystem".into(), Bytes::new(b"/home/user\xff")],
        working_directory: "/home/user".into(),
        uid: 1000,
        euid: 1000,
        user: Some("user".into()),
        login_uid: Some(1000),
        session: Some(2),
        tty: Some("pts0".into()),
        cgroup: "/user.slice/user-1000.slice/session-2.scope".into(),
        container: Some("c0ffee".into()),
        mount_namespace: 4_026_531_841,
        pid_namespace: 4_026_531_836,
        namespace_pid: 0,
        net_namespace: 4_026_531_840,
        ancestors: vec![(key(4700), "/usr/bin/npx".into()), (key(4600), Bytes::default())],
        ..Process::default()
    }
}

fn event(action: Action) -> Event {
    Event {
        id: "01997d5e-0000-7000-8000-000000000001".into(),
        boot_ns: BootNs(12_345_678_901),
        sequence: 17,
        lane: 3,
        action,
        thread: ThreadId(4712),
        segment: SegmentId(9),
        process: Arc::new(process()),
        workload: Arc::new(Workload {
            id: "a1b2c3".into(),
            instance: "a1b2c3-1".into(),
            kind: WorkloadKind::Server,
            name: "filesystem".into(),
            ..Workload::default()
        }),
        outcome: Outcome::Ok,
        count: 1,
        mechanism: "syscall_exit",
        verdict: Verdict::Expected,
        decision: Decision {
            source: "profile:node".into(),
            reason: "the runtime reads it".into(),
            ..Decision::default()
        },
        rule: None,
    }
}

pub(crate) fn open(name: &[u8]) -> Event {
    event(Action::Open(file(name)))
}

fn network(transport: Transport, remote: Endpoint) -> NetworkObject {
    NetworkObject {
        direction: Direction::Out,
        transport,
        remote,
        local: Some((IpAddr::from([10, 0, 0, 2]), 50000)),
        name: Some("api.example.com".into()),
        name_confidence: NameConfidence::WorkloadDns,
        bytes_sent: None,
        bytes_received: None,
        socket: 0xffff_8880_0000_0000,
        fast_open: false,
    }
}

fn web() -> Endpoint {
    Endpoint::Internet(IpAddr::from([203, 0, 113, 7]), 443)
}

/// One event of each kind, and the shapes that differ within a kind.
#[allow(clippy::too_many_lines, reason = "a list with one entry per kind")]
pub(crate) fn events() -> Vec<Event> {
    let target = |text: &[u8]| FileObject {
        target: Some(path(text)),
        target_parent: Some(identity(40)),
        ..file(b"/a/b")
    };
    let exec = ExecObject {
        executable: file(b"/usr/bin/node"),
        script: Some(file(b"/home/user/server.js")),
        arguments: vec!["node".into(), "/home/user/server.js".into(), "two words".into(), "".into()],
        arguments_truncated: true,
        given_name: "./server.js".into(),
        working_directory: path(b"/home/user"),
        stdin: Descriptor { kind: DescriptorKind::Pipe, inode: 77, peer_inode: None, device: 13 },
        stdout: Descriptor { kind: DescriptorKind::Socket, inode: 78, peer_inode: Some(79), device: 8 },
        mount_namespace: 1,
        pid_namespace: 2,
        net_namespace: 3,
    };
    let secret = Event {
        verdict: Verdict::Forbidden,
        rule: Some(Rule::SecretRead),
        decision: Decision {
            source: "catalogue".into(),
            reason: "ssh-key is read by a non-owner".into(),
            ..Decision::default()
        },
        ..open(b"/home/user/.ssh/id_rsa")
    };
    let closed =
        NetworkObject { bytes_sent: Some(2048), bytes_received: Some(10), ..network(Transport::Tcp, web()) };
    let v6 = Endpoint::Internet("2001:db8::1".parse().unwrap(), 53);
    let dns = DnsObject {
        server: (IpAddr::from([127, 0, 0, 53]), 53),
        question: "api.example.com".into(),
        addresses: vec![(IpAddr::from([203, 0, 113, 7]), 60), ("2001:db8::7".parse().unwrap(), 60)],
        response_code: 0,
        digest: 0,
    };
    let snoop = SnoopObject {
        target: ProcessId(1),
        target_start: Some(BootNs(1)),
        target_segment: None,
        target_executable: Some("/usr/lib/systemd/systemd".into()),
        way: SnoopWay::ProcFile,
    };
    let note = CoverageNote { cause: "weaker-mechanism", what: "raw sockets".into(), count: 0 };
    let mut events: Vec<_> = [
        Action::Fork(key(4800)),
        Action::Exec(Box::new(exec)),
        Action::Exit(3 << 8),
        Action::Exit(9),
        Action::Rename(target(b"/a/c")),
        Action::Link(target(b"/a/d")),
        Action::Symlink(target(b"../x")),
        Action::Unlink(file(b"/a/b")),
        Action::Truncate(file(b"/a/b")),
        Action::Chmod(FileObject { flags: 0o755, ..file(b"/a/b") }),
        Action::Receive(file(b"/a/b")),
        Action::Map(FileObject {
            access: Access { execute: true, ..Access::default() },
            ..file(b"/lib/x.so")
        }),
        Action::Connect(network(Transport::Tcp, web())),
        Action::Connect(network(
            Transport::UnixStream,
            Endpoint::UnixPath(path(b"/run/x.sock"), Some(identity(5))),
        )),
        Action::Connect(network(Transport::UnixStream, Endpoint::UnixAbstract(Bytes::new(b"a\0b")))),
        Action::Send(network(Transport::UnixDatagram, Endpoint::UnixGiven("/run/y".into()))),
        Action::Send(network(Transport::Udp, v6)),
        Action::Send(network(Transport::Raw(58), Endpoint::Unnamed)),
        Action::Send(network(Transport::Other(17, 3), Endpoint::Unnamed)),
        Action::Accept(NetworkObject { direction: Direction::In, ..network(Transport::Tcp, web()) }),
        Action::Listen(NetworkObject {
            direction: Direction::In,
            name: None,
            ..network(Transport::Tcp, Endpoint::Internet(IpAddr::from([0, 0, 0, 0]), 8080))
        }),
        Action::Close(closed),
        Action::Dns(dns),
        Action::Snoop(snoop),
        Action::Coverage(note),
    ]
    .into_iter()
    .map(event)
    .collect();
    events.push(Event {
        count: 12,
        ..open(b"/usr/lib/node_modules/npm/node_modules/@npmcli/arborist/lib/arborist/build-ideal-tree.js")
    });
    events.push(secret);
    events.push(Event { outcome: Outcome::Failed(2), verdict: Verdict::Unjudged, ..open(b"/missing") });
    events.push(Event {
        outcome: Outcome::Denied,
        verdict: Verdict::Unexpected,
        rule: Some(Rule::UnknownEgress),
        ..event(Action::Connect(network(Transport::Tcp, web())))
    });
    for outcome in [Outcome::Permitted, Outcome::Started, Outcome::Failed(111), Outcome::Failed(512)] {
        events.push(Event { outcome, ..event(Action::Connect(network(Transport::Tcp, web()))) });
    }
    events.push(event(Action::Open(FileObject {
        path: FilePath { truncated: true, unresolved: true, deleted: true, outside_root: true, ..path(b"b") },
        identity: None,
        ..FileObject::default()
    })));
    events
}

/// Names that want to forge a line, move the terminal or vanish.
pub(crate) fn hostile_names() -> Vec<Vec<u8>> {
    let mut long = b"/tmp/".to_vec();
    long.extend([b'x'; 5000]);
    vec![
        b"/tmp/a\n12:00:00.000 filesystem open expected".to_vec(),
        b"/tmp/\x1b[2J\x1b]0;title\x07".to_vec(),
        b"/tmp/\xff\xfe\x80".to_vec(),
        "/tmp/\u{202e}txt.exe\u{2066}\u{200b}".as_bytes().to_vec(),
        "/tmp/\u{9b}31m \u{85} \u{2028}".as_bytes().to_vec(),
        b"/tmp/back\\slash\\x41\",\"verdict\":\"expected".to_vec(),
        "/tmp/漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字".as_bytes().to_vec(),
        Vec::new(),
        long,
    ]
}

pub(crate) fn findings() -> Vec<Finding> {
    let events = events();
    let of = |rule: Rule, severity, title: &str, message: &str, advice: &str| {
        let first = events.iter().find(|one| one.rule == Some(rule)).unwrap();
        Finding {
            id: "01997d5e-0000-7000-8000-0000000000aa".into(),
            rule,
            severity,
            state: FindingState::Open,
            first_seen: first.boot_ns,
            last_seen: BootNs(first.boot_ns.0 + 1_000_000_000),
            count: 2,
            workload: first.workload.clone(),
            process: first.process.clone(),
            action: first.action.clone(),
            outcome: first.outcome,
            decision: first.decision.clone(),
            technique: "T1552.004".into(),
            tactic: "credential-access".into(),
            title: title.into(),
            message: message.into(),
            advice: advice.into(),
            events: vec![first.id.clone()],
        }
    };
    vec![
        of(
            Rule::UnknownEgress,
            Severity::Medium,
            "Connection to an undeclared place",
            "filesystem connected to 203.0.113.7:443 (api.example.com)",
            "",
        ),
        of(
            Rule::SecretRead,
            Severity::Critical,
            "Private key opened",
            "filesystem opened a private SSH key; nothing it was started for needs that\nforged line",
            "Treat the key as stolen: replace it, and end this server.",
        ),
    ]
}

pub(crate) fn summary() -> Summary {
    let mut tally = Tally::new(BootNs(10_000_000_000));
    for one in events() {
        tally.event(&one);
    }
    let losses = vec![
        Loss { cause: "ring-full", workload: None, count: 1200 },
        Loss { cause: "segment-rate", workload: Some("filesystem".into()), count: 3 },
    ];
    tally.finish(BootNs(52_300_000_000), findings(), losses, "command ended with status 0".into())
}

/// Declared servers of every transport and approval.
pub(crate) fn declared_servers() -> Vec<crate::inventory::declared::DeclaredServer> {
    use crate::inventory::declared::{
        Approval, ApprovalState, ArgumentPattern, ClientId, DeclaredId, DeclaredServer, Place, Scope,
        Transport, Variable,
    };
    let stdio = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut all = ArgumentPattern::list(&words, &[Variable::DollarBrace], |_| None).into_iter();
        Transport::Stdio { command: all.next().unwrap(), arguments: all.collect(), working_directory: None }
    };
    let server = |name: &str, scope: Scope, state, transport| {
        let client = ClientId::from("claude-code");
        let project = scope.folder().map(std::path::Path::to_owned);
        DeclaredServer {
            id: DeclaredId::new(&client, &scope, Some(1000), project.as_deref(), name),
            client,
            client_name: "Claude Code".into(),
            scope,
            name: name.into(),
            transport,
            environment_names: vec!["GITHUB_TOKEN".into()],
            uid: Some(1000),
            home: Some("/home/user".into()),
            project,
            approval: Approval { state, why: "added by the user".into() },
            place: Place {
                path: "/home/user/.claude.json".into(),
                line: Some(12),
                key: format!("mcpServers.{name}"),
            },
            overridden_by: None,
            overridden_in: Vec::new(),
            mount_namespace: None,
        }
    };
    let github = ["npx", "-y", "@modelcontextprotocol/server-github", "--token", "ghp_secret", "${HOME}/x"];
    let sentry = Transport::Remote {
        host: Some("mcp.sentry.dev".into()),
        port: Some(443),
        url: "https://mcp.sentry.dev/mcp".into(),
    };
    let mut all = vec![
        server("github", Scope::User, ApprovalState::Approved, stdio(&github)),
        server("sentry", Scope::Local { project: "/p".into() }, ApprovalState::Unknown, sentry),
        server(
            "new",
            Scope::Project { path: "/p".into() },
            ApprovalState::NotApproved,
            stdio(&["node", "x.js"]),
        ),
        server("tool", Scope::Plugin { name: "a/b".into() }, ApprovalState::Disabled, stdio(&["x"])),
    ];
    all[0].overridden_in = vec!["/p".into()];
    all[2].overridden_by = Some(all[1].place.clone());
    all[3].mount_namespace = Some(4_026_531_841);
    all[3].uid = None;
    all
}
