//! How much the monitor takes in without loss, what it uses for that, and how soon a line follows its event.

use std::{
    ffi::CString,
    fs::File,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    Setup,
    monitor::{self, Talk, Told},
    worker::Worker,
};

/// What came of a paced run.
pub(crate) struct Rate {
    pub(crate) asked: u32,
    pub(crate) seconds: f64,
    pub(crate) opened: u64,
    pub(crate) told: Told,
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_kib: u32,
}

/// Opens of distinct paths at a steady pace, every one sent, judged and written to /dev/null.
pub(crate) fn sustained(setup: &Setup, rate: u32, duration: Duration) -> Result<Rate> {
    let talk = Talk::new()?;
    let mut watch = monitor::watch(setup, false, Path::new("/dev/null"));
    watch.args(Worker::words(setup.scratch())?).stderr(talk.end_of_monitor()?);
    let mut worker = Worker::start(&mut watch)?;
    drop(watch);
    let pid = worker.pid();
    let before = monitor::cpu_seconds(pid)?;
    let begin = Instant::now();
    worker.begin_paced(rate, duration)?;
    let mut resident_kib = 0;
    while begin.elapsed() < duration {
        resident_kib = resident_kib.max(monitor::resident_kib(pid)?);
        thread::sleep(Duration::from_secs(1));
    }
    let opened = worker.end_paced()?;
    let seconds = duration.as_secs_f64();
    // What waits in the ring belongs to it.
    thread::sleep(Duration::from_millis(300));
    let cpu_seconds = monitor::cpu_seconds(pid)? - before;
    worker.end()?;
    Ok(Rate { asked: rate, seconds, opened, told: talk.summary()?, cpu_seconds, resident_kib })
}

/// From the event to its line at the other end of a pipe, in ms: median, 99th percentile, most.
pub(crate) struct Latency {
    pub(crate) rate: u32,
    pub(crate) lines: usize,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) most: f64,
}

/// Measures it at a steady pace of opens.
pub(crate) fn latency(setup: &Setup, rate: u32, duration: Duration) -> Result<Latency> {
    let pipe = setup.scratch().join("lines");
    let name = CString::new(pipe.as_os_str().as_bytes())?;
    // SAFETY: the name ends with a null.
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    ensure!(made == 0, "cannot make a pipe at {}: {}", pipe.display(), std::io::Error::last_os_error());
    let opened = pipe.clone();
    let reader = thread::spawn(move || read(&opened));
    let mut watch = monitor::watch(setup, false, &pipe);
    watch.args(Worker::words(setup.scratch())?);
    let mut worker = Worker::start(&mut watch)?;
    worker.begin_paced(rate, duration)?;
    worker.end_paced()?;
    worker.end()?;
    let late = reader.join().map_err(|_| anyhow::anyhow!("the lines could not be read"))?;
    std::fs::remove_file(&pipe)?;
    let mut late = late?;
    ensure!(!late.is_empty(), "no line of an open came");
    late.sort_by(f64::total_cmp);
    let at = |percent: usize| late[(late.len() - 1) * percent / 100];
    Ok(Latency { rate, lines: late.len(), median: at(50), p99: at(99), most: at(100) })
}

/// Reads lines to the end; how late each open of our documents was.
fn read(pipe: &Path) -> Result<Vec<f64>> {
    let mut pipe = File::open(pipe).context("the pipe cannot be read")?;
    let (mut late, mut waiting, mut piece) = (Vec::new(), Vec::new(), vec![0; 1 << 16]);
    loop {
        let bytes = pipe.read(&mut piece)?;
        if bytes == 0 {
            return Ok(late);
        }
        let now = now();
        waiting.extend_from_slice(&piece[..bytes]);
        let whole = waiting.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in waiting[..whole].split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            if line.contains("\"kind\":\"open\"")
                && line.contains("document-")
                && let Some((_, rest)) = line.split_once("\"boot_ns\":")
                && let Some(Ok(then)) = rest.split(',').next().map(str::parse::<u64>)
            {
                late.push(Duration::from_nanos(now.saturating_sub(then)).as_secs_f64() * 1e3);
            }
        }
        waiting.drain(..whole);
    }
}

/// `CLOCK_BOOTTIME` in nanoseconds.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is ours to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
