//! A day of an agent's ordinary work under `mcp-monitor watch --as agent`, and the same day with bad acts in between. The
//! first must be quiet: nothing high, at most three medium. In the second every act must be found, on the process that
//! did it. Both numbers are printed.
//!
//! With `--clients FOLDER` the real Claude Code, Codex and opencode do more than three hundred tool calls of work under one
//! `mcp-monitor run`, and then the bad acts: a model on loopback (`model.py`) answers with one tool call after another.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use mcp_monitor_tests::day::{Said, acts, agents_day, furnish, judge_bad, judge_quiet};
use serde_json::Value;

#[derive(Parser)]
#[command(about = "Runs a day of an agent's ordinary work under the monitor, and bad acts in between")]
struct Arguments {
    /// The monitor's program
    #[arg(long, default_value = "mcp-monitor")]
    monitor: PathBuf,
    /// The tier to force
    #[arg(long)]
    tier: Option<String>,
    /// The folder with day.sh and bad.sh; by default the checkout's
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/coding-day"))]
    scripts: PathBuf,
    /// Where npm put the agents: they do the work of work.py then, told what to do by a model on loopback
    #[arg(long)]
    clients: Option<PathBuf>,
    /// Only the real agents
    #[arg(long)]
    only_agents: bool,
    /// Taken like the other test programs do, and not used
    #[arg(long, hide = true)]
    attack: Option<PathBuf>,
    /// Where home and workspace are put; removed at the end unless something failed
    #[arg(long, default_value = "/var/lib/mcp-monitor-coding-day")]
    scratch: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("coding-day: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let agents = match &arguments.clients {
        Some(clients) => {
            agents_day(&arguments.monitor, arguments.tier.as_deref(), clients, &arguments.scripts)?
                .unwrap_or(true)
        }
        None => true,
    };
    if arguments.only_agents {
        return Ok(agents);
    }
    let quiet = day(arguments, "quiet", &["day.sh"])?;
    let is_quiet = judge_quiet(&quiet);
    let bad = day(arguments, "bad", &["day.sh", "bad.sh"])?;
    let acts = acts(&arguments.scratch.join("bad/acts"))?;
    let all_found = judge_bad(&bad, &acts, None);
    if agents && is_quiet && all_found {
        fs::remove_dir_all(&arguments.scratch).context("remove the scratch folder")?;
    } else {
        println!("what the monitor said is kept in {}", arguments.scratch.display());
    }
    Ok(agents && is_quiet && all_found)
}

/// Runs scripts one after the other as an agent in a home and workspace of their own.
fn day(arguments: &Arguments, name: &str, scripts: &[&str]) -> Result<Said> {
    let script: Vec<String> =
        scripts.iter().map(|script| format!(". {}", arguments.scripts.join(script).display())).collect();
    let script = script.join("; cd \"$DAY\"; mkdir -p project; cp /bin/true project/tool 2>/dev/null; ");
    watched(arguments, name, &script)
}

/// Runs a script as an agent in a home and workspace of its own.
fn watched(arguments: &Arguments, name: &str, script: &str) -> Result<Said> {
    let place = arguments.scratch.join(name);
    if place.exists() {
        fs::remove_dir_all(&place).context("remove what an earlier run left")?;
    }
    let home = place.join("home");
    furnish(&home)?;
    fs::create_dir_all(place.join("run"))?;
    let output = place.join("events.jsonl");
    // Relative to where this was started, not to the workspace.
    let program = arguments.monitor.canonicalize().unwrap_or_else(|_| arguments.monitor.clone());
    let mut monitor = Command::new(program);
    monitor.args(["watch", "--as", "agent", "--as-root", "-o", "json", "--output-file"]).arg(&output);
    if let Some(tier) = &arguments.tier {
        monitor.args(["--tier", tier]);
    }
    monitor.args(["--", "bash", "-c", script]);
    let real_home = std::env::var("HOME").unwrap_or_default();
    monitor
        .current_dir(&place)
        .env("HOME", &home)
        .env("DAY", &place)
        .env("DAY_LOG", place.join("log"))
        .env("DAY_ACTS", place.join("acts"))
        .env("RUSTUP_HOME", format!("{real_home}/.rustup"))
        .env("CARGO_HOME", format!("{real_home}/.cargo"))
        .env("RUNTIME_DIRECTORY", place.join("run"))
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null());
    let begin = Instant::now();
    let ended = monitor.output().with_context(|| format!("run {}", arguments.monitor.display()))?;
    let steps = String::from_utf8_lossy(&ended.stdout).into_owned();
    let text = fs::read_to_string(&output).with_context(|| {
        format!("read {}; the monitor said: {}", output.display(), String::from_utf8_lossy(&ended.stderr))
    })?;
    let records: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |schema: &str| {
        let schema = format!("mcp-monitor/{schema}/v1");
        records.iter().filter(|record| record["schema"] == schema.as_str()).cloned().collect::<Vec<_>>()
    };
    let summary = of("summary");
    if summary.is_empty() {
        bail!("the monitor wrote no summary: {}", String::from_utf8_lossy(&ended.stderr));
    }
    println!("== {name}: {:.0} s", begin.elapsed().as_secs_f64());
    for step in steps.lines() {
        println!("   {step}");
    }
    let (findings, events) = (of("finding"), of("event"));
    println!(
        "   {} events, lost: {}",
        events.len(),
        summary.first().map_or(&Value::Null, |one| &one["losses"])
    );
    Ok(Said { findings, events, steps })
}
