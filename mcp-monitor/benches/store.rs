//! What the store can take and how fast it answers: a paced stream with questions beside it, then a large store that is
//! asked. Prints a section of Markdown. `cargo xtask bench --only store` runs it.

mod source;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mcp_monitor::{
    event::Verdict,
    render::Origin,
    store::{CountBy, Filter, FindingFilter, Query, Reader, Settings, Store, verify},
};
use mcp_monitor_common::mechanism::Tier;
use source::{Source, costs, give, path};

#[derive(Parser)]
#[command(about = "Measures the store")]
struct Arguments {
    /// Events a second of the paced part
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Seconds of the paced part
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Rows of the store that is asked
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Where the stores are made; removed at the end
    #[arg(long, default_value = "/var/tmp")]
    scratch: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = arguments.scratch.join(format!("mcp-monitor-store-bench.{}", std::process::id()));
    let result =
        paced(&arguments, &scratch.join("paced")).and_then(|()| asked(&arguments, &scratch.join("asked")));
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    result
}

fn open(directory: &Path) -> Result<(Store, Settings)> {
    let settings = Settings { bytes: 1 << 40, ..Settings::new(directory) };
    let store = Store::open(&settings, &Origin::of_this_host(Tier::Tracepoint))?;
    Ok((store, settings))
}

/// A paced stream, with questions beside it.
fn paced(arguments: &Arguments, directory: &Path) -> Result<()> {
    let (store, _) = open(directory)?;
    let writer = store.writer();
    let ended = Arc::new(AtomicBool::new(false));
    let asking = {
        let (directory, ended) = (directory.to_owned(), Arc::clone(&ended));
        std::thread::spawn(move || -> Result<Duration> {
            let mut slowest = Duration::ZERO;
            std::thread::sleep(Duration::from_secs(2));
            while !ended.load(Ordering::Relaxed) {
                let mut reader = Reader::open(&directory)?;
                for (_, taken) in questions(&mut reader)? {
                    slowest = slowest.max(taken);
                }
                std::thread::sleep(Duration::from_secs(5));
            }
            Ok(slowest)
        })
    };
    let (_, before) = costs()?;
    let mut source = Source::new();
    let started = Instant::now();
    let step = arguments.rate / 100;
    for turn in 0..arguments.seconds * 100 {
        for _ in 0..step {
            give(&writer, &mut source);
        }
        let due = Duration::from_millis(10 * (turn + 1));
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    let given = source.number;
    let taken = started.elapsed();
    let (resident, after) = costs()?;
    ended.store(true, Ordering::Relaxed);
    let slowest = asking.join().map_err(|_| anyhow::anyhow!("the thread that asks panicked"))??;
    writer.flush()?;
    let status = writer.status();
    let losses = writer.take_losses();
    drop(store);
    let seconds = taken.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let (rate, per_row, cpu) = (
        given as f64 / seconds,
        status.bytes as f64 / status.written.max(1) as f64,
        after.saturating_sub(before).as_secs_f64() / seconds * 100.0,
    );
    println!("### Sustained\n");
    println!(
        "| given | for | rows | lost | processor, with making the events and asking | most memory | on the disk, per row | slowest answer |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    println!(
        "| {rate:.0}/s | {seconds:.0} s | {} | {} | {cpu:.0} % | {} MiB | {per_row:.0} B | {} ms |\n",
        status.written,
        losses.queue + losses.unwritten + losses.findings,
        resident >> 20,
        slowest.as_millis()
    );
    let verified = Instant::now();
    let result = verify::store(directory, None, None)?;
    ensure!(result.is_good(), "the store is not good: {result}");
    println!("Verified: {} events in {:.1} s.\n", result.rows, verified.elapsed().as_secs_f64());
    Ok(())
}

/// A large store that is asked.
fn asked(arguments: &Arguments, directory: &Path) -> Result<()> {
    let (store, _) = open(directory)?;
    let writer = store.writer();
    let mut source = Source::new();
    let started = Instant::now();
    while source.number < arguments.rows {
        for _ in 0..1000 {
            give(&writer, &mut source);
        }
        while writer.status().queue_events > 16_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    writer.flush()?;
    let filled = started.elapsed();
    let status = writer.status();
    drop(store);
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let rate = status.written as f64 / filled.as_secs_f64();
    println!("### Asked\n");
    println!(
        "{} rows in {:.0} s ({rate:.0}/s), {} MiB on the disk. Each question by a reader that was just opened.\n",
        status.written,
        filled.as_secs_f64(),
        status.bytes >> 20
    );
    println!("| question | ms |\n|---|---:|");
    let mut reader = Reader::open(directory)?;
    for (question, taken) in questions(&mut reader)? {
        println!("| {question} | {} |", taken.as_millis());
    }
    println!();
    Ok(())
}

fn questions(reader: &mut Reader) -> Result<Vec<(&'static str, Duration)>> {
    let none = Filter::default;
    let texts = |text: &str| vec![text.to_owned()];
    let mut answers = Vec::new();
    let mut ask =
        |question: &'static str, answer: &mut dyn FnMut(&mut Reader) -> Result<usize>| -> Result<()> {
            let started = Instant::now();
            answer(reader)?;
            answers.push((question, started.elapsed()));
            Ok(())
        };
    let events = |filter: Filter| {
        move |reader: &mut Reader| {
            Ok(reader.events(&Query { filter: filter.clone(), ..Query::default() })?.rows.len())
        }
    };
    let workload = FindingFilter { workload: texts("server-3"), limit: 1000, ..FindingFilter::default() };
    ask("a workload's findings of a day", &mut |reader| Ok(reader.findings(&workload)?.len()))?;
    ask("the newest 100 events", &mut events(none()))?;
    ask("the newest 100 of a workload", &mut events(Filter { workload: texts("server-3"), ..none() }))?;
    ask(
        "what is noteworthy",
        &mut events(Filter { verdict: vec![Verdict::Forbidden, Verdict::Unexpected], ..none() }),
    )?;
    ask("a path", &mut events(Filter { path: texts(&path(77)), ..none() }))?;
    ask("paths by a glob that few match", &mut events(Filter { path: texts("/home/*/.ssh/**"), ..none() }))?;
    ask(
        "paths by a glob that thousands match",
        &mut events(Filter { path: texts("**/package-7/**"), ..none() }),
    )?;
    ask("a path that is not there", &mut events(Filter { path: texts("/nowhere/**"), ..none() }))?;
    ask("a destination", &mut events(Filter { destination: texts("host-7.example.com"), ..none() }))?;
    ask("who else touched that key", &mut |reader| {
        Ok(reader.touches(&Filter { path: texts("/home/user/.ssh/id_ed25519"), ..none() })?.len())
    })?;
    ask("bytes by workload and destination, in the last hour of one workload", &mut |reader| {
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        Ok(reader.traffic(&Filter { workload: texts("server-3"), since: Some(since), ..none() })?.len())
    })?;
    ask("events by kind in the last minute", &mut |reader| {
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(1);
        Ok(reader.counts(&Filter { since: Some(since), ..none() }, CountBy::Kind)?.len())
    })?;
    Ok(answers)
}
