//! Records in, events out: who, for whom, what came of it; what is held and what is counted.

use mcp_monitor_common::record::{
    ExecBody, ExitBody, FileBody, FileIdentity, ForkBody, HEADER_DENIED, NetworkBody, RESULT_PERMITTED,
    SegmentBody, SnoopBody,
};

use super::*;
use crate::{
    event::{BootNs, Endpoint, NameConfidence, NetworkObject},
    sensor::{decode::decode, testing::RecordBuilder},
};

struct NoProcfs;

impl ProcessSource for NoProcfs {
    fn process(&self, _: ProcessKey) -> Option<Process> {
        None
    }
}

fn attributor() -> Attributor {
    let clock = Clock::booted_at("2026-01-02T03:04:05Z".parse().unwrap());
    let mut attributor = Attributor::new(clock, Box::new(NoProcfs), Users::new("/nonexistent"));
    assert_eq!(attributor.assign(SegmentId(7), workload("server")), []);
    attributor
}

fn workload(name: &str) -> Arc<Workload> {
    Arc::new(Workload {
        id: name.into(),
        instance: name.into(),
        kind: WorkloadKind::Server,
        name: name.into(),
        ..Workload::default()
    })
}

fn feed(attributor: &mut Attributor, bytes: &[u8]) -> Option<Event> {
    attributor.attribute(decode(bytes).unwrap())
}

fn exec(builder: RecordBuilder, path: &str) -> Vec<u8> {
    let mut builder = builder;
    let path = builder.path(path);
    builder.finish(&ExecBody { path, uid: 1000, links: 1, pid_namespace: 5, ..ExecBody::default() })
}

fn open(mut builder: RecordBuilder, path: &str, flags: u16) -> Vec<u8> {
    builder.header.flags = flags;
    let path = builder.path(path);
    let file = FileIdentity { inode: 3, device: 8, generation: 1 };
    builder.finish(&FileBody {
        path,
        file,
        access: 1,
        flags: 0x8000,
        result: 1,
        name_hash: 77,
        ..FileBody::default()
    })
}

fn new(kind: RecordKind) -> RecordBuilder {
    RecordBuilder::new(kind)
}

#[test]
fn an_open_belongs_to_a_process_and_a_workload() {
    let mut attributor = attributor();
    let event = feed(&mut attributor, &exec(new(RecordKind::Exec), "/usr/bin/node")).unwrap();
    assert_eq!(event.action.kind(), "exec");
    let mut builder = new(RecordKind::Open);
    builder.header.mechanism = mcp_monitor_common::mechanism::LSM_FILE_OPEN;
    let event = feed(&mut attributor, &open(builder, "/etc/passwd", 0)).unwrap();
    assert_eq!(event.process.executable, "/usr/bin/node".into());
    assert_eq!(event.workload.name, "server");
    assert_eq!(event.outcome, Outcome::Permitted);
    assert_eq!(event.mechanism, "lsm_file_open");
    assert_eq!((event.count, event.id.len()), (1, 36));
    assert!(event.id.starts_with("019b7c"), "{}", event.id);
}

#[test]
fn a_segment_opened_inside_inherits_and_forks_carry_ancestors() {
    let mut attributor = attributor();
    feed(&mut attributor, &exec(new(RecordKind::Exec), "/bin/bash"));
    let fork = new(RecordKind::Fork).finish(&ForkBody {
        child_tgid: 200,
        child_start_boottime_ns: 2,
        child_exec_id: 1,
    });
    assert_eq!(feed(&mut attributor, &fork).unwrap().process.executable, "/bin/bash".into());
    let child = |kind| {
        let mut builder = new(kind).process(200, 2, 2);
        builder.header.segment = 8;
        builder
    };
    assert_eq!(feed(&mut attributor, &child(RecordKind::Segment).finish(&SegmentBody { parent: 7 })), None);
    let event = feed(&mut attributor, &exec(child(RecordKind::Exec), "/bin/ls")).unwrap();
    assert_eq!(event.workload.name, "server");
    assert_eq!(event.process.ancestors[0].1, "/bin/bash".into());
    attributor.assign(SegmentId(8), workload("other"));
    let exit = child(RecordKind::Exit).finish(&ExitBody { exit_code: 0, reserved: 0 });
    let event = feed(&mut attributor, &exit).unwrap();
    assert_eq!((event.workload.name.as_str(), event.action), ("other", Action::Exit(0)));
}

#[test]
fn events_of_unassigned_segments_wait_within_bounds() {
    let mut attributor = attributor();
    let record = |at: u64| {
        let mut builder = new(RecordKind::Open);
        builder.header.segment = 9;
        builder.header.boot_ns = at;
        open(builder, "/x", 0)
    };
    for _ in 0..3 {
        assert_eq!(feed(&mut attributor, &record(1)), None);
    }
    let released = attributor.assign(SegmentId(9), workload("late"));
    assert_eq!(released.len(), 3);
    assert!(released.iter().all(|event| event.workload.name == "late"));
    assert_eq!(attributor.counts().unassigned, 0);

    attributor.forget_segment(SegmentId(9));
    for _ in 0..HELD_MAX + 5 {
        feed(&mut attributor, &record(1));
    }
    assert_eq!(attributor.counts().unassigned, 5);
    attributor.tick(BootNs(HELD_NS + 10));
    assert_eq!(attributor.counts().unassigned, u64::try_from(HELD_MAX).unwrap() + 5);
}

#[test]
fn counted_opens_become_one_event() {
    let mut attributor = attributor();
    feed(&mut attributor, &exec(new(RecordKind::Exec), "/bin/cat"));
    let first = feed(&mut attributor, &open(new(RecordKind::Open), "/x", HEADER_RELIEVED)).unwrap();
    let key = ReliefKey {
        start_boottime_ns: 500_000_000,
        tgid: 100,
        exec_id: 1,
        kind: RecordKind::Open as u32,
        flags: 1 | 0x8000 << 8,
        object: [3, 8 << 32 | 1, 0, 77],
    };
    let event = attributor.flush_relief(&key, 41, BootNs(9_000_000_000)).unwrap();
    assert_eq!((event.count, event.boot_ns), (41, BootNs(9_000_000_000)));
    assert_eq!(event.action, first.action);
    assert_ne!(event.id, first.id);
    assert_eq!(attributor.flush_relief(&key, 0, BootNs(1)), None);
    assert_eq!(attributor.flush_relief(&ReliefKey { flags: 2, ..key }, 5, BootNs(1)), None);
    assert_eq!(attributor.counts().relief_unplaced, 5);
    let exit = new(RecordKind::Exit).finish(&ExitBody::default());
    feed(&mut attributor, &exit);
    assert!(attributor.flush_relief(&key, 1, BootNs(1)).is_some());
    attributor.tick(BootNs(60_000_000_000));
    assert!(attributor.flush_relief(&key, 1, BootNs(1)).is_none());
}

#[test]
fn counted_sends_become_one_event() {
    let mut attributor = attributor();
    let mut builder = new(RecordKind::Send);
    builder.header.flags = HEADER_RELIEVED;
    let mut remote_address = [0; 16];
    remote_address[10..].copy_from_slice(&[0xff, 0xff, 1, 2, 3, 4]);
    let body = NetworkBody {
        remote_address,
        remote_port: 53,
        family: 2,
        socket_type: 2,
        protocol: 17,
        ..NetworkBody::default()
    };
    feed(&mut attributor, &builder.finish(&body)).unwrap();
    let half = |range: std::ops::Range<usize>| u64::from_ne_bytes(remote_address[range].try_into().unwrap());
    let key = ReliefKey {
        start_boottime_ns: 500_000_000,
        tgid: 100,
        exec_id: 1,
        kind: RecordKind::Send as u32,
        flags: 0x2_0011,
        object: [half(0..8), half(8..16), 53, 0],
    };
    let event = attributor.flush_relief(&key, 7, BootNs(1)).unwrap();
    assert_eq!((event.count, event.action.kind()), (7, "send"));
}

#[test]
fn results_become_outcomes() {
    let open = Action::Exit(0);
    let connect = Action::Connect(NetworkObject {
        direction: crate::event::Direction::Out,
        transport: crate::event::Transport::Tcp,
        remote: Endpoint::Unnamed,
        local: None,
        name: None,
        name_confidence: NameConfidence::Unresolved,
        bytes_sent: None,
        bytes_received: None,
        socket: 0,
        fast_open: false,
    });
    assert_eq!(outcome(&open, 0, 0), Outcome::Ok);
    assert_eq!(outcome(&open, RESULT_PERMITTED, 0), Outcome::Permitted);
    assert_eq!(outcome(&connect, RESULT_PERMITTED, 0), Outcome::Started);
    assert_eq!(outcome(&connect, -111, 0), Outcome::Failed(111));
    assert_eq!(outcome(&connect, i32::MIN, 0), Outcome::Failed(i32::MAX));
    assert_eq!(outcome(&open, 0, HEADER_DENIED), Outcome::Denied);
}

#[test]
fn a_snoop_by_namespace_number_finds_the_host_pid() {
    let mut attributor = attributor();
    let mut builder = new(RecordKind::Exec).process(300, 3, 1);
    let path = builder.path("/bin/victim");
    let victim = ExecBody { path, pid_namespace: 5, namespace_pid: 12, ..ExecBody::default() };
    feed(&mut attributor, &builder.finish(&victim));
    feed(&mut attributor, &exec(new(RecordKind::Exec), "/bin/spy"));
    for (flags, target, expected) in [(1, 12, 300), (1, 13, 0), (0, 300, 300)] {
        let body = SnoopBody { target_tgid: target, flags, way: 1, ..SnoopBody::default() };
        let event = feed(&mut attributor, &new(RecordKind::Snoop).finish(&body)).unwrap();
        let Action::Snoop(snoop) = event.action else { panic!() };
        assert_eq!(snoop.target, ProcessId(expected));
        assert_eq!(snoop.target_executable.is_some(), expected != 0);
    }
}

/// `cargo test --release -p mcp-monitor -- --ignored --nocapture` prints what one open costs.
#[test]
#[ignore = "a measurement"]
fn cost_of_an_open() {
    let mut attributor = attributor();
    feed(&mut attributor, &exec(new(RecordKind::Exec), "/usr/bin/node"));
    let record = open(new(RecordKind::Open), "/home/user/project/node_modules/some-package/dist/index.js", 0);
    let begin = std::time::Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(feed(&mut attributor, std::hint::black_box(&record)));
    }
    println!("{:?} for an open, decoded and attributed", begin.elapsed() / 1_000_000);
}
