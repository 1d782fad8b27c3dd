//! What a verdict costs: with many rules, for many workloads, met for the first time and again. Prints a section of
//! Markdown. `cargo xtask bench --only judge` runs it.

use std::{
    fmt::Write as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use mcp_monitor::{
    event::{
        Access, Action, BootNs, Bytes, Decision, Event, ExecObject, FileIdentity, FileObject, FilePath,
        Outcome, Process, ProcessId, ProcessKey, SegmentId, ThreadId, Verdict, Workload, WorkloadKind,
    },
    expectation::{
        Context, Judge, JudgeConfig,
        file::{Compiled, Set, Subject, read::Source},
    },
};

/// Distinct files that are opened again and again.
const WARM_FILES: usize = 256;
/// Verdicts that are timed together.
const WARM_VERDICTS: usize = 400_000;
/// Files that are opened once each.
const COLD_FILES: usize = 20_000;

#[derive(Parser)]
#[command(about = "Measures the judge")]
struct Arguments {
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let Arguments { bench: _ } = Arguments::parse();
    println!("### What a verdict costs\n");
    println!(
        "Opens of files by servers with an expectation, {COLD_FILES} files once each and {WARM_FILES} files again and again.\n"
    );
    println!("| rules | workloads | made ready | cold | warm |\n|---:|---:|---:|---:|---:|");
    for workloads in [1, 100] {
        for rules in [10, 1_000, 10_000] {
            let row = measure(rules, workloads)?;
            println!(
                "| {rules} | {workloads} | {:.1} ms each | {:.2} µs | {:.2} µs |",
                row.ready.as_secs_f64() * 1e3,
                row.cold.as_secs_f64() * 1e6,
                row.warm.as_secs_f64() * 1e6
            );
        }
    }
    Ok(())
}

struct Row {
    ready: Duration,
    cold: Duration,
    warm: Duration,
}

fn measure(rules: usize, workloads: usize) -> Result<Row> {
    let homes = vec![PathBuf::from("/home/ann")];
    let mut judge = Judge::new(JudgeConfig { homes, ..JudgeConfig::default() })?;
    // Patterns as people write them: folders, names with wildcards, single files.
    let mut text = String::from("apiVersion: mcp-monitor/v1\nworkload: w\nfiles:\n  read:\n");
    for rule in 0..rules {
        let _ = match rule % 3 {
            0 => writeln!(text, "    - /srv/project{rule}/**"),
            1 => writeln!(text, "    - /home/ann/data{rule}/*.json"),
            _ => writeln!(text, "    - /opt/tool{rule}/etc/settings.yaml"),
        };
    }
    let set = Set::of_sources(&[Source { path: "bench.yaml".into(), text }])?;
    let expectation = set.all().first().context("no expectation")?;
    let subject = Subject { name: "w".into(), ..Subject::default() };
    let begun = Instant::now();
    let compiled = Arc::new(Compiled::new(expectation, &subject)?);
    let ready = begun.elapsed();
    let mut all = Vec::new();
    for workload in 0..workloads {
        let instance = format!("instance-{workload}");
        judge.describe(&instance, Context { kind: WorkloadKind::Server, ..Context::default() })?;
        judge.expect(&instance, Some(Arc::clone(&compiled)));
        let server = Server::new(workload)?;
        judge.judge(&mut server.event(Server::exec(), 0));
        all.push(server);
    }
    let path = |number: usize| match number % 3 {
        0 => format!("/srv/project{}/src/file{number}.rs", number % rules.max(1) / 3 * 3),
        1 => format!("/home/ann/data{}/file{number}.json", number % rules.max(1)),
        _ => format!("/opt/tool{}/etc/other{number}", number % rules.max(1)),
    };
    let mut cold: Vec<Event> = (0..COLD_FILES)
        .map(|number| all[number % workloads].event(open(&path(number), number), number))
        .collect();
    let begun = Instant::now();
    for event in &mut cold {
        judge.judge(event);
    }
    let cold_time = begun.elapsed() / u32::try_from(COLD_FILES)?;
    let mut warm: Vec<Event> = (0..WARM_FILES)
        .map(|number| all[number % workloads].event(open(&path(number), number), COLD_FILES + number))
        .collect();
    for event in &mut warm {
        judge.judge(event);
    }
    let begun = Instant::now();
    for number in 0..WARM_VERDICTS {
        let event = warm.get_mut(number % WARM_FILES).ok_or_else(|| anyhow!("no event"))?;
        judge.judge(event);
    }
    let warm_time = begun.elapsed() / u32::try_from(WARM_VERDICTS)?;
    Ok(Row { ready, cold: cold_time, warm: warm_time })
}

/// A server of one workload.
struct Server {
    process: Arc<Process>,
    workload: Arc<Workload>,
}

impl Server {
    fn new(number: usize) -> Result<Self> {
        let pid = u32::try_from(1000 + number)?;
        Ok(Self {
            process: Arc::new(Process {
                key: ProcessKey { pid: ProcessId(pid), start: BootNs(u64::from(pid)), exec_id: 1 },
                executable: Bytes::from("/usr/bin/node"),
                script: Some(Bytes::from("/opt/server/index.js")),
                working_directory: Bytes::from("/home/ann"),
                ..Process::default()
            }),
            workload: Arc::new(Workload {
                id: format!("workload-{number}"),
                instance: format!("instance-{number}"),
                kind: WorkloadKind::Server,
                name: "w".into(),
                ..Workload::default()
            }),
        })
    }

    fn exec() -> Action {
        let executable = object("/usr/bin/node", 1);
        Action::Exec(Box::new(ExecObject { executable, ..ExecObject::default() }))
    }

    fn event(&self, action: Action, number: usize) -> Event {
        Event {
            id: String::from("e"),
            boot_ns: BootNs(1_000_000_000 + number as u64),
            sequence: number as u64,
            lane: 0,
            action,
            thread: ThreadId(self.process.key.pid.0),
            segment: SegmentId(1),
            process: Arc::clone(&self.process),
            workload: Arc::clone(&self.workload),
            outcome: Outcome::Ok,
            count: 1,
            mechanism: "bench",
            verdict: Verdict::Unjudged,
            decision: Decision::default(),
            rule: None,
        }
    }
}

fn open(path: &str, number: usize) -> Action {
    Action::Open(object(path, 100 + number as u64))
}

fn object(path: &str, inode: u64) -> FileObject {
    FileObject {
        path: FilePath { bytes: Bytes::from(path), ..FilePath::default() },
        identity: Some(FileIdentity { inode, device: 1, generation: 1 }),
        access: Access { read: true, ..Access::default() },
        mode: 0o100_644,
        links: 1,
        ..FileObject::default()
    }
}
