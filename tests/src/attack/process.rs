//! Making processes: a child that reports what it did, and raw clones of the shapes that lose lineage trackers.

use std::{
    ffi::{CString, OsStr},
    fs::File,
    io::{Read, Write},
    os::{
        fd::FromRawFd,
        unix::{ffi::OsStrExt, process::ExitStatusExt},
    },
    process::{Command, Stdio},
};

use anyhow::{Context, Result, anyhow, bail};
use mcp_monitor_tests::{act::Act, world::check};

/// A path or argument as C wants it.
pub(crate) fn c_string(text: impl AsRef<OsStr>) -> CString {
    CString::new(text.as_ref().as_bytes()).expect("no NUL in a path")
}

/// Runs `work` in a forked child and returns what it reports.
pub(crate) fn in_child(work: impl FnOnce() -> Result<Vec<Act>>) -> Result<Vec<Act>> {
    let (mut reader, writer) = pipe()?;
    // SAFETY: these programs have one thread where they fork, or the child only makes system calls.
    match check(unsafe { libc::fork() })? {
        0 => report_and_exit(writer, work),
        child => {
            drop(writer);
            let acts = receive(&mut reader);
            wait(child)?;
            acts
        }
    }
}

/// In a child: does the work, reports over the pipe and ends.
pub(crate) fn report_and_exit(mut writer: File, work: impl FnOnce() -> Result<Vec<Act>>) -> ! {
    let report = work().map_err(|error| format!("{error:#}"));
    let status = i32::from(report.is_err());
    drop(writer.write_all(&serde_json::to_vec(&report).unwrap_or_default()));
    drop(writer);
    // SAFETY: ends the process at once; nothing of the parent's is flushed twice.
    unsafe { libc::_exit(status) }
}

/// In the parent: waits for the report.
pub(crate) fn receive(reader: &mut File) -> Result<Vec<Act>> {
    let mut report = Vec::new();
    reader.read_to_end(&mut report)?;
    let report: Result<Vec<Act>, String> =
        serde_json::from_slice(&report).context("the child ended without a report")?;
    report.map_err(|error| anyhow!("in the child: {error}"))
}

/// A pipe as two files that an exec closes.
pub(crate) fn pipe() -> Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written; both are new and owned by nobody else.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])))
    }
}

/// Waits for a child and fails unless it ended well.
pub(crate) fn wait(child: i32) -> Result<()> {
    let mut status = 0;
    // SAFETY: the status is ours to write to.
    check(unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) })?;
    if status == 0 {
        return Ok(());
    }
    bail!("the child ended with {}", std::process::ExitStatus::from_raw(status))
}

/// Runs a program that prints acts, one JSON object a line, and returns them.
pub(crate) fn acts_of(command: &mut Command) -> Result<Vec<Act>> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}", output.status);
    }
    acts_in(&output.stdout)
}

/// The acts in a program's output.
pub(crate) fn acts_in(output: &[u8]) -> Result<Vec<Act>> {
    let text = String::from_utf8_lossy(output);
    let acts: Vec<Act> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    if acts.is_empty() {
        bail!("no act was reported");
    }
    Ok(acts)
}

/// This program, to be run again.
pub(crate) fn myself() -> Result<std::path::PathBuf> {
    std::fs::read_link("/proc/self/exe").context("read the link /proc/self/exe")
}
