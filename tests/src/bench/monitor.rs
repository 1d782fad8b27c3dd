//! The monitor as it is measured: started, ready, what it said at its end, what it uses.

use std::{
    fs::{self, File},
    io::Read,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    ptr::{null, null_mut},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::Setup;

/// How long the monitor may take to be ready.
const READY: Duration = Duration::from_mins(1);

/// `mcp-monitor WORD` with the options that all runs share.
pub(crate) fn command(setup: &Setup, word: &str) -> Command {
    let mut command = Command::new(&setup.monitor);
    command.args([word, "-o", "json", "--tier", &setup.tier]);
    // Its lock lies here, so that a monitor that runs on this host for other reasons is not in the way.
    command.env("RUNTIME_DIRECTORY", setup.scratch().join("run"));
    command.env("STATE_DIRECTORY", setup.scratch().join("store"));
    // However this process ends, the monitor ends with it.
    // SAFETY: one system call, which is safe after fork.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT);
            Ok(())
        });
    }
    command
}

/// `mcp-monitor watch` around what is added, its lines going nowhere.
pub(crate) fn watch(setup: &Setup, relief: bool, output: &Path) -> Command {
    let mut watch = command(setup, "watch");
    watch.args(["--as-root", "--output-file"]).arg(output);
    if !relief {
        watch.arg("--no-relief");
    }
    watch.arg("--");
    watch
}

/// A monitor that watches nothing, until this is dropped.
pub(crate) struct Idle {
    child: Child,
}

impl Idle {
    pub(crate) fn start(setup: &Setup) -> Result<Self> {
        let mut run = command(setup, "run");
        run.args(["--output-file", "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = run.spawn().with_context(|| format!("cannot start {}", setup.monitor.display()))?;
        let mut idle = Self { child };
        let begin = Instant::now();
        while !is_attached(idle.pid()) {
            if let Some(status) = idle.child.try_wait()? {
                bail!("the monitor ended at once: {status}; `mcp-monitor run` says why");
            }
            ensure!(begin.elapsed() < READY, "the monitor did not attach within {READY:?}");
            thread::sleep(Duration::from_millis(20));
        }
        // The last programs, and the trial that they fire.
        thread::sleep(Duration::from_millis(500));
        Ok(idle)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::kill(pid, libc::SIGINT) };
        }
        let _ = self.child.wait();
    }
}

/// Whether this process holds the programs at the core of every tier.
pub(crate) fn is_attached(pid: u32) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
        .any(|text| text.lines().any(|line| line.ends_with("tp_name:\tsched_process_exit")))
}

/// What the monitor says at its end, for people: it goes to a terminal even where its lines go nowhere.
pub(crate) struct Talk {
    terminal: OwnedFd,
    heard: JoinHandle<String>,
}

impl Talk {
    pub(crate) fn new() -> Result<Self> {
        let (mut ours, mut theirs) = (0, 0);
        // SAFETY: two descriptors are written; no name or mode is asked for.
        let failed =
            unsafe { libc::openpty(&raw mut ours, &raw mut theirs, null_mut(), null(), null()) } != 0;
        ensure!(!failed, "cannot make a terminal: {}", std::io::Error::last_os_error());
        // SAFETY: both were just made for us.
        let (mut ours, terminal) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let heard = thread::spawn(move || {
            let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
            // A terminal that nobody holds any more is an error to read.
            while let Ok(bytes @ 1..) = ours.read(&mut piece) {
                heard.extend_from_slice(&piece[..bytes]);
            }
            String::from_utf8_lossy(&heard).replace('\r', "")
        });
        Ok(Self { terminal, heard })
    }

    /// The end of it that the monitor gets as its standard error.
    pub(crate) fn end_of_monitor(&self) -> Result<Stdio> {
        Ok(self.terminal.try_clone()?.into())
    }

    /// The summary, once the monitor has ended.
    pub(crate) fn summary(self) -> Result<Told> {
        let Self { terminal, heard } = self;
        drop(terminal);
        let heard = heard.join().map_err(|_| anyhow::anyhow!("the monitor could not be heard"))?;
        Told::of(&heard).with_context(|| format!("the monitor told no summary: {heard:?}"))
    }
}

/// The numbers of a summary.
pub(crate) struct Told {
    pub(crate) events: u64,
    pub(crate) findings: u64,
    pub(crate) lost: u64,
    /// What was lost and what not seen, as it was told.
    pub(crate) rest: String,
}

impl Told {
    fn of(text: &str) -> Option<Self> {
        let (_, summary) = text.split_once("Summary")?;
        let line = summary.lines().find(|line| line.contains(" · tier "))?;
        let number = |noun: &str| {
            let part = line.split(" · ").find(|part| part.trim_end_matches('s').ends_with(noun))?;
            part.split_whitespace().next()?.replace(',', "").parse().ok()
        };
        let lost = if line.contains("nothing lost") { 0 } else { number("lost")? };
        let rest = summary.split_once("Lost").map_or("", |(_, rest)| rest);
        let rest = rest.lines().take(8).map(str::trim).filter(|line| !line.is_empty());
        Some(Self {
            events: number("event")?,
            findings: number("finding")?,
            lost,
            rest: rest.collect::<Vec<_>>().join("; "),
        })
    }
}

/// Processor time that a process has used, all threads, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the monitor is gone")?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u32>().ok());
    // Fields 14 and 15 of proc(5); the text begins with field 3. Ticks are 10 ms on every x86-64 kernel.
    let ticks = ticks(11).zip(ticks(12)).context("/proc/PID/stat cannot be read")?;
    Ok(f64::from(ticks.0 + ticks.1) / 100.0)
}

/// Resident memory of a process beside what it maps of kernel maps, in KiB.
pub(crate) fn resident_kib(pid: u32) -> Result<u32> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).context("the monitor is gone")?;
    let (mut total, mut is_ring) = (0, false);
    for line in maps.lines() {
        if let Some(rest) = line.strip_prefix("Rss:") {
            let kib: u32 = rest.trim().trim_end_matches(" kB").parse()?;
            total += if is_ring { 0 } else { kib };
        } else if line.split_whitespace().next().is_some_and(|word| word.contains('-')) {
            is_ring = line.contains("bpf-map") || line.contains("bpf_map");
        }
    }
    Ok(total)
}
