//! Events as real ones are, made up, and what making and taking them costs.

use std::{fs, sync::Arc, time::Duration};

use anyhow::Result;
use mcp_monitor::{
    event::{
        Access, Action, BootNs, Bytes, Decision, Direction, Endpoint, Event, FileIdentity, FileObject,
        FilePath, Finding, FindingState, NameConfidence, NetworkObject, Outcome, Process, ProcessId,
        ProcessKey, Rule, SegmentId, Severity, ThreadId, Transport, Verdict, Workload, WorkloadKind,
    },
    host::clock::Clock,
    store::Writer,
};

/// Makes events that differ as real ones do: ten workloads, processes that come and go, many paths.
pub(crate) struct Source {
    pub(crate) number: u64,
    workloads: Vec<Arc<Workload>>,
    processes: Vec<Arc<Process>>,
}

const WORKLOADS: u64 = 10;
const PROCESSES: u64 = 200;
const PATHS: u64 = 200_000;

impl Source {
    pub(crate) fn new() -> Self {
        let workloads = (0..WORKLOADS).map(|number| {
            Arc::new(Workload {
                id: format!("{number:08x}-77aa-5d1c-9f00-000000000000"),
                instance: uuid::Uuid::now_v7().to_string(),
                kind: if number < 2 { WorkloadKind::Agent } else { WorkloadKind::Server },
                name: format!("server-{number}"),
                client: Some("claude-code".into()),
                parent: None,
            })
        });
        let workloads = workloads.collect();
        Self { number: 0, workloads, processes: (0..PROCESSES).map(|slot| process(slot, 0)).collect() }
    }

    pub(crate) fn next(&mut self) -> Event {
        self.number += 1;
        let number = self.number;
        let slot = number / 7 % PROCESSES;
        if number.is_multiple_of(500) {
            // A process ends and another takes its place.
            let place = usize::try_from(slot).unwrap_or(0);
            self.processes[place] = process(slot, number);
        }
        let process = Arc::clone(&self.processes[usize::try_from(slot).unwrap_or(0)]);
        let workload = Arc::clone(&self.workloads[usize::try_from(slot % WORKLOADS).unwrap_or(0)]);
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let action = match number % 20 {
            0 => Action::Close(network(spread)),
            1 => Action::Connect(network(spread)),
            _ => Action::Open(file(&path(spread % PATHS))),
        };
        let secret = number.is_multiple_of(100_000);
        Event {
            id: uuid::Uuid::now_v7().to_string(),
            boot_ns: Clock::now(),
            sequence: number,
            lane: 0,
            action: if secret { Action::Open(file("/home/user/.ssh/id_ed25519")) } else { action },
            thread: ThreadId(process.key.pid.0),
            segment: SegmentId(slot % WORKLOADS + 1),
            process,
            workload,
            outcome: Outcome::Ok,
            count: 1,
            mechanism: "file_open",
            verdict: if secret { Verdict::Forbidden } else { Verdict::Unjudged },
            decision: Decision {
                source: "agent".into(),
                reason: "the agent works in its workspace".into(),
                ..Decision::default()
            },
            rule: secret.then_some(Rule::SecretRead),
        }
    }
}

fn process(slot: u64, born: u64) -> Arc<Process> {
    let pid = 10_000 + u32::try_from((slot + born) % 50_000).unwrap_or(0);
    let key = |pid: u32| ProcessKey { pid: ProcessId(pid), start: BootNs(5_000_000_000 + born), exec_id: 3 };
    Arc::new(Process {
        key: key(pid),
        executable: Bytes::from("/usr/bin/node"),
        script: Some(Bytes::from("/home/user/.npm/_npx/15b07286cbcc3329/node_modules/.bin/mcp-server")),
        arguments: vec!["node".into(), "mcp-server".into(), format!("--slot={slot}").as_str().into()],
        working_directory: "/home/user/project".into(),
        uid: 1000,
        euid: 1000,
        user: Some("user".into()),
        login_uid: Some(1000),
        session: Some(2),
        cgroup: "/user.slice/user-1000.slice/session-2.scope".into(),
        mount_namespace: 4_026_531_841,
        pid_namespace: 4_026_531_836,
        net_namespace: 4_026_531_840,
        ancestors: vec![
            (key(2000 + u32::try_from(slot).unwrap_or(0)), "/usr/bin/npx".into()),
            (ProcessKey { pid: ProcessId(1999), start: BootNs(1), exec_id: 1 }, "/usr/bin/claude".into()),
        ],
        ..Process::default()
    })
}

pub(crate) fn path(number: u64) -> String {
    format!("/home/user/project/node_modules/package-{}/lib/module-{number}.js", number % 1500)
}

fn file(path: &str) -> FileObject {
    FileObject {
        path: FilePath { bytes: Bytes::from(path), ..FilePath::default() },
        identity: Some(FileIdentity { inode: 12_345_678, device: (8 << 20) | 1, generation: 7 }),
        access: Access { read: true, ..Access::default() },
        mode: 0o100_644,
        links: 1,
        filesystem_magic: 0xef53,
        ..FileObject::default()
    }
}

fn network(spread: u64) -> NetworkObject {
    let last = u8::try_from(spread % 250).unwrap_or(0);
    NetworkObject {
        direction: Direction::Out,
        transport: Transport::Tcp,
        remote: Endpoint::Internet([203, 0, 113, last].into(), 443),
        local: None,
        name: Some(format!("host-{last}.example.com").as_str().into()),
        name_confidence: NameConfidence::WorkloadDns,
        bytes_sent: Some(2048),
        bytes_received: Some(4096),
        socket: 0,
        fast_open: false,
    }
}

fn finding(event: &Event) -> Finding {
    Finding {
        id: uuid::Uuid::now_v7().to_string(),
        rule: Rule::SecretRead,
        severity: Severity::High,
        state: FindingState::Open,
        first_seen: event.boot_ns,
        last_seen: event.boot_ns,
        count: 1,
        workload: Arc::clone(&event.workload),
        process: Arc::clone(&event.process),
        action: event.action.clone(),
        outcome: event.outcome,
        decision: event.decision.clone(),
        technique: "T1552.004".into(),
        tactic: "credential-access".into(),
        title: "A secret was opened by somebody who does not own it".into(),
        message: "server-1 opened a private key".into(),
        advice: "Replace the key.".into(),
        events: vec![event.id.clone()],
    }
}

/// Hands one more event to the store, and now and then a finding.
pub(crate) fn give(writer: &Writer, source: &mut Source) {
    let event = source.next();
    if event.rule.is_some() || source.number.is_multiple_of(2_000) {
        writer.finding(&finding(&event));
    }
    writer.event(event);
}

/// Bytes of memory in use, and processor time of this process.
pub(crate) fn costs() -> Result<(u64, Duration)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: u64 = resident.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0);
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(value.tv_sec() * 1_000_000 + value.tv_usec()).unwrap_or(0))
    };
    Ok((kib * 1024, time(usage.user_time()) + time(usage.system_time())))
}
