//! A process that does work on request, so that it can be started inside a lineage and outside.
//!
//! A request is one line: `chunks NAME COUNT PAUSE_MICROSECONDS` or `paced RATE MILLISECONDS`. The answer is one line
//! of numbers. It ends with its input.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::work::{self, Bench, Work};

/// Is such a process.
pub(crate) fn serve(files: &Path) -> Result<()> {
    let bench = Bench::new(files)?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["chunks", name, count, pause] => {
                let took = bench.chunks(
                    work::named(name)?,
                    count.parse()?,
                    Duration::from_micros(pause.parse()?),
                )?;
                println!("{}", took.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
            }
            ["paced", rate, milliseconds] => {
                println!("{}", bench.paced(rate.parse()?, Duration::from_millis(milliseconds.parse()?))?);
            }
            _ => bail!("no request: {line:?}"),
        }
    }
    Ok(())
}

/// The other end: such a process, perhaps with a monitor around it.
pub(crate) struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// The words that start one.
    pub(crate) fn words(scratch: &Path) -> Result<[std::ffi::OsString; 3]> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        Ok([program.into(), "work".into(), work::files(scratch).into()])
    }

    /// Starts `command`, which is or becomes one.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a worker has no pipes");
        };
        let mut worker = Self { child, requests: Some(requests), answers: BufReader::new(answers) };
        let word = worker.answer()?;
        ensure!(word == "ready", "a worker did not start: {word:?}");
        Ok(worker)
    }

    /// Starts one outside of every lineage.
    pub(crate) fn plain(scratch: &Path) -> Result<Self> {
        let [program, words @ ..] = Self::words(scratch)?;
        Self::start(Command::new(program).args(words))
    }

    /// The process that was started: the monitor when there is one around it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn chunks(&mut self, work: Work, count: u32, pause: Duration) -> Result<Vec<f64>> {
        self.ask(&format!("chunks {} {count} {}", work.name, pause.as_micros()))?;
        let answer = self.answer()?;
        answer.split_whitespace().map(|number| Ok(number.parse()?)).collect()
    }

    /// Begins a paced run.
    pub(crate) fn begin_paced(&mut self, rate: u32, duration: Duration) -> Result<()> {
        self.ask(&format!("paced {rate} {}", duration.as_millis()))
    }

    /// Waits for its end; how many files were opened.
    pub(crate) fn end_paced(&mut self) -> Result<u64> {
        Ok(self.answer()?.parse()?)
    }

    /// Lets it end, and the monitor around it.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.requests.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "a worker ended with {status}");
        Ok(())
    }

    fn ask(&mut self, line: &str) -> Result<()> {
        let requests = self.requests.as_mut().context("the worker has ended")?;
        writeln!(requests, "{line}").context("the worker does not listen")
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "a worker ended without an answer");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.requests.take());
        // After an error only; after `end` there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
