//! NATS with `JetStream`, syslog-ng and a journald of our own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    Outcome,
    cases::{Case, EVENTS, FINDINGS, arrived, case, wanted},
    certified,
    real::{self, Receiver},
    world::{World, ids, until},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("nats", "nats-server -js", "takes all, twice", nats),
        case("nats", "nats-server -js", "no stream at first", nats_without_stream),
        case("nats", "nats-server -js", "mutual TLS and password", nats_with_tls),
        case("syslog tcp octet", "syslog-ng", "takes all", |monitor| syslog_ng(monitor, false)),
        case("syslog tls", "syslog-ng", "mutual TLS, private CA", |monitor| syslog_ng(monitor, true)),
        case("journald", "systemd-journald", "native fields, hostile name", journald),
    ]
}

/// A client of NATS that is not ours: the protocol is lines.
struct Client {
    stream: BufReader<TcpStream>,
    inbox: u32,
}

impl Client {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut client = Self { stream: BufReader::new(stream), inbox: 0 };
        client.line()?;
        client.say("CONNECT {\"verbose\":false}\r\nSUB test.inbox.* 1\r\n")?;
        Ok(client)
    }

    fn say(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.get_mut().write_all(text.as_bytes())?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line)
    }

    /// Asks and gives the answer.
    fn ask(&mut self, subject: &str, body: &Value) -> Result<Value> {
        self.inbox += 1;
        let body = body.to_string();
        self.say(&format!("PUB {subject} test.inbox.{} {}\r\n{body}\r\n", self.inbox, body.len()))?;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                bail!("the server closed");
            }
            if line.starts_with("PING") {
                self.say("PONG\r\n")?;
            } else if line.starts_with("MSG") {
                let length: usize = line.split_whitespace().last().context("no length")?.parse()?;
                let mut body = vec![0; length + 2];
                self.stream.read_exact(&mut body)?;
                return Ok(serde_json::from_slice(&body[..length])?);
            } else if line.starts_with("-ERR") {
                bail!("{line}");
            }
        }
    }

    fn make_stream(&mut self) -> Result<()> {
        let config = json!({"name": "SECURITY", "subjects": ["mcp-monitor.>"], "storage": "memory",
            "retention": "limits", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
            "num_replicas": 1, "duplicate_window": 120_000_000_000_u64});
        let answer = self.ask("$JS.API.STREAM.CREATE.SECURITY", &config)?;
        ensure!(answer["error"].is_null(), "{answer}");
        Ok(())
    }

    /// Every message of the stream: subject and body.
    fn messages(&mut self) -> Result<Vec<(String, String)>> {
        let info = self.ask("$JS.API.STREAM.INFO.SECURITY", &json!({}))?;
        let last = info["state"]["last_seq"].as_u64().context("no stream")?;
        let mut messages = Vec::new();
        for sequence in 1..=last {
            let answer = self.ask("$JS.API.STREAM.MSG.GET.SECURITY", &json!({"seq": sequence}))?;
            let message = &answer["message"];
            let data = message["data"].as_str().unwrap_or_default();
            let body =
                Command::new("sh").args(["-c", "printf %s \"$1\" | base64 -d", "sh", data]).output()?.stdout;
            let subject = message["subject"].as_str().unwrap_or_default().to_owned();
            messages.push((subject, String::from_utf8(body)?));
        }
        Ok(messages)
    }
}

/// A server with `JetStream`; `None` where it is not installed.
fn server(world: &World, port: u16, more: &str) -> Result<Option<Receiver>> {
    let Some(program) = real::program("nats-server") else { return Ok(None) };
    let configuration = world.path("nats.conf");
    let text = format!(
        "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{}\" }}\n{more}\n",
        world.path("jetstream").display()
    );
    fs::write(&configuration, text)?;
    let mut run = Command::new(program);
    run.arg("-c").arg(&configuration);
    let receiver = Receiver::start(&mut run, &world.path("nats.err"))?;
    if !until(10, || TcpStream::connect(("127.0.0.1", port)).is_ok()) {
        bail!("nats-server does not listen: {}", fs::read_to_string(world.path("nats.err"))?);
    }
    Ok(Some(receiver))
}

fn not_installed() -> Outcome {
    Outcome::NotRun("nats-server is not installed".into())
}

fn nats(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let port = real::free_port()?;
    let Some(_server) = server(&world, port, "")? else { return Ok(not_installed()) };
    let mut client = Client::connect(port)?;
    client.make_stream()?;
    world.configure(&format!("nats: {{url: 'nats://127.0.0.1:{port}', stream: SECURITY}}"))?;
    world.lines(EVENTS, FINDINGS)?;
    world.replay()?;
    let told = world.replay()?;
    let messages = client.messages()?;
    ensure!(
        messages.len() == EVENTS + FINDINGS,
        "{} messages: the window did not tell duplicates",
        messages.len()
    );
    ensure!(messages.iter().all(|(subject, _)| subject.split('.').count() == 5), "{messages:?}");
    let text: String = messages.into_iter().map(|(_, body)| body + "\n").collect();
    Ok(arrived(&text, EVENTS, FINDINGS, format!("sent twice, stored once; {told}")))
}

fn nats_without_stream(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let port = real::free_port()?;
    let Some(_server) = server(&world, port, "")? else { return Ok(not_installed()) };
    world.configure(&format!("nats: {{url: 'nats://127.0.0.1:{port}'}}"))?;
    let refused = world.sinks(&["test", "s"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("stream"), "{said}");
    world.lines(EVENTS, FINDINGS)?;
    let running = world.start_replay()?;
    std::thread::sleep(Duration::from_secs(1));
    let mut client = Client::connect(port)?;
    client.make_stream()?;
    let mut stored = 0;
    until(15, || {
        stored = client.messages().map_or(0, |messages| messages.len());
        stored == EVENTS + FINDINGS
    });
    running.kill()?;
    ensure!(stored == EVENTS + FINDINGS, "{stored} messages");
    ensure!(world.dead_letters().is_empty(), "something was given up");
    Ok(Outcome::Passed(format!("{stored} of {stored} records once somebody made the stream")))
}

fn nats_with_tls(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    if !certified::certificates(&world) {
        return Ok(Outcome::NotRun("openssl is not installed".into()));
    }
    let port = real::free_port()?;
    let path = |name: &str| world.path(name).display().to_string();
    let more = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}\n\
         authorization {{ user: monitor, password: \"correct horse\" }}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let Some(_server) = server(&world, port, &more)? else { return Ok(not_installed()) };
    let password = world.secret("correct horse")?;
    let configure = |tls: &str| {
        world.configure(&format!(
            "nats: {{url: 'tls://localhost:{port}', user: monitor, password: {{file: '{}'}}, tls: {tls}}}",
            password.display()
        ))
    };
    configure(&format!("{{ca: '{}'}}", path("ca.pem")))?;
    let refused = world.sinks(&["test", "s"])?;
    ensure!(!refused.status.success(), "taken without a client certificate");
    configure(&certified::mutual(&world))?;
    let logged_in = world.sinks(&["test", "s"])?;
    let said = String::from_utf8_lossy(&logged_in.stderr).into_owned();
    // Logged in, and told that nobody listens: there is no stream.
    ensure!(said.contains("no stream"), "{said}");
    Ok(Outcome::Passed(said.trim().to_owned()))
}

fn syslog_ng(monitor: &Path, tls: bool) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let Some(program) = real::program("syslog-ng") else {
        return Ok(Outcome::NotRun("syslog-ng is not there".into()));
    };
    if tls && !certified::certificates(&world) {
        return Ok(Outcome::NotRun("openssl is not installed".into()));
    }
    let (out, port) = (world.path("out"), real::free_port()?);
    let path = |name: &str| world.path(name).display().to_string();
    let transport = if tls {
        format!(
            "transport(\"tls\") tls(key-file(\"{}\") cert-file(\"{}\") ca-file(\"{}\") peer-verify(required-trusted))",
            path("server.key"),
            path("server.pem"),
            path("ca.pem")
        )
    } else {
        "transport(\"tcp\")".to_owned()
    };
    let configuration = world.path("syslog-ng.conf");
    fs::write(
        &configuration,
        format!(
            "@version: 3.38\noptions {{ stats-freq(0); }};\n\
             source s {{ syslog(ip(127.0.0.1) port({port}) {transport}); }};\n\
             destination d {{ file(\"{}\" template(\"${{HOST}} ${{MSGID}} ${{.SDATA.mcp-monitor@32473.id}} \
             ${{.SDATA.mcp-monitor@32473.workload}} ${{MESSAGE}}\\n\")); }};\n\
             log {{ source(s); destination(d); }};\n",
            out.display()
        ),
    )?;
    let mut run = Command::new(&program);
    run.args(["--foreground", "--no-caps", "--stderr", "--cfgfile"]).arg(&configuration);
    run.arg("--persist-file").arg(world.path("persist")).arg("--pidfile").arg(world.path("pid"));
    run.arg("--control").arg(world.path("control"));
    if let Some(modules) = real::beside(&program, "usr/lib/syslog-ng/3.38") {
        run.arg("--module-path").arg(&modules);
        // PREFIX/usr/lib/syslog-ng/3.38
        let prefix = modules.ancestors().nth(4).unwrap_or(Path::new("/"));
        let libraries = ["usr/lib/syslog-ng", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
            .map(|place| prefix.join(place).display().to_string())
            .join(":");
        run.env("LD_LIBRARY_PATH", libraries);
    }
    let mut receiver = Receiver::start(&mut run, &world.path("syslog-ng.err"))?;
    until(15, || receiver.has_ended() || TcpStream::connect(("127.0.0.1", port)).is_ok());
    if receiver.has_ended() {
        bail!("syslog-ng ended: {}", fs::read_to_string(world.path("syslog-ng.err"))?);
    }
    let wire = if tls {
        format!("tls: 'localhost:{port}', certificates: {}", certified::mutual(&world))
    } else {
        format!("tcp: '127.0.0.1:{port}', framing: octet")
    };
    world.configure(&format!("syslog: {{{wire}}}"))?;
    world.lines(EVENTS, FINDINGS)?;
    let told = world.replay()?;
    until(10, || ids(&fs::read_to_string(&out).unwrap_or_default()) == wanted(EVENTS, FINDINGS));
    let text = fs::read_to_string(&out).unwrap_or_default();
    // syslog-ng itself must have understood header and structured data.
    for line in text.lines() {
        let mut words = line.split(' ').skip(2);
        let id = words.next().unwrap_or_default();
        ensure!(ids(id).len() == 1 && words.next().is_some_and(|workload| !workload.is_empty()), "{line}");
    }
    ensure!(text.lines().count() == EVENTS + FINDINGS, "{} lines", text.lines().count());
    Ok(arrived(&text, EVENTS, FINDINGS, told))
}

/// A journald in a mount namespace of its own, whose `/run` is empty.
fn journald(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    // SAFETY: only asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Ok(Outcome::NotRun("a journald of its own needs root".into()));
    }
    let daemon = ["/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"];
    let Some(daemon) = daemon.into_iter().find(|path| Path::new(path).exists()) else {
        return Ok(Outcome::NotRun("there is no systemd-journald".into()));
    };
    if real::program("journalctl").is_none() || real::program("unshare").is_none() {
        return Ok(Outcome::NotRun("there is no journalctl or unshare".into()));
    }
    let script = "set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nForwardToWall=no\\nForwardToSyslog=no\\n' > /run/systemd/journald.conf.d/test.conf
exec \"$1\"";
    let mut run = Command::new("unshare");
    run.args(["--mount", "sh", "-c", script, "sh", daemon]);
    let receiver = Receiver::start(&mut run, &world.path("journald.err"))?;
    let place = format!("/proc/{}/root/run", receiver.pid());
    let socket = format!("{place}/systemd/journal/socket");
    if !until(10, || Path::new(&socket).exists()) {
        let said = fs::read_to_string(world.path("journald.err"))?;
        return Ok(Outcome::NotRun(format!("journald does not start here: {}", said.trim())));
    }
    world.configure(&format!("journald: {{socket: '{socket}'}}"))?;
    world.lines_of(EVENTS, FINDINGS, "/tmp/x\nPRIORITY=0\nMCP_MONITOR_RULE=forged")?;
    let told = world.replay()?;
    let journal = format!("{place}/log/journal");
    let ask = |words: &[&str]| -> Result<Vec<Value>> {
        let mut ask = Command::new("journalctl");
        ask.args(["--directory", &journal, "--output", "json", "--no-pager"]).args(words);
        let output = ask.output().context("journalctl")?;
        Ok(String::from_utf8(output.stdout)?
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    };
    let mut found = Vec::new();
    until(10, || {
        found = ask(&["SYSLOG_IDENTIFIER=mcp-monitor"]).unwrap_or_default();
        found.len() == EVENTS + FINDINGS
    });
    let findings = ask(&["MCP_MONITOR_RULE=secret-read", "PRIORITY=2"])?;
    ensure!(findings.len() == FINDINGS, "{} findings by their fields", findings.len());
    ensure!(
        ask(&["MCP_MONITOR_RULE=forged"])?.is_empty() && ask(&["PRIORITY=0"])?.is_empty(),
        "a name forged a field"
    );
    let ids: Vec<String> = found.iter().map(|entry| entry["MCP_MONITOR_ID"].to_string()).collect();
    let text = ids.join("\n");
    Ok(arrived(&text, EVENTS, FINDINGS, format!("found by their fields; {told}")))
}
