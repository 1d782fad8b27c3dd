//! The long proofs.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{Setup, bpf, monitor, work, worker::Worker};

/// How often the quiet lineage reads its secret.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Opens a second that no machine makes.
const AS_FAST_AS_IT_CAN: u32 = 10_000_000;

/// Where the secret of B lies: credentials of services, wherever homes are.
const SECRETS: &str = "/run/credentials/mcp-monitor-bench";

/// Lineage A opens files as fast as it can while lineage B reads a secret each second, each time in a process of its
/// own. Nothing of B may be lost, and every read must be in a finding. True when that is so.
pub(crate) fn flood(setup: &Setup, seconds: u64) -> Result<bool> {
    work::furnish(setup.scratch(), work::FOLDERS)?;
    let secret = Path::new(SECRETS).join("key");
    fs::create_dir_all(SECRETS).with_context(|| format!("cannot make {SECRETS}"))?;
    fs::write(&secret, mcp_monitor_tests::world::secret_text())?;
    let result = flood_beside(setup, seconds, &secret);
    fs::remove_dir_all(SECRETS).with_context(|| format!("cannot remove {SECRETS}"))?;
    result
}

fn flood_beside(setup: &Setup, seconds: u64, secret: &Path) -> Result<bool> {
    let lines = setup.scratch().join("flood.jsonl");
    let reads = seconds / READ_EVERY.as_secs();
    // Both exist before the monitor, which is told their pids: that makes them lineages of their own.
    let mut flooder = Worker::plain(setup.scratch())?;
    let quiet = "read go; n=0; while [ $n -lt $2 ]; do cat \"$1\" >/dev/null && n=$((n + 1)); sleep $3; done; echo $n";
    let words = [secret.to_string_lossy().into_owned(), reads.to_string(), READ_EVERY.as_secs().to_string()];
    let mut reader = Command::new("sh");
    reader.args(["-c", quiet, "sh"]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = reader.spawn().context("cannot start a shell")?;
    let mut run = monitor::command(setup, "run");
    run.args(["--no-relief", "--quiet", "--output-file"]).arg(&lines);
    run.args(["--pid", &flooder.pid().to_string(), "--pid", &reader.id().to_string()]);
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = run.spawn()?;
    attached(&mut child)?;
    flooder.begin_paced(AS_FAST_AS_IT_CAN, Duration::from_secs(seconds))?;
    writeln!(reader.stdin.take().context("no input")?, "go")?;
    let reader_pid = reader.id();
    let output = reader.wait_with_output()?;
    let opened = flooder.end_paced()?;
    flooder.end()?;
    thread::sleep(Duration::from_secs(1));
    interrupt(&child)?;
    child.wait()?;

    let text = fs::read_to_string(&lines)?;
    let last = text.lines().last().context("the monitor said nothing")?;
    let summary: serde_json::Value = serde_json::from_str(last)?;
    ensure!(summary["schema"] == "mcp-monitor/summary/v1", "the last line is no summary: {last}");
    let read: u64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    let told: u64 = summary["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finding| finding["rule"] == "secret-read")
        .filter_map(|finding| finding["count"].as_u64())
        .sum();
    let lost_of_b: u64 = summary["losses"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|loss| loss["workload"].as_str().is_none_or(|name| name == format!("pid {reader_pid}")))
        .filter_map(|loss| loss["count"].as_u64())
        .sum();
    println!(
        "A opened {opened} files in {seconds} s; {} events came, {} were lost, {lost_of_b} of them B's; B read its \
         secret {read} times, told were {told}",
        summary["total_events"], summary["total_lost"],
    );
    Ok(read == told && read == reads && lost_of_b == 0)
}

/// Kills the monitor with -9, each time at another moment from its start on: nothing stays attached. True when so.
pub(crate) fn kill(setup: &Setup, rounds: u32) -> Result<bool> {
    let mut latest = Duration::ZERO;
    for round in 1..=rounds {
        let mut run = monitor::command(setup, "run");
        run.args(["--pid", "1", "--output-file", "/dev/null"]);
        run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = run.spawn()?;
        let moment = Duration::from_millis(RandomState::new().build_hasher().finish() % 3000);
        thread::sleep(moment);
        if let Some(status) = child.try_wait()? {
            bail!("the monitor ended by itself in round {round}: {status}");
        }
        let programs = programs_of(child.id());
        child.kill()?;
        child.wait()?;
        let begin = Instant::now();
        // The kernel frees late.
        while programs.iter().any(|program| bpf::is_loaded(*program)) {
            if begin.elapsed() > Duration::from_secs(10) {
                println!(
                    "kill: round {round}, killed after {moment:?}: programs {programs:?} are still loaded"
                );
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(20));
        }
        latest = latest.max(begin.elapsed());
        if Path::new("/sys/fs/bpf/mcp-monitor").exists() {
            println!("kill: round {round} left something pinned");
            return Ok(false);
        }
        eprintln!("kill {round} of {rounds}: after {moment:?} with {} programs", programs.len());
    }
    println!("kill: {rounds} times at random moments of the first 3 s; all programs gone within {latest:?}");
    Ok(true)
}

fn attached(child: &mut std::process::Child) -> Result<()> {
    let begin = Instant::now();
    while !monitor::is_attached(child.id()) {
        if let Some(status) = child.try_wait()? {
            bail!("the monitor ended at once: {status}");
        }
        ensure!(begin.elapsed() < Duration::from_mins(1), "the monitor did not attach");
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_secs(1));
    Ok(())
}

fn interrupt(child: &std::process::Child) -> Result<()> {
    // SAFETY: our own child, not yet waited for.
    unsafe { libc::kill(i32::try_from(child.id())?, libc::SIGINT) };
    Ok(())
}

/// The ids of the kernel programs that a process holds.
fn programs_of(pid: u32) -> Vec<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let infos = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok());
    let ids = infos.flat_map(|info| {
        let ids = info.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
        ids.collect::<Vec<u32>>()
    });
    ids.collect()
}
