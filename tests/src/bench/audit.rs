//! auditd with rules that see what the monitor sees.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

/// The group whose processes the rules match.
pub(crate) const GROUP: u32 = 59321;
/// The calls that the rules name.
const CALLS: &str = "open,openat,openat2,creat,open_by_handle_at,execve,execveat,connect,accept,accept4,listen,\
    sendto,sendmsg,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,truncate,chmod,fchmodat,\
    ptrace,process_vm_readv,process_vm_writev,pidfd_getfd,recvmsg";
/// Once the kernel has audited, it looks at every new process, unless a rule like this one says never.
const NEVER: &[&str] = &["-a", "never,task"];

static USED: AtomicBool = AtomicBool::new(false);

/// Auditing, until this is dropped.
pub(crate) struct Audit {
    daemon: Child,
}

impl Audit {
    pub(crate) fn start(scratch: &Path) -> Result<Self> {
        if !USED.load(Ordering::Relaxed) {
            let status = control(&["-s"])?;
            let rules = control(&["-l"])?;
            let left_by_us = rules.lines().all(|line| line.contains("never,task") || line == "No rules");
            ensure!(
                left_by_us && status.lines().any(|line| line == "enabled 0"),
                "this host audits already; its rules are left alone"
            );
            USED.store(true, Ordering::Relaxed);
        }
        let folder = scratch.join("audit");
        fs::create_dir_all(&folder)?;
        let log = folder.join("audit.log");
        fs::write(
            folder.join("auditd.conf"),
            format!(
                "local_events = yes\nwrite_logs = yes\nlog_file = {}\nlog_format = RAW\nflush = INCREMENTAL_ASYNC\n\
                 freq = 50\nmax_log_file = 200\nnum_logs = 2\nmax_log_file_action = ROTATE\nspace_left = 75\n\
                 space_left_action = IGNORE\nadmin_space_left = 50\nadmin_space_left_action = IGNORE\n\
                 disk_full_action = IGNORE\ndisk_error_action = IGNORE\nname_format = NONE\n",
                log.display()
            ),
        )?;
        control(&["-D"])?;
        control(&["-b", "8192"])?;
        let daemon = Command::new("auditd")
            .args(["-n", "-s", "nochange", "-c"])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("auditd cannot be started; install it with `apt-get install auditd`")?;
        let mut audit = Self { daemon };
        let group = format!("gid={GROUP}");
        control(&["-a", "always,exit", "-F", "arch=b64", "-S", CALLS, "-F", &group, "-k", "bench"])?;
        thread::sleep(Duration::from_millis(500));
        if let Some(status) = audit.daemon.try_wait()? {
            bail!("auditd ended at once: {status}");
        }
        control(&["-e", "1"])?;
        Ok(audit)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // The rule stays: without it every new process of this host would pay until the next boot.
        for words in [&["-e", "0"][..], &["-D"], NEVER] {
            let _ = control(words);
        }
        if let Ok(pid) = i32::try_from(self.daemon.id()) {
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let _ = self.daemon.wait();
    }
}

fn control(words: &[&str]) -> Result<String> {
    let output = Command::new("auditctl")
        .args(words)
        .output()
        .context("auditctl cannot be started; install it with `apt-get install auditd`")?;
    let talk = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`auditctl {}` failed: {}", words.join(" "), talk.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
