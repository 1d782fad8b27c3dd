//! Many cases in one monitored lineage: starting the monitor costs more than a case does. Each case is a process of its
//! own, alone at its time, and whatever it left behind is ended before the next begins.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use mcp_monitor_tests::{
    act::{Act, Ended, append_line, read_lines},
    identity::boot_ns,
    world::{self, World},
};

use crate::process::myself;

/// Performs the cases and logs each.
pub(crate) fn run(scratch: &Path, log: &Path, deadline: u64, benign: bool, cases: &[String]) -> Result<()> {
    // Orphans come to this process, so that it can end them.
    // SAFETY: a plain call.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let world = World::at(scratch);
    for case in cases {
        let desk = world.desk(case, benign);
        std::fs::create_dir_all(&desk)?;
        let report = desk.join("report.jsonl");
        let talk = desk.join("talk.txt");
        let begin = boot_ns();
        let mut child = Command::new(myself()?)
            .arg(case)
            .args(benign.then_some("--benign"))
            .arg("--scratch")
            .arg(scratch)
            .arg("--report")
            .arg(&report)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&talk)?)
            .spawn()?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                use std::os::unix::process::ExitStatusExt;
                break status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            if started.elapsed() > Duration::from_secs(deadline) {
                child.kill()?;
                child.wait()?;
                break 124;
            }
            thread::sleep(Duration::from_millis(2));
        };
        end_orphans();
        let acts: Vec<Act> = read_lines(&report)?;
        let reason = std::fs::read_to_string(&talk)?;
        let reason = reason.trim().trim_start_matches("not run: ").to_owned();
        append_line(log, &Ended { case: case.clone(), benign, begin, end: boot_ns(), status, reason, acts })?;
        // Start times are compared in ticks of 10 ms: the next case must not begin within this one's.
        thread::sleep(Duration::from_millis(21));
    }
    world::tidy();
    Ok(())
}

/// Ends and collects every process that is a child of this one.
fn end_orphans() {
    let me = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()) {
        // SAFETY: our own child.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
    // SAFETY: waits for children of ours without storing a status.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}
