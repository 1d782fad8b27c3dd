//! A day of several real agents on one host, under one `mcp-monitor run`: first ordinary work, then bad acts in between.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{
    agents::{AGENTS, Agent, Model},
    home::furnish,
    said::{Said, acts, is_quiet, judge_bad},
    services::Services,
};

/// How long the monitor may take to begin.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long one agent's day may take.
const DAY_MAX: Duration = Duration::from_mins(30);
/// How long the monitor takes to look at settings that were written, and to tell.
const SETTLING: Duration = Duration::from_secs(6);
/// Rounds of edit, test and commit of each agent: with the rest more than a hundred tool calls.
const ROUNDS: &str = "18";
/// Tool calls of all agents together.
const CALLS_MIN: usize = 300;

/// What one agent's day came to.
struct Day {
    agent: &'static Agent,
    home: PathBuf,
    calls: usize,
    /// Findings of the ordinary work.
    severities: [usize; 3],
}

/// The monitor on the whole host.
struct Monitor {
    child: Child,
    program: PathBuf,
    run: PathBuf,
    output: PathBuf,
}

/// Runs the day. `clients` is where the agents were fetched to, `scripts` where the work stands. `None` when none of the
/// agents is here.
pub fn agents_day(
    monitor: &Path,
    tier: Option<&str>,
    clients: &Path,
    scripts: &Path,
) -> Result<Option<bool>> {
    let mut here = Vec::new();
    for agent in AGENTS {
        match agent.find(clients) {
            Some(program) => here.push((agent, program)),
            None => println!("not run with {}: run the part clients first", agent.id),
        }
    }
    if here.is_empty() {
        return Ok(None);
    }
    // In /home, where every folder is a person's home.
    let place = PathBuf::from(format!("/home/mcp-monitor-day-{}", std::process::id()));
    let homes: Vec<PathBuf> =
        here.iter().map(|(agent, _)| PathBuf::from(format!("{}-{}", place.display(), agent.id))).collect();
    for home in &homes {
        furnish(home)?;
    }
    let result = spend(monitor, tier, &place, scripts, &here, &homes);
    let good = result.as_ref().is_ok_and(|good| *good);
    for folder in homes.iter().chain([&place]) {
        if good {
            fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
        } else {
            println!("what was left is kept in {}", folder.display());
        }
    }
    result.map(Some)
}

fn spend(
    monitor: &Path,
    tier: Option<&str>,
    place: &Path,
    scripts: &Path,
    here: &[(&'static Agent, PathBuf)],
    homes: &[PathBuf],
) -> Result<bool> {
    fs::create_dir_all(place)?;
    let services = Services::start(place, homes);
    let monitor = Monitor::start(monitor, tier, place)?;
    let begin = Instant::now();
    let days: Vec<Result<Day>> = thread::scope(|scope| {
        let starts: Vec<_> = here
            .iter()
            .zip(homes)
            .map(|((agent, program), home)| {
                let (monitor, services) = (&monitor, &services);
                scope.spawn(move || one_day(monitor, services, agent, program, home, scripts))
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a day panicked"))))
            .collect()
    });
    let days = days.into_iter().collect::<Result<Vec<_>>>()?;
    thread::sleep(SETTLING);
    let mut found = true;
    for day in &days {
        let said = monitor.said_of(&day.home)?;
        found &= judge_bad(&said, &acts(&day.home.join("acts"))?, Some(day.agent.id));
    }
    monitor.end()?;
    let calls: usize = days.iter().map(|day| day.calls).sum();
    let mut all = [0; 3];
    for day in &days {
        for (sum, one) in all.iter_mut().zip(day.severities) {
            *sum += one;
        }
    }
    let quiet = is_quiet(all);
    let enough = calls >= CALLS_MIN || here.len() < AGENTS.len();
    let [high, medium, low] = all;
    println!(
        "{}: {calls} tool calls of {} agents in {:.0} s; {high} high, {medium} medium, {low} low findings (0 high and at \
         most 3 medium allowed)",
        if quiet { "QUIET" } else { "NOT QUIET" },
        days.len(),
        begin.elapsed().as_secs_f64(),
    );
    if !enough {
        println!("TOO LITTLE: {calls} tool calls, and {CALLS_MIN} are asked for");
    }
    Ok(quiet && found && enough)
}

/// One agent's day: its work, a look at what was found, then the bad acts and a little more work.
fn one_day(
    monitor: &Monitor,
    services: &Services,
    agent: &'static Agent,
    program: &Path,
    home: &Path,
    scripts: &Path,
) -> Result<Day> {
    let work =
        Command::new("python3").arg(scripts.join("work.py")).arg(ROUNDS).output().context("run work.py")?;
    ensure!(work.status.success(), "work.py: {}", String::from_utf8_lossy(&work.stderr));
    let mut commands: Vec<String> =
        String::from_utf8(work.stdout).context("work.py prints text")?.lines().map(str::to_owned).collect();
    let calls = commands.len();
    commands.push("touch \"$DAY/quiet\"".into());
    let after = [
        format!("cp /bin/true tool; . {}", scripts.join("bad.sh").display()),
        "git status --short | head -3".to_owned(),
        "touch \"$DAY/done\"".to_owned(),
    ];
    commands.extend(after);
    // Whatever an agent takes for its folder, nothing is done elsewhere.
    let mut commands: Vec<String> =
        commands.iter().map(|command| format!("cd \"$DAY/project\" && {{ {command}; }}")).collect();
    // The model asks for nothing more until this is there; some agents do not wait for a command's end.
    commands.insert(calls + 1, format!("@wait {}", home.join("go").display()));
    let model = Model::start(scripts, &home.join("model"), &commands)?;
    let mut command = agent.command(program, home, model.port)?;
    let real_home = std::env::var("HOME").unwrap_or_default();
    let log = fs::File::create(home.join("agent.log"))?;
    command
        .env("HOME", home)
        .env("DAY", home)
        .env("DAY_LOG", home.join("log"))
        .env("DAY_ACTS", home.join("acts"))
        .env("RUSTUP_HOME", format!("{real_home}/.rustup"))
        // Not the person's: other builds would hold its lock.
        .env("CARGO_HOME", home.join(".cargo"))
        .env_remove("SSH_AUTH_SOCK")
        .envs(services.variables())
        .stdout(log.try_clone()?)
        .stderr(log);
    let begin = Instant::now();
    let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
    let mut wait = |file: &str| -> Result<()> {
        loop {
            if home.join(file).exists() {
                return Ok(());
            }
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{} ended with {status} before {file}; see {}",
                    agent.id,
                    home.join("agent.log").display()
                );
            }
            if begin.elapsed() > DAY_MAX {
                let _ = child.kill();
                bail!("{} takes too long", agent.id);
            }
            thread::sleep(Duration::from_millis(200));
        }
    };
    wait("quiet")?;
    thread::sleep(SETTLING);
    let said = monitor.said_of(home)?;
    let severities = said.severities();
    let [high, medium, low] = severities;
    println!(
        "{}: {calls} tool calls in {:.0} s, {} events; {high} high, {medium} medium, {low} low findings",
        agent.id,
        begin.elapsed().as_secs_f64(),
        said.events.len()
    );
    said.print();
    ensure!(!said.events.is_empty(), "{} left no event at all", agent.id);
    fs::write(home.join("go"), "")?;
    wait("done")?;
    let status = child.wait()?;
    ensure!(status.success(), "{} ended with {status}; see {}", agent.id, home.join("agent.log").display());
    Ok(Day { agent, home: home.to_owned(), calls, severities })
}

impl Monitor {
    fn start(program: &Path, tier: Option<&str>, place: &Path) -> Result<Self> {
        // Relative to where this was started.
        let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
        let (run, output) = (place.join("run"), place.join("events.jsonl"));
        fs::create_dir_all(&run)?;
        let mut command = Command::new(&program);
        command.args(["run", "-o", "json", "--output-file"]).arg(&output);
        if let Some(tier) = tier {
            command.args(["--tier", tier]);
        }
        let talk = fs::File::create(place.join("monitor.talk"))?;
        let child = command
            .env("RUNTIME_DIRECTORY", &run)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(talk)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut monitor = Self { child, program, run, output };
        let begin = Instant::now();
        while monitor.instances().is_err() {
            let said = || fs::read_to_string(place.join("monitor.talk")).unwrap_or_default();
            if let Some(status) = monitor.child.try_wait()? {
                bail!("the monitor ended with {status}: {}", said());
            }
            ensure!(begin.elapsed() < PATIENCE, "the monitor does not get ready: {}", said());
            thread::sleep(Duration::from_millis(200));
        }
        Ok(monitor)
    }

    /// Every instance that the monitor knows.
    fn instances(&self) -> Result<Vec<Value>> {
        let mut ask = Command::new(&self.program);
        ask.args(["workloads", "--inventory"]).env("RUNTIME_DIRECTORY", &self.run);
        let answer = ask.output().context("ask for workloads")?;
        ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        let all: Value = serde_json::from_slice(&answer.stdout)?;
        all["instances"].as_array().cloned().context("no instances in the answer")
    }

    /// What was said of everything that works in `home`: others may run agents on this host, too.
    fn said_of(&self, home: &Path) -> Result<Said> {
        let home = home.display().to_string();
        let ours: BTreeSet<String> = self
            .instances()?
            .iter()
            .filter(|one| one["working_directory"].as_str().is_some_and(|place| place.starts_with(&home)))
            .filter_map(|one| Some(one["instance"].as_str()?.to_owned()))
            .collect();
        Said::read(&self.output, |record| {
            record["workload"]["instance"].as_str().is_some_and(|instance| ours.contains(instance))
        })
    }

    fn end(mut self) -> Result<()> {
        // SAFETY: our own child, not waited for yet.
        unsafe { libc::kill(i32::try_from(self.child.id())?, libc::SIGTERM) };
        let status = self.child.wait()?;
        ensure!(status.success(), "the monitor ended with {status}");
        Ok(())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
