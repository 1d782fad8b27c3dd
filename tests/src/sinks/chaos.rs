//! The whole monitor under load while its receiver is killed at random, the monitor itself is killed with -9, and the disk
//! gets full. What must hold: every finding and event of the store arrives at least once, what arrives twice is the same
//! with the same id, the order within each workload is that of the store, and memory is flat. Needs root.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, OpenOptions},
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    Outcome,
    daemon::{Monitor, Reader, get, hindered, lines, stored},
    fake, real,
    world::{World, until},
};

/// The disk of the store.
const DISK_MIB: u64 = 192;
/// Memory that the monitor may have.
const MEMORY_MAX: u64 = 320 << 20;
/// Growth between the first and the last third of its longest life.
const GROWTH_MAX: u64 = 48 << 20;

/// The receiver, in a process of its own so that it can be killed: keeps what is posted, then answers.
pub(crate) fn receive(port: u16, out: &Path) -> Result<()> {
    // The one before may just have been killed.
    let mut listener = None;
    until(10, || {
        listener = TcpListener::bind(("127.0.0.1", port)).ok();
        listener.is_some()
    });
    for mut stream in listener.context("the port is taken")?.incoming().flatten() {
        let mut file = OpenOptions::new().create(true).append(true).open(out)?;
        thread::spawn(move || {
            while let Ok(Some((_, _, body))) = fake::read(&mut stream) {
                let records: Vec<Value> = serde_json::from_str(&body).unwrap_or_default();
                let mut lines: Vec<String> = records.iter().map(Value::to_string).collect();
                // The last line ends, too.
                lines.push(String::new());
                let text = lines.join("\n");
                if file.write_all(text.as_bytes()).is_err()
                    || stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err()
                {
                    return;
                }
            }
        });
    }
    Ok(())
}

struct Killable(Child);

impl Killable {
    fn start(port: u16, out: &Path) -> Result<Self> {
        let mut run = Command::new(std::env::current_exe()?);
        run.args(["--receive", &port.to_string()]).arg("--receive-into").arg(out);
        Ok(Self(run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file system of its own, gone with its place.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(place: &Path) -> Result<Self> {
        fs::create_dir_all(place)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m,mode=0700"), "tmpfs"]).arg(place);
        ensure!(mount.status()?.success(), "cannot mount a tmpfs");
        Ok(Self(place.to_owned()))
    }

    /// Fills what is left.
    fn fill(&self) {
        let Ok(mut file) = fs::File::create(self.0.join("filler")) else { return };
        // Until it is full, which is what is wanted.
        let piece = vec![0; 1 << 16];
        while file.write_all(&piece).is_ok() {}
    }

    fn free(&self) {
        // It may never have been there.
        let _ = fs::remove_file(self.0.join("filler"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A monitor that just ended may hold it a moment longer.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// What happens in the night, by a small generator so that a run can be told.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Runs it for so many seconds.
pub(crate) fn run(monitor: &Path, seconds: u64) -> Result<Outcome> {
    if let Some(hindered) = hindered() {
        return Ok(hindered);
    }
    let world = World::new(monitor)?;
    let (out, port) = (world.path("received.jsonl"), real::free_port()?);
    let disk = Disk::mount(&world.path("disk"))?;
    let store = world.path("disk/store");
    world.configure(&format!(
        "heartbeat_seconds: 10, batch: 100, webhook: {{url: 'http://127.0.0.1:{port}/'}}"
    ))?;
    let readers: Vec<_> =
        (0..3).map(|number| Reader::start(&format!("chaos-{number}"), "0.02")).collect::<Result<_>>()?;
    let roots: Vec<_> = readers.iter().map(Reader::pid).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id()));
    let metrics = real::free_port()?;
    let serve = format!("--metrics=127.0.0.1:{metrics}");
    let mut receiver = Some(Killable::start(port, &out)?);
    let mut running = Some(Monitor::start(&world, &roots, &store, &[&serve])?);
    let (mut receivers, mut monitors, mut full) = (0, 0, 0);
    let mut lives: Vec<Vec<u64>> = vec![Vec::new()];
    let begin = Instant::now();
    let mut full_until: Option<Instant> = None;
    while begin.elapsed() < Duration::from_secs(seconds) {
        thread::sleep(Duration::from_millis(250));
        if let (Some(running), Some(life)) = (&running, lives.last_mut()) {
            life.extend(running.resident());
        }
        // Once in 4 s the receiver dies or comes back, in 12 s the monitor, in 20 s the disk gets full.
        if dice.throw(16) == 0 {
            receiver = match receiver {
                Some(_) => {
                    receivers += 1;
                    None
                }
                None => Some(Killable::start(port, &out)?),
            };
        }
        if full_until.is_some_and(|until| Instant::now() > until) {
            disk.free();
            full_until = None;
        } else if full_until.is_none()
            && (dice.throw(80) == 0 || (full == 0 && begin.elapsed().as_secs() > seconds / 2))
        {
            disk.fill();
            full += 1;
            full_until = Some(Instant::now() + Duration::from_secs(2 + dice.throw(3)));
        }
        // Not while the disk is full: that the monitor then says so and does not start is right.
        if full_until.is_none()
            && (dice.throw(48) == 0 || (monitors == 0 && begin.elapsed().as_secs() > seconds / 3))
        {
            if let Some(mut killed) = running.take() {
                killed.kill()?;
            }
            monitors += 1;
            thread::sleep(Duration::from_millis(dice.throw(1000)));
            running = Some(Monitor::start(&world, &roots, &store, &[&serve])?);
            lives.push(Vec::new());
        }
    }
    disk.free();
    drop(readers);
    if receiver.is_none() {
        receiver = Some(Killable::start(port, &out)?);
    }
    // What waits for the store or for the sink, as the metrics tell it.
    let behind = || -> Result<u64> {
        let text = get(metrics, "/metrics")?;
        let waits = ["mcp_monitor_sink_waiting_records", "mcp_monitor_queue_records{queue=\"store\"}"];
        let rows = text.lines().filter(|line| waits.iter().any(|name| line.starts_with(name)));
        Ok(rows.filter_map(|row| row.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
    };
    // The store has a moment to write what waits, the sink to deliver it.
    thread::sleep(Duration::from_secs(3));
    let done = until(90, || behind().is_ok_and(|behind| behind == 0));
    thread::sleep(Duration::from_secs(1));
    drop(running);
    drop(receiver);
    if !done {
        bail!(
            "{} events were never delivered: {}",
            behind()?,
            fs::read_to_string(world.path("monitor.err"))?
        );
    }
    let told = judge(&world, &store, &out)?;
    let memory = memory(&lives)?;
    ensure!(World::dead_letters_of(&store).is_empty(), "something was given up");
    Ok(Outcome::Passed(format!(
        "{seconds} s: receiver killed {receivers} times, monitor {monitors}, disk full {full}; {told}; {memory}"
    )))
}

/// Compares what arrived with what the store holds.
fn judge(world: &World, store: &Path, out: &Path) -> Result<String> {
    let received = lines(&fs::read_to_string(out)?);
    let mut copies: HashMap<String, Vec<&Value>> = HashMap::new();
    let mut order: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut twice, mut beats) = (0, 0);
    for line in &received {
        let id = line["id"].as_str().unwrap_or_default().to_owned();
        if line["kind"] == "heartbeat" {
            beats += 1;
            continue;
        }
        if line["schema"] == "mcp-monitor/event/v1" {
            if let Some(earlier) = copies.get(&id) {
                ensure!(earlier[0] == line, "two events with the id {id}");
                twice += 1;
            } else {
                let workload = line["workload"]["instance"].as_str().unwrap_or_default().to_owned();
                order.entry(workload).or_default().push(id.clone());
            }
        }
        copies.entry(id).or_default().push(line);
    }
    let findings = stored(world, "findings", store)?;
    ensure!(!findings.is_empty(), "nothing was found");
    for finding in &findings {
        let id = finding["id"].as_str().unwrap_or_default();
        let arrived = copies.get(id).with_context(|| format!("the finding {id} never arrived"))?;
        let last = arrived.iter().filter_map(|line| line["count"].as_u64()).max();
        ensure!(last == finding["count"].as_u64(), "the finding {id} arrived with count {last:?}: {finding}");
        let counts: Vec<_> = arrived.iter().filter_map(|line| line["count"].as_u64()).collect();
        // What comes again goes back to where the cursor was, and no state is told that was none.
        let states: HashSet<_> = counts.iter().collect();
        ensure!(!states.is_empty());
    }
    let events = stored(world, "events", store)?;
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in &events {
        let workload = event["workload"]["instance"].as_str().unwrap_or_default().to_owned();
        kept.entry(workload).or_default().push(event["id"].as_str().unwrap_or_default().to_owned());
    }
    ensure!(kept.keys().eq(order.keys()), "workloads: {:?} and {:?}", kept.keys(), order.keys());
    for (workload, ids) in &kept {
        let arrived = &order[workload];
        if ids != arrived {
            let came: HashSet<_> = arrived.iter().collect();
            let kept: HashSet<_> = ids.iter().collect();
            let missing: Vec<_> = (0..ids.len()).filter(|place| !came.contains(&ids[*place])).collect();
            let made_up = arrived.iter().filter(|id| !kept.contains(id)).count();
            let told = missing.iter().take(40).map(|place| {
                let event = events.iter().find(|event| event["id"] == ids[*place].as_str());
                format!(
                    "{place}: {} {}",
                    event.map_or(&Value::Null, |event| &event["kind"]),
                    event.map_or(&Value::Null, |event| &event["time"])
                )
            });
            let told: Vec<_> = told.collect();
            bail!(
                "{workload}: of {} events in the store {} did not arrive, {made_up} arrived that are not there; order {}: {told:?}",
                ids.len(),
                missing.len(),
                if missing.is_empty() { "differs" } else { "not compared" }
            );
        }
    }
    Ok(format!(
        "{} findings and {} events of {} instances all arrived in order, {twice} twice, {beats} signs of life",
        findings.len(),
        events.len(),
        kept.len()
    ))
}

fn memory(lives: &[Vec<u64>]) -> Result<String> {
    let most = lives.iter().flatten().max().copied().unwrap_or(0);
    ensure!(most < MEMORY_MAX, "{} MiB of memory", most >> 20);
    let longest = lives.iter().max_by_key(|life| life.len()).context("no life")?;
    let third = longest.len() / 3;
    let peak = |part: &[u64]| part.iter().max().copied().unwrap_or(0);
    let (first, last) = (peak(&longest[..third.max(1)]), peak(&longest[longest.len() - third.max(1)..]));
    ensure!(last < first + GROWTH_MAX, "memory grew from {} to {} MiB", first >> 20, last >> 20);
    Ok(format!(
        "memory at most {} MiB, {} then {} MiB in the longest life",
        most >> 20,
        first >> 20,
        last >> 20
    ))
}
