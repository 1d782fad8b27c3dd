//! What the store can take and how fast it answers: a paced stream with questions beside it, then a large store that is
//! asked. Prints a section of Markdown. `cargo xtask bench --only store` runs it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mcp_monitor::{
    event::{
        Access, Action, BootNs, Bytes, Decision, Direction, Endpoint, Event, FileIdentity, FileObject,
        FilePath, Finding, FindingState, NameConfidence, NetworkObject, Outcome, Process, ProcessId,
        ProcessKey, Rule, SegmentId, Severity, ThreadId, Transport, Verdict, Workload, WorkloadKind,
    },
    host::clock::Clock,
    render::Origin,
    store::{CountBy, Filter, FindingFilter, Query, Reader, Settings, Store, Writer, verify},
};
use mcp_monitor_common::mechanism::Tier;

#[derive(Parser)]
#[command(about = "Measures the store")]
struct Arguments {
    /// Events a second of the paced part
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Seconds of the paced part
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Rows of the store that is asked
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Where the stores are made; removed at the end
    #[arg(long, default_value = "/var/tmp")]
    scratch: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = arguments.scratch.join(format!("mcp-monitor-store-bench.{}", std::process::id()));
    let result =
        paced(&arguments, &scratch.join("paced")).and_then(|()| asked(&arguments, &scratch.join("asked")));
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    result
}

/// Makes events that differ as real ones do: ten workloads, processes that come and go, many paths.
struct Source {
    number: u64,
    workloads: Vec<Arc<Workload>>,
    processes: Vec<Arc<Process>>,
}

const WORKLOADS: u64 = 10;
const PROCESSES: u64 = 200;
const PATHS: u64 = 200_000;

impl Source {
    fn new() -> Self {
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

    fn next(&mut self) -> Event {
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

fn path(number: u64) -> String {
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

fn give(writer: &Writer, source: &mut Source) {
    let event = source.next();
    if event.rule.is_some() || source.number.is_multiple_of(2_000) {
        writer.finding(&finding(&event));
    }
    writer.event(event);
}

fn open(directory: &Path) -> Result<(Store, Settings)> {
    let settings = Settings { bytes: 1 << 40, ..Settings::new(directory) };
    let store = Store::open(&settings, &Origin::of_this_host(Tier::Tracepoint))?;
    Ok((store, settings))
}

/// Bytes of memory in use, and processor time of this process.
fn costs() -> Result<(u64, Duration)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: u64 = resident.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0);
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(value.tv_sec() * 1_000_000 + value.tv_usec()).unwrap_or(0))
    };
    Ok((kib * 1024, time(usage.user_time()) + time(usage.system_time())))
}

/// A paced stream, with questions beside it.
fn paced(arguments: &Arguments, directory: &Path) -> Result<()> {
    let (store, _) = open(directory)?;
    let writer = store.writer();
    let ended = Arc::new(AtomicBool::new(false));
    let asking = {
        let (directory, ended) = (directory.to_owned(), Arc::clone(&ended));
        std::thread::spawn(move || -> Result<Duration> {
            let mut slowest = Duration::ZERO;
            std::thread::sleep(Duration::from_secs(2));
            while !ended.load(Ordering::Relaxed) {
                let mut reader = Reader::open(&directory)?;
                for (_, taken) in questions(&mut reader)? {
                    slowest = slowest.max(taken);
                }
                std::thread::sleep(Duration::from_secs(5));
            }
            Ok(slowest)
        })
    };
    let (_, before) = costs()?;
    let mut source = Source::new();
    let started = Instant::now();
    let step = arguments.rate / 100;
    for turn in 0..arguments.seconds * 100 {
        for _ in 0..step {
            give(&writer, &mut source);
        }
        let due = Duration::from_millis(10 * (turn + 1));
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    let given = source.number;
    let taken = started.elapsed();
    let (resident, after) = costs()?;
    ended.store(true, Ordering::Relaxed);
    let slowest = asking.join().map_err(|_| anyhow::anyhow!("the thread that asks panicked"))??;
    writer.flush()?;
    let status = writer.status();
    let losses = writer.take_losses();
    drop(store);
    let seconds = taken.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let (rate, per_row, cpu) = (
        given as f64 / seconds,
        status.bytes as f64 / status.written.max(1) as f64,
        after.saturating_sub(before).as_secs_f64() / seconds * 100.0,
    );
    println!("### Sustained\n");
    println!(
        "| given | for | rows | lost | processor, with making the events and asking | most memory | on the disk, per row | slowest answer |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    println!(
        "| {rate:.0}/s | {seconds:.0} s | {} | {} | {cpu:.0} % | {} MiB | {per_row:.0} B | {} ms |\n",
        status.written,
        losses.queue + losses.unwritten + losses.findings,
        resident >> 20,
        slowest.as_millis()
    );
    let verified = Instant::now();
    let result = verify::store(directory, None, None)?;
    ensure!(result.is_good(), "the store is not good: {result}");
    println!("Verified: {} events in {:.1} s.\n", result.rows, verified.elapsed().as_secs_f64());
    Ok(())
}

/// A large store that is asked.
fn asked(arguments: &Arguments, directory: &Path) -> Result<()> {
    let (store, _) = open(directory)?;
    let writer = store.writer();
    let mut source = Source::new();
    let started = Instant::now();
    while source.number < arguments.rows {
        for _ in 0..1000 {
            give(&writer, &mut source);
        }
        while writer.status().queue_events > 16_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    writer.flush()?;
    let filled = started.elapsed();
    let status = writer.status();
    drop(store);
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let rate = status.written as f64 / filled.as_secs_f64();
    println!("### Asked\n");
    println!(
        "{} rows in {:.0} s ({rate:.0}/s), {} MiB on the disk. Each question by a reader that was just opened.\n",
        status.written,
        filled.as_secs_f64(),
        status.bytes >> 20
    );
    println!("| question | ms |\n|---|---:|");
    let mut reader = Reader::open(directory)?;
    for (question, taken) in questions(&mut reader)? {
        println!("| {question} | {} |", taken.as_millis());
    }
    println!();
    Ok(())
}

fn questions(reader: &mut Reader) -> Result<Vec<(&'static str, Duration)>> {
    let none = Filter::default;
    let texts = |text: &str| vec![text.to_owned()];
    let mut answers = Vec::new();
    let mut ask =
        |question: &'static str, answer: &mut dyn FnMut(&mut Reader) -> Result<usize>| -> Result<()> {
            let started = Instant::now();
            answer(reader)?;
            answers.push((question, started.elapsed()));
            Ok(())
        };
    let events = |filter: Filter| {
        move |reader: &mut Reader| {
            Ok(reader.events(&Query { filter: filter.clone(), ..Query::default() })?.rows.len())
        }
    };
    let workload = FindingFilter { workload: texts("server-3"), limit: 1000, ..FindingFilter::default() };
    ask("a workload's findings of a day", &mut |reader| Ok(reader.findings(&workload)?.len()))?;
    ask("the newest 100 events", &mut events(none()))?;
    ask("the newest 100 of a workload", &mut events(Filter { workload: texts("server-3"), ..none() }))?;
    ask(
        "what is noteworthy",
        &mut events(Filter { verdict: vec![Verdict::Forbidden, Verdict::Unexpected], ..none() }),
    )?;
    ask("a path", &mut events(Filter { path: texts(&path(77)), ..none() }))?;
    ask("paths by a glob that few match", &mut events(Filter { path: texts("/home/*/.ssh/**"), ..none() }))?;
    ask(
        "paths by a glob that thousands match",
        &mut events(Filter { path: texts("**/package-7/**"), ..none() }),
    )?;
    ask("a path that is not there", &mut events(Filter { path: texts("/nowhere/**"), ..none() }))?;
    ask("a destination", &mut events(Filter { destination: texts("host-7.example.com"), ..none() }))?;
    ask("who else touched that key", &mut |reader| {
        Ok(reader.touches(&Filter { path: texts("/home/user/.ssh/id_ed25519"), ..none() })?.len())
    })?;
    ask("bytes by workload and destination, in the last hour of one workload", &mut |reader| {
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        Ok(reader.traffic(&Filter { workload: texts("server-3"), since: Some(since), ..none() })?.len())
    })?;
    ask("events by kind in the last minute", &mut |reader| {
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(1);
        Ok(reader.counts(&Filter { since: Some(since), ..none() }, CountBy::Kind)?.len())
    })?;
    Ok(answers)
}
