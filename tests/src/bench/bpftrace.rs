//! bpftrace on the same hooks.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// bpftrace, until this is dropped.
pub(crate) struct Bpftrace {
    child: Child,
}

impl Bpftrace {
    /// Prints what process `pid` opens, runs and connects to. bpftrace 0.17 has no raw tracepoints; the ordinary one of
    /// the same place is used.
    pub(crate) fn start(pid: u32) -> Result<Self> {
        let script = format!(
            "tracepoint:raw_syscalls:sys_exit /pid == {pid}/ {{ @result = args->ret; }}
             tracepoint:syscalls:sys_enter_openat /pid == {pid}/ {{ printf(\"%d %s\\n\", pid, str(args->filename)); }}
             tracepoint:syscalls:sys_enter_connect /pid == {pid}/ {{ printf(\"%d %d\\n\", pid, args->fd); }}
             tracepoint:sched:sched_process_exec /curtask->real_parent->tgid == {pid}/ {{ printf(\"%d %s\\n\", pid, str(args->filename)); }}
             END {{ clear(@result); }}"
        );
        let mut command = Command::new("sh");
        // bpftrace wants the tracing file system, which this process need not have.
        command.args([
            "-c",
            "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; \
            mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null; exec bpftrace -B line -e \"$1\"",
            "sh",
            &script,
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: one system call, which is safe after fork.
        unsafe {
            command.pre_exec(|| {
                if libc::unshare(libc::CLONE_NEWNS) != 0
                    || libc::mount(
                        c"none".as_ptr(),
                        c"/".as_ptr(),
                        std::ptr::null(),
                        libc::MS_REC | libc::MS_PRIVATE,
                        std::ptr::null(),
                    ) != 0
                {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let mut child = command.spawn().context("cannot start a shell")?;
        let output = child.stdout.take().context("no output")?;
        let mut bpftrace = Self { child };
        let mut lines = BufReader::new(output);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        if !line.starts_with("Attaching") {
            let _ = bpftrace.child.kill();
            let talk =
                bpftrace.child.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
            anyhow::bail!(
                "{}",
                talk.lines()
                    .last()
                    .unwrap_or("bpftrace did not start; install it with `apt-get install bpftrace`")
            );
        }
        // Somebody must read what it prints.
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        thread::sleep(Duration::from_secs(1));
        ensure!(bpftrace.child.try_wait()?.is_none(), "bpftrace ended at once");
        Ok(bpftrace)
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::kill(pid, libc::SIGINT) };
        }
        let _ = self.child.wait();
    }
}
