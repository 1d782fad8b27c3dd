//! The whole measurement as a page of Markdown.

use std::{
    fmt::{Display, Write},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::Result;

use crate::{
    Setup,
    build::{self, Builds},
    cost::{self, Costs},
    rate::{self, Latency, Rate},
    subject::{self, Subject},
    work,
};

/// What is measured, and what the page says of it.
pub(crate) struct Plan<'a> {
    pub(crate) quick: bool,
    pub(crate) only: &'a str,
    pub(crate) checkout: &'a Path,
    pub(crate) commit: String,
    pub(crate) remark: String,
}

// The targets, in `tracepoint`.
const UNTRACKED_TIMES_EMPTY: f64 = 1.4;
const UNRELATED_NS: f64 = 140.0;
const TRACKED_OPEN_NS: f64 = 1500.0;
const RATE: u32 = 100_000;
const RESIDENT_MIB: f64 = 60.0;
const LINE_MS: f64 = 50.0;

/// Measures everything; the page.
pub(crate) fn measure(setup: &Setup, plan: &Plan) -> Result<String> {
    let wanted = |name: &str| name.contains(plan.only);
    work::furnish(setup.scratch(), work::FOLDERS)?;
    let (rounds, chunks, seconds, builds) = if plan.quick { (3, 60, 10, 1) } else { (9, 120, 60, 3) };
    let mut page = heading(setup, plan)?;
    let mut targets = Targets::default();
    if wanted("cost") {
        let costs = cost::measure(setup, subject::ALL, rounds, chunks)?;
        costs_table(&mut page, &costs, rounds, chunks)?;
        cost_targets(&mut targets, &costs);
    }
    if wanted("rate") {
        let steady = [
            rate::sustained(setup, 1000, Duration::from_secs(seconds / 3))?,
            rate::sustained(setup, 10_000, Duration::from_secs(seconds / 3))?,
            rate::sustained(setup, RATE, Duration::from_secs(seconds))?,
        ];
        rates_table(&mut page, &steady)?;
        rate_targets(&mut targets, &steady);
    }
    if wanted("latency") {
        let late = [
            rate::latency(setup, 100, Duration::from_secs(seconds / 3))?,
            rate::latency(setup, 1000, Duration::from_secs(seconds / 3))?,
            rate::latency(setup, 20_000, Duration::from_secs(seconds / 3))?,
        ];
        latency_table(&mut page, &late)?;
        let worst = late.iter().map(|late| late.p99).fold(0.0, f64::max);
        targets.at_most("99 of 100 lines are out after (ms)", worst, LINE_MS);
    }
    if wanted("build") {
        builds_table(&mut page, &build::measure(setup, plan.checkout, builds)?)?;
    }
    targets.write(&mut page)?;
    Ok(page)
}

fn heading(setup: &Setup, plan: &Plan) -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let value = |name: &str| {
        let line = processors.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(": ")?.1.to_owned())
    };
    let model = value("model name").unwrap_or_else(|| "unknown".to_owned());
    let virtualised = value("flags").is_some_and(|flags| flags.contains(" hypervisor"));
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let mut page = String::new();
    writeln!(page, "# What it costs\n")?;
    writeln!(page, "Made by `cargo xtask bench{}`.\n", if plan.quick { " --quick" } else { "" })?;
    writeln!(page, "| | |\n|---|---|")?;
    writeln!(page, "| tier | {} |", setup.tier)?;
    writeln!(page, "| kernel | {} |", read("/proc/sys/kernel/osrelease").trim())?;
    let machine = if virtualised { "virtual machine" } else { "hardware" };
    writeln!(page, "| machine | {model}, {count} processors, {machine} |")?;
    writeln!(page, "| of | {} |", plan.commit)?;
    if !plan.remark.is_empty() {
        writeln!(page, "| circumstances | {} |", plan.remark)?;
    }
    Ok(page)
}

fn costs_table(page: &mut String, costs: &Costs, rounds: u32, chunks: u32) -> Result<()> {
    writeln!(page, "\n## Nanoseconds added, against no monitor\n")?;
    writeln!(
        page,
        "Everything alternates in {rounds} rounds. Of the {chunks} chunks of a round the lower quartile counts; stated is \
         the median over the rounds of the difference to the same round without a monitor. In brackets: times what the \
         empty program on the same hook (raw tracepoint `sys_exit`) adds.\n"
    )?;
    let columns: Vec<Subject> = (0..)
        .zip(subject::ALL)
        .skip(1)
        .filter(|(at, _)| !costs.refused.contains_key(at))
        .map(|(_, one)| *one)
        .collect();
    write!(page, "| work | takes |")?;
    for subject in &columns {
        write!(page, " {} |", subject.title())?;
    }
    writeln!(page, "\n|---|{}", "---:|".repeat(columns.len() + 1))?;
    for work in work::ALL {
        write!(page, "| {} | {} |", work.title, shown(costs.base(work.name)))?;
        let empty = costs.added(Subject::Empty, work.name);
        for subject in &columns {
            let added = costs.added(*subject, work.name);
            let times = added.zip(empty).filter(|(_, empty)| *subject != Subject::Empty && *empty > 1.0);
            let times = times.map_or_else(String::new, |(added, empty)| format!(" ({:.2}×)", added / empty));
            write!(page, " {}{times} |", signed(added))?;
        }
        writeln!(page)?;
    }
    writeln!(
        page,
        "\n`untracked` is `mcp-monitor run` beside the work, `tracked` is the work under `mcp-monitor watch`, its lines \
         going to /dev/null. auditd {} writes its log; its rules name the same system calls and match a group that the \
         work is in, or not. bpftrace is on the same place with a filter by process, and prints names where it matches.",
        version("auditctl", "-v")
    )?;
    for (at, why) in &costs.refused {
        writeln!(page, "\n{}: not run: {why}", subject::ALL[*at].title())?;
    }
    for (at, lost) in costs.lost.iter().filter(|(_, lost)| **lost > 0) {
        writeln!(page, "\n{}: {} records were lost meanwhile.", subject::ALL[*at].title(), grouped(*lost))?;
    }
    if costs.disturbed > 0 {
        let count = costs.disturbed;
        writeln!(
            page,
            "\nIn {count} measurements another process of this host had programs on the same hook."
        )?;
    }
    Ok(())
}

fn rates_table(page: &mut String, rates: &[Rate]) -> Result<()> {
    writeln!(page, "\n## Sustained rate\n")?;
    writeln!(
        page,
        "Paced opens of 100,000 distinct files in turn, relief off: every one is sent, attributed, judged, and written as \
         JSON to /dev/null. Processor time is the monitor's own, user and kernel.\n"
    )?;
    writeln!(
        page,
        "| asked | for | opened/s | events | lost | processor | of it per 1,000 events/s | resident beside the ring |"
    )?;
    writeln!(page, "|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for rate in rates {
        let (opened, percent) = (number(rate.opened) / rate.seconds, rate.cpu_seconds / rate.seconds * 100.0);
        writeln!(
            page,
            "| {}/s | {:.0} s | {opened:.0} | {} | {} | {percent:.1} % | {:.2} % | {:.1} MiB |",
            grouped(rate.asked.into()),
            rate.seconds,
            grouped(rate.told.events),
            grouped(rate.told.lost),
            percent / (number(rate.told.events) / rate.seconds / 1000.0),
            f64::from(rate.resident_kib) / 1024.0,
        )?;
        if rate.told.lost > 0 {
            eprintln!("lost: {}", rate.told.rest);
        }
    }
    for rate in rates.iter().filter(|rate| rate.told.findings > 0) {
        writeln!(page, "\n{} findings in ordinary opens: that is wrong.", rate.told.findings)?;
    }
    Ok(())
}

fn latency_table(page: &mut String, late: &[Latency]) -> Result<()> {
    writeln!(page, "\n## From the event to its line\n")?;
    writeln!(
        page,
        "From the event's `boot_ns` to the moment when a reader got its line through a pipe. Opens are read every 10 ms \
         at the latest; what may be a finding wakes the monitor at once.\n"
    )?;
    writeln!(page, "| pace | lines | median | 99 of 100 | longest |\n|---:|---:|---:|---:|---:|")?;
    for late in late {
        let (rate, lines) = (grouped(late.rate.into()), grouped(late.lines as u64));
        writeln!(
            page,
            "| {rate}/s | {lines} | {:.1} ms | {:.1} ms | {:.1} ms |",
            late.median, late.p99, late.most
        )?;
    }
    Ok(())
}

fn builds_table(page: &mut String, builds: &Builds) -> Result<()> {
    writeln!(page, "\n## A real build\n")?;
    let (package, rounds) = (build::PACKAGE, builds.rounds);
    writeln!(
        page,
        "`cargo build --package {package}` into an empty folder; medians of {rounds} alternating rounds.\n"
    )?;
    writeln!(page, "| | seconds | against no monitor |\n|---|---:|---:|")?;
    let rows = [("no monitor", builds.alone), ("untracked", builds.untracked), ("tracked", builds.tracked)];
    for (title, seconds) in rows {
        writeln!(page, "| {title} | {seconds:.2} | {:+.1} % |", (seconds / builds.alone - 1.0) * 100.0)?;
    }
    writeln!(
        page,
        "\nThe tracked one made {} events; {} were lost.",
        grouped(builds.events),
        grouped(builds.lost)
    )?;
    Ok(())
}

fn cost_targets(targets: &mut Targets, costs: &Costs) {
    if let (Some(with), Some(empty)) =
        (costs.added(Subject::Untracked, "open"), costs.added(Subject::Empty, "open"))
    {
        targets.at_most(
            "untracked open + close, times the empty program",
            with / empty,
            UNTRACKED_TIMES_EMPTY,
        );
    }
    if let Some(with) = costs.added(Subject::Untracked, "getppid") {
        targets.at_most("an unrelated system call, untracked (ns)", with, UNRELATED_NS);
    }
    if let Some(with) = costs.added(Subject::Tracked, "open") {
        targets.at_most("tracked open + close, relief off (ns)", with, TRACKED_OPEN_NS);
    }
}

fn rate_targets(targets: &mut Targets, rates: &[Rate]) {
    for rate in rates.iter().filter(|rate| rate.asked == RATE) {
        let reached = number(rate.opened) / rate.seconds / f64::from(RATE);
        targets.at_least("opens a second that were really made, of 100,000 (%)", reached * 100.0, 99.0);
        targets.at_most("lost at 100,000 opens/s", number(rate.told.lost), 0.0);
    }
    let most = rates.iter().map(|rate| f64::from(rate.resident_kib) / 1024.0).fold(0.0, f64::max);
    targets.at_most("resident beside the ring (MiB)", most, RESIDENT_MIB);
}

/// What was to be reached, and what was.
#[derive(Default)]
struct Targets {
    rows: Vec<(String, f64, String, Option<f64>)>,
}

impl Targets {
    fn at_most(&mut self, what: &str, measured: f64, bound: f64) {
        self.add(what, measured, format!("≤ {bound}"), (measured > bound).then_some(measured - bound));
    }

    fn at_least(&mut self, what: &str, measured: f64, bound: f64) {
        self.add(what, measured, format!("≥ {bound}"), (measured < bound).then_some(bound - measured));
    }

    fn add(&mut self, what: &str, measured: f64, bound: String, missed_by: Option<f64>) {
        self.rows.push((what.to_owned(), measured, bound, missed_by));
    }

    fn write(&self, page: &mut String) -> Result<()> {
        writeln!(page, "\n## Targets\n\n| | measured | target | |\n|---|---:|---:|---|")?;
        for (what, measured, bound, missed) in &self.rows {
            let verdict = missed.map_or_else(|| "hit".to_owned(), |by| format!("**missed** by {by:.2}"));
            writeln!(page, "| {what} | {measured:.2} | {bound} | {verdict} |")?;
        }
        Ok(())
    }
}

fn version(program: &str, option: &str) -> String {
    let output = std::process::Command::new(program).arg(option).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().last().unwrap_or_default().to_owned()
}

fn shown(value: Option<f64>) -> impl Display {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"))
}

fn signed(value: Option<f64>) -> impl Display {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:+.0}"))
}

/// A count as a number to calculate with.
#[allow(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
