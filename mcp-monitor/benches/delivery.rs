//! How much sinks deliver beside a store that is written: 20,000 events a second into a file, 5,000 a second to a webhook
//! and to syslog at once. Prints a section of Markdown. `cargo xtask bench --only delivery` runs it.

mod source;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mcp_monitor::{
    export::{Config, Delivery, delivery::Talk, stored::Stored},
    render::Origin,
    store::{Settings, Store},
};
use mcp_monitor_common::mechanism::Tier;
use source::{Source, costs, give};

#[derive(Parser)]
#[command(about = "Measures delivery")]
struct Arguments {
    /// Seconds of each part
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the stores are made; removed at the end
    #[arg(long, default_value = "/var/tmp")]
    scratch: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Records that wait at the end of the stream may be those of so many seconds: that is not yet falling behind.
const BEHIND_SECONDS_MAX: u64 = 2;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = arguments.scratch.join(format!("mcp-monitor-delivery-bench.{}", std::process::id()));
    println!("### Delivery\n");
    println!(
        "| sinks | given | for | waiting at the end | delivered after | tried again | processor, all in this process | most memory |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let result = parts(&arguments, &scratch);
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    result
}

fn parts(arguments: &Arguments, scratch: &Path) -> Result<()> {
    fs::create_dir_all(scratch)?;
    let file = format!("file: {{path: '{}', rotate_bytes: 1000000000}}", scratch.join("out.jsonl").display());
    measured("file", &[file], 20_000, arguments.seconds, &scratch.join("file"))?;
    let bytes = Arc::new(AtomicU64::new(0));
    let (web, log) = (webhook(&bytes)?, drain(&bytes)?);
    let sinks = [format!("webhook: {{url: 'http://{web}/'}}"), format!("syslog: {{tcp: '{log}'}}")];
    measured("webhook and syslog", &sinks, 5_000, arguments.seconds, &scratch.join("both"))
}

fn measured(name: &str, sinks: &[String], rate: u64, seconds: u64, directory: &Path) -> Result<()> {
    let settings = Settings { bytes: 1 << 40, ..Settings::new(directory) };
    let store = Store::open(&settings, &Origin::of_this_host(Tier::Tracepoint))?;
    let writer = store.writer();
    let named = |(number, sink)| format!("  - {{name: s{number}, events: true, {sink}}}");
    let list: Vec<String> = sinks.iter().enumerate().map(named).collect();
    let config = Config::parse("bench", &format!("sinks:\n{}\n", list.join("\n")))?;
    let talk: Talk = Arc::new(|line: &str| eprintln!("{line}"));
    let source = || Ok(Box::new(Stored::new(directory.to_owned())) as Box<_>);
    let delivery = Delivery::start(&config, &directory.join("sinks"), source, &talk, None)?;
    let (_, before) = costs()?;
    let mut source = Source::new();
    let started = Instant::now();
    for turn in 0..seconds * 100 {
        for _ in 0..rate / 100 {
            give(&writer, &mut source);
        }
        std::thread::sleep(Duration::from_millis(10 * (turn + 1)).saturating_sub(started.elapsed()));
    }
    let taken = started.elapsed();
    let (_, after) = costs()?;
    writer.flush()?;
    let rows = writer.status().last_row;
    let sent = |board: &mcp_monitor::export::delivery::Board| {
        let sinks = board.read();
        sinks.iter().map(|(_, sink)| sink.state.events.unwrap_or(0)).min().unwrap_or(0)
    };
    let board = delivery.board();
    let waiting = rows.saturating_sub(sent(&board));
    while sent(&board) < rows {
        ensure!(started.elapsed() < taken + Duration::from_mins(1), "{name}: {} of {rows}", sent(&board));
        std::thread::sleep(Duration::from_millis(20));
    }
    let done = started.elapsed().saturating_sub(taken);
    let retried: u64 = board.read().iter().map(|(_, sink)| sink.state.retried).sum();
    delivery.stop(Duration::from_secs(5));
    let losses = writer.take_losses();
    ensure!(
        losses.queue + losses.unwritten == 0,
        "{name}: the store lost {}",
        losses.queue + losses.unwritten
    );
    let (resident, _) = costs()?;
    let length = taken.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let (given, cpu) =
        (source.number as f64 / length, after.saturating_sub(before).as_secs_f64() / length * 100.0);
    println!(
        "| {name} | {given:.0}/s | {length:.0} s | {waiting} | {:.1} s | {retried} | {cpu:.0} % | {} MiB |",
        done.as_secs_f64(),
        resident >> 20
    );
    ensure!(waiting <= rate * BEHIND_SECONDS_MAX, "{name}: {waiting} waited at the end");
    Ok(())
}

/// A receiver of HTTP that takes everything.
fn webhook(bytes: &Arc<AtomicU64>) -> Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let place = listener.local_addr()?;
    let bytes = Arc::clone(bytes);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut have, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
            while let Ok(read) = stream.read(&mut buffer) {
                if read == 0 {
                    break;
                }
                have.extend_from_slice(&buffer[..read]);
                let Some(head) = have.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                let text = String::from_utf8_lossy(&have[..head]).to_lowercase();
                let length =
                    text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
                let whole = head + 4 + length.unwrap_or(0);
                if have.len() >= whole {
                    bytes.fetch_add(whole as u64, Ordering::Relaxed);
                    have.drain(..whole);
                    if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                        break;
                    }
                }
            }
        }
    });
    Ok(place)
}

/// A receiver that reads.
fn drain(bytes: &Arc<AtomicU64>) -> Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let place = listener.local_addr()?;
    let bytes = Arc::clone(bytes);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = vec![0; 1 << 18];
            while let Ok(read) = stream.read(&mut buffer) {
                if read == 0 {
                    break;
                }
                bytes.fetch_add(read as u64, Ordering::Relaxed);
            }
        }
    });
    Ok(place)
}
