//! The whole monitor with its sinks and metrics: signs of life, a real Prometheus, and the chaos of an operator's night.
//! Needs root.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    Outcome,
    cases::{Case, case},
    chaos, real,
    world::{World, until},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("file", "whole monitor", "signs of life with checkpoints", heartbeat),
        case("metrics", "prometheus, promtool", "scraped and checked", prometheus),
        case("alerts", "promtool", "every rule tested", alerts),
        case("webhook", "killed at random", "chaos of 40 s", |monitor| chaos::run(monitor, 40)),
    ]
}

/// Why the whole monitor cannot run here.
pub(crate) fn hindered() -> Option<Outcome> {
    // SAFETY: only asks for a number.
    (unsafe { libc::geteuid() } != 0).then(|| Outcome::NotRun("the whole monitor needs root".into()))
}

/// A running monitor; killed when it is dropped.
pub(crate) struct Monitor(Child);

impl Monitor {
    /// Starts it and waits until it is attached; its talk goes to `monitor.err`.
    pub(crate) fn start(world: &World, roots: &[u32], store: &Path, more: &[&str]) -> Result<Self> {
        let mut run = Command::new(world.monitor());
        run.args(["run", "--quiet", "--output-file", "/dev/null", "--config"]).arg(world.path("config.yaml"));
        run.arg("--store").arg(store).args(more);
        for pid in roots {
            run.args(["--pid", &pid.to_string()]);
        }
        let talk = fs::OpenOptions::new().create(true).append(true).open(world.path("monitor.err"))?;
        run.env("RUNTIME_DIRECTORY", world.path("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(talk);
        let mut monitor = Self(run.spawn()?);
        let socket = world.path("run/control.sock");
        let ready =
            until(60, || monitor.0.try_wait().is_ok_and(|ended| ended.is_some()) || is_ready(&socket));
        if !ready || !is_ready(&socket) {
            bail!("the monitor does not get ready: {}", fs::read_to_string(world.path("monitor.err"))?);
        }
        Ok(monitor)
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Bytes that are in memory.
    pub(crate) fn resident(&self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // SAFETY: a signal to our own child, which is not waited for yet.
        unsafe { libc::kill(i32::try_from(self.0.id()).unwrap_or(0), libc::SIGTERM) };
        if !until(10, || self.0.try_wait().is_ok_and(|ended| ended.is_some())) {
            // Already gone is as good.
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

fn is_ready(socket: &Path) -> bool {
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
    let mut answer = String::new();
    let _ = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let _ = stream.read_to_string(&mut answer);
    answer.starts_with("HTTP/1.1 200")
}

/// A shell that reads a secret again and again, watched as a lineage of its own.
pub(crate) struct Reader(Child);

/// Credentials of services: secrets wherever homes are.
const SECRETS: &str = "/run/credentials/mcp-monitor-sinks";

impl Reader {
    /// Reads `name` every `seconds`, and lists a directory in between.
    pub(crate) fn start(name: &str, seconds: &str) -> Result<Self> {
        fs::create_dir_all(SECRETS)?;
        let secret = Path::new(SECRETS).join(name);
        fs::write(&secret, "no secret at all\n")?;
        let script = "while :; do cat \"$1\" > /dev/null; ls -l /etc > /dev/null; sleep $2; done";
        let mut run = Command::new("sh");
        run.args(["-c", script, name]).arg(&secret).arg(seconds);
        Ok(Self(run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lines of the store by the monitor's own command, oldest first.
pub(crate) fn stored(world: &World, what: &str, store: &Path) -> Result<Vec<Value>> {
    let output =
        Command::new(world.monitor()).args([what, "--output", "json", "--store"]).arg(store).output()?;
    ensure!(
        output.status.success() || output.status.code() == Some(1),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(lines(&String::from_utf8(output.stdout)?))
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn heartbeat(monitor: &Path) -> Result<Outcome> {
    if let Some(hindered) = hindered() {
        return Ok(hindered);
    }
    let world = World::new(monitor)?;
    let (out, store) = (world.path("out.jsonl"), world.path("store"));
    world.configure(&format!("heartbeat_seconds: 10, file: {{path: '{}'}}", out.display()))?;
    let reader = Reader::start("heartbeat", "0.2")?;
    let running = Monitor::start(&world, &[reader.pid()], &store, &[])?;
    let beats = || {
        let all = lines(&fs::read_to_string(&out).unwrap_or_default());
        all.into_iter().filter(|line| line["kind"] == "heartbeat").collect::<Vec<_>>()
    };
    until(30, || beats().len() >= 2);
    drop(reader);
    drop(running);
    let beats = beats();
    ensure!(
        beats.len() >= 2,
        "{} signs of life: {}",
        beats.len(),
        fs::read_to_string(world.path("monitor.err"))?
    );
    let numbers: Vec<_> = beats.iter().filter_map(|beat| beat["heartbeat"]["number"].as_u64()).collect();
    ensure!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let last = beats.last().context("none")?;
    ensure!(last["heartbeat"]["checkpoint"]["signature"].is_string(), "no checkpoint: {last}");
    let mut verify = Command::new(world.monitor());
    let output = verify.arg("verify").arg("--store").arg(&store).arg("--against").arg(&out).output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{told} {}", String::from_utf8_lossy(&output.stderr));
    // A checkpoint that somebody else made up is told.
    let forged = fs::read_to_string(&out)?.replace("\"signature\":\"", "\"signature\":\"00");
    fs::write(world.path("forged.jsonl"), forged)?;
    let mut verify = Command::new(world.monitor());
    verify.arg("verify").arg("--store").arg(&store).arg("--against").arg(world.path("forged.jsonl"));
    ensure!(!verify.output()?.status.success(), "a forged checkpoint was believed");
    Ok(Outcome::Passed(format!(
        "{} signs of life; verify --against believes them and no forged one",
        beats.len()
    )))
}

/// A document of an HTTP server on this host.
pub(crate) fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains(" 200 "), "{head}: {body}");
    Ok(body.to_owned())
}

/// What is shipped for Prometheus.
fn deployed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring")
}

fn alerts(_: &Path) -> Result<Outcome> {
    let Some(promtool) = real::program("promtool") else {
        return Ok(Outcome::NotRun("promtool (Debian's prometheus) is not there".into()));
    };
    for words in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts-test.yaml"]] {
        let output = Command::new(&promtool).args(words).current_dir(deployed()).output()?;
        ensure!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = fs::read_to_string(deployed().join("alerts.yaml"))?;
    let tests = fs::read_to_string(deployed().join("alerts-test.yaml"))?;
    let names: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    for name in &names {
        ensure!(tests.matches(&format!("alertname: {name}")).count() == 2, "{name} is not tested both ways");
    }
    Ok(Outcome::Passed(format!("{} rules, each silent and alarming", names.len())))
}

fn prometheus(monitor: &Path) -> Result<Outcome> {
    if let Some(hindered) = hindered() {
        return Ok(hindered);
    }
    let (Some(program), Some(promtool)) = (real::program("prometheus"), real::program("promtool")) else {
        return Ok(Outcome::NotRun("prometheus is not there".into()));
    };
    let world = World::new(monitor)?;
    let (out, store) = (world.path("out.jsonl"), world.path("store"));
    world.configure(&format!("heartbeat_seconds: 10, file: {{path: '{}'}}", out.display()))?;
    let reader = Reader::start("prometheus", "0.2")?;
    let port = real::free_port()?;
    let place = format!("--metrics=127.0.0.1:{port}");
    let _running = Monitor::start(&world, &[reader.pid()], &store, &[&place, "--program-stats"])?;
    // The kernel is measured every ten seconds.
    let mut text = String::new();
    until(30, || {
        text = get(port, "/metrics").unwrap_or_default();
        text.contains("mcp_monitor_map_entries{") && text.contains("mcp_monitor_sink_last_success")
    });
    fs::write(world.path("metrics"), &text)?;
    let output = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(fs::File::open(world.path("metrics"))?)
        .output()?;
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && complaints.trim().is_empty(), "{complaints}");
    let wanted = [
        "mcp_monitor_findings_total{rule=\"secret-read\"",
        "mcp_monitor_program_runs_total{",
        "mcp_monitor_program_seconds_total{",
        "mcp_monitor_program_misses_total{",
        "mcp_monitor_map_capacity_entries{map=\"lineage\"}",
        "mcp_monitor_sink_sent_total{kind=\"file\",sink=\"s\"}",
        "mcp_monitor_store_bytes ",
        "mcp_monitor_workload_events_total{",
    ];
    for name in wanted {
        ensure!(text.contains(name), "{name} is missing: {text}");
    }
    let listen = real::free_port()?;
    let configuration = fs::read_to_string(deployed().join("prometheus.yml"))?;
    let configuration =
        configuration.replace("127.0.0.1:9465", &format!("127.0.0.1:{port}")).replace("15s", "1s");
    fs::write(world.path("prometheus.yml"), configuration)?;
    fs::copy(deployed().join("alerts.yaml"), world.path("alerts.yaml"))?;
    let mut run = Command::new(program);
    run.arg(format!("--config.file={}", world.path("prometheus.yml").display()));
    run.arg(format!("--storage.tsdb.path={}", world.path("tsdb").display()));
    run.arg(format!("--web.listen-address=127.0.0.1:{listen}"));
    let _prometheus = real::Receiver::start(&mut run, &world.path("prometheus.err"))?;
    let ask = |query: &str| -> Result<Value> {
        let answer = get(listen, &format!("/api/v1/query?query={query}"))?;
        Ok(serde_json::from_str::<Value>(&answer)?["data"]["result"].clone())
    };
    let scraped = until(40, || {
        ask("mcp_monitor_pipeline_alive").is_ok_and(|result| result[0]["value"][1] == "1")
            && ask("mcp_monitor_events_total").is_ok_and(|result| result[0].is_object())
    });
    ensure!(scraped, "nothing was scraped: {}", fs::read_to_string(world.path("prometheus.err"))?);
    let rules: Value = serde_json::from_str(&get(listen, "/api/v1/rules")?)?;
    let healthy = |rule: &Value| rule["health"] != "err";
    let rules = rules["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
    ensure!(rules.len() > 5 && rules.iter().all(healthy), "{rules:?}");
    let series = ask("count(%7Bjob%3D%22mcp-monitor%22%7D)")?;
    Ok(Outcome::Passed(format!(
        "{} series, {} rules loaded, promtool has no complaint",
        series[0]["value"][1].as_str().unwrap_or("?"),
        rules.len()
    )))
}
