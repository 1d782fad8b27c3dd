//! What must hold when things go wrong: the monitor is killed, its output cannot be written, somebody else runs it,
//! names are hostile, secrets stand in arguments.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::monitor::{Setup, ending, wait, wait_gently};

// Exit statuses as `mcp-monitor help` lists them.
const NOT_PERMITTED: i32 = 3;
const ALREADY_RUNNING: i32 = 5;
const OUTPUT_FAILED: i32 = 6;

/// A check by name.
pub(crate) type Check = (&'static str, fn(&Setup) -> Result<()>);

/// All checks of this file.
pub(crate) const CHECKS: &[Check] = &[
    ("the exit status is the command's", exit_status),
    ("kill -9 leaves no program attached", killed),
    ("a full disk ends it cleanly", full_disk),
    ("a closed pipe ends it cleanly", closed_pipe),
    ("ctrl-c ends it with a summary", interrupted),
    ("a second monitor is refused", second_monitor),
    ("without root it says so", not_root),
];

fn exit_status(setup: &Setup) -> Result<()> {
    let shell = ["/bin/sh", "-c", "exit 7"].map(str::to_owned);
    let said = setup.run("exit-status", &[], &shell, 60)?;
    let code = said.status.and_then(|status| status.code());
    ensure!(code == Some(7), "`exit 7` was watched and the monitor {}\n{}", ending(said.status), said.talk);
    let summary = said.of("summary").count();
    ensure!(summary == 1, "{summary} summaries");
    let last = said.records.last().context("nothing was said")?;
    ensure!(last["schema"] == "mcp-monitor/summary/v1", "the last line is no summary: {last}");
    Ok(())
}

/// Starts the monitor on a command that waits, and waits until its programs are loaded.
fn start_idle(setup: &Setup, name: &str) -> Result<(Child, BTreeSet<u32>)> {
    let mut watch = setup.watch();
    watch.arg("--output-file").arg(setup.world.scratch.join(format!("{name}.jsonl")));
    watch.arg("--").args(setup.attack()).arg("idle");
    let talk = fs::File::create(setup.world.scratch.join(format!("{name}.talk")))?;
    // Whoever runs the tests in the background may have told its children to ignore Ctrl-C.
    // SAFETY: only an async-signal-safe call between fork and exec.
    unsafe {
        watch.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
    let mut child =
        watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(talk).process_group(0).spawn()?;
    let begin = Instant::now();
    while begin.elapsed() < setup.seconds(60) {
        if let Some(status) = child.try_wait()? {
            let talk = fs::read_to_string(setup.world.scratch.join(format!("{name}.talk")))?;
            bail!("the monitor {} at once\n{talk}", ending(Some(status)));
        }
        let programs = programs_of(child.id());
        // The command runs once everything is attached.
        if !programs.is_empty() && has_child_of(child.id(), &setup.attack) {
            return Ok((child, programs));
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    bail!("the command was not started under the monitor")
}

/// Whether a child of `parent` runs this program: it waits as a copy of the monitor until it may begin.
fn has_child_of(parent: u32, program: &Path) -> bool {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children
        .flat_map(|children| children.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .any(|child| fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe == program))
}

/// The ids of the kernel programs that a process holds.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let infos = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok());
    infos
        .flat_map(|info| {
            let ids = info.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
            ids.collect::<Vec<u32>>()
        })
        .collect()
}

/// Whether a kernel program is still loaded.
fn is_loaded(program: u32) -> bool {
    let mut attributes = [0_u32; 4];
    attributes[0] = program;
    // 13 is BPF_PROG_GET_FD_BY_ID.
    // SAFETY: the attributes are as long as they say.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, 13, attributes.as_mut_ptr(), size_of_val(&attributes)) };
    match i32::try_from(descriptor) {
        Ok(descriptor) if descriptor >= 0 => {
            // SAFETY: the kernel just returned it.
            unsafe { libc::close(descriptor) };
            true
        }
        _ => false,
    }
}

/// All of these programs are gone within a few seconds: the kernel frees them late.
fn gone(setup: &Setup, programs: &BTreeSet<u32>) -> Result<()> {
    let begin = Instant::now();
    loop {
        let left: Vec<_> = programs.iter().filter(|program| is_loaded(**program)).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(begin.elapsed() < setup.seconds(10), "kernel programs {left:?} are still loaded");
        thread::sleep(Duration::from_millis(100));
    }
}

fn killed(setup: &Setup) -> Result<()> {
    let (mut child, programs) = start_idle(setup, "killed")?;
    child.kill()?;
    child.wait()?;
    gone(setup, &programs)
}

fn interrupted(setup: &Setup) -> Result<()> {
    let (mut child, programs) = start_idle(setup, "interrupted")?;
    // As a terminal does: to the whole process group, which is the monitor's own.
    // SAFETY: our own children.
    unsafe { libc::kill(-i32::try_from(child.id())?, libc::SIGINT) };
    let status = wait(&mut child, setup.seconds(15))?;
    ensure!(status.is_some(), "the monitor {}", ending(status));
    let output = fs::read_to_string(setup.world.scratch.join("interrupted.jsonl"))?;
    let last = output.lines().last().context("nothing was said")?;
    ensure!(last.contains("mcp-monitor/summary/v1"), "the last line is no summary: {last}");
    gone(setup, &programs)
}

/// Whatever becomes of the output, the monitor ends by itself, says so in a line and does not panic.
fn ends_cleanly(setup: &Setup, mut watch: Command, name: &str, expected: i32) -> Result<()> {
    let talk = setup.world.scratch.join(format!("{name}.talk"));
    watch.stderr(fs::File::create(&talk)?);
    let mut child = watch.spawn()?;
    let status = wait(&mut child, setup.seconds(40))?;
    let talk = fs::read_to_string(talk)?;
    let code = status.and_then(|status| status.code());
    ensure!(code == Some(expected) && !talk.contains("panicked"), "the monitor {}\n{talk}", ending(status));
    Ok(())
}

fn full_disk(setup: &Setup) -> Result<()> {
    let mut watch = setup.watch();
    watch.args(["--output-file", "/dev/full", "--"]).args(setup.attack()).arg("idle").stdout(Stdio::null());
    ends_cleanly(setup, watch, "full-disk", OUTPUT_FAILED)
}

fn closed_pipe(setup: &Setup) -> Result<()> {
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written; the reading end is closed at once.
    let writer = unsafe {
        ensure!(libc::pipe(ends.as_mut_ptr()) == 0, "pipe");
        libc::close(ends[0]);
        <Stdio as std::os::fd::FromRawFd>::from_raw_fd(ends[1])
    };
    let mut watch = setup.watch();
    watch.arg("--").args(setup.attack()).arg("idle").stdout(writer);
    ends_cleanly(setup, watch, "closed-pipe", 0)
}

/// Fails with one message, on standard error, that holds one of these words, and not by panic.
fn refused(mut watch: Command, limit: Duration, expected: i32, words: &[&str]) -> Result<()> {
    let mut child = watch.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let status = wait_gently(&mut child, limit)?;
    if status.is_none() {
        child.kill()?;
    }
    let talk = String::from_utf8_lossy(&child.wait_with_output()?.stderr).into_owned();
    let code = status.and_then(|status| status.code());
    ensure!(code == Some(expected), "it was not refused with {expected}: {}\n{talk}", ending(status));
    let lower = talk.to_lowercase();
    ensure!(words.iter().any(|word| lower.contains(word)), "the message names none of {words:?}:\n{talk}");
    Ok(())
}

fn second_monitor(setup: &Setup) -> Result<()> {
    let (mut first, _) = start_idle(setup, "first-monitor")?;
    let mut watch = setup.watch();
    watch.arg("--").args(setup.attack()).arg("idle");
    let result = refused(watch, setup.seconds(40), ALREADY_RUNNING, &["already", "another", "second"]);
    drop(first.stdin.take());
    wait(&mut first, setup.seconds(15))?;
    result
}

fn not_root(setup: &Setup) -> Result<()> {
    let mut watch = setup.watch();
    watch.arg("--").args(setup.attack()).arg("idle").uid(65534).gid(65534);
    refused(watch, setup.seconds(20), NOT_PERMITTED, &["root", "cap_bpf", "sudo"])
}
