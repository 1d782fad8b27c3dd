//! Every case: a sink, a receiver, how that behaves, and what must have come of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Outcome, buses, certified, daemon,
    fake::{Fake, First, Kind},
    real::{self, Listen},
    telemetry,
    world::{World, ids, until},
};

/// Events and findings of a usual case.
pub(crate) const EVENTS: usize = 8;
pub(crate) const FINDINGS: usize = 3;

/// Runs a case with the monitor's program.
type Run = Box<dyn Fn(&Path) -> Result<Outcome>>;

pub(crate) struct Case {
    pub(crate) sink: &'static str,
    pub(crate) receiver: &'static str,
    pub(crate) behaviour: &'static str,
    pub(crate) run: Run,
}

pub(crate) fn case(
    sink: &'static str,
    receiver: &'static str,
    behaviour: &'static str,
    run: impl Fn(&Path) -> Result<Outcome> + 'static,
) -> Case {
    Case { sink, receiver, behaviour, run: Box::new(run) }
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = vec![
        case("file", "file system", "takes all", file),
        case("stdout", "pipe", "takes all", stdout),
        case("syslog udp", "rsyslog", "takes all", |monitor| rsyslog(monitor, "udp")),
        case("syslog tcp octet", "rsyslog", "takes all", |monitor| rsyslog(monitor, "octet")),
        case("syslog tcp lf", "rsyslog", "takes all", |monitor| rsyslog(monitor, "lf")),
        case("syslog unix", "rsyslog", "takes all", |monitor| rsyslog(monitor, "unix")),
        case("syslog tcp", "fake", "one message a connection", syslog_that_closes),
        case("mail", "aiosmtpd", "takes all", |monitor| mail(monitor, "night@example.org")),
        case("mail", "aiosmtpd", "451 first", |monitor| mail(monitor, "busy@example.org")),
        case("journald", "datagram socket", "takes all", journald),
        case("file", "file system", "sender killed in between", killed),
    ];
    let fakes = [
        ("webhook", Kind::Webhook),
        ("slack", Kind::Slack),
        ("splunk", Kind::Splunk),
        ("elasticsearch", Kind::Elasticsearch),
        ("loki", Kind::Loki),
    ];
    let behaviours = [
        ("takes all", First::Good),
        ("503 three times", First::Busy),
        ("429 with Retry-After", First::Slowly),
        ("closes before its answer", First::HalfClosed),
        ("garbage instead of HTTP", First::Garbage),
        ("slow answer", First::Slow),
        ("401 until repaired", First::Unauthorized),
        ("refuses one record for ever", First::Poison),
    ];
    for (sink, kind) in fakes {
        for (behaviour, first) in behaviours {
            cases.push(case(sink, "fake", behaviour, move |monitor| http(monitor, kind, first)));
        }
    }
    for (sink, kind) in [("splunk", Kind::Splunk), ("elasticsearch", Kind::Elasticsearch)] {
        cases.push(case(sink, "fake", "200 with a proxy's page", move |monitor| {
            http(monitor, kind, First::Nonsense)
        }));
    }
    cases.push(case("elasticsearch", "fake", "partial _bulk failure", partial));
    cases.extend(certified::cases());
    cases.extend(telemetry::cases());
    cases.push(telemetry::sigma());
    cases.extend(buses::cases());
    cases.extend(daemon::cases());
    cases
}

pub(crate) fn wanted(events: usize, findings: usize) -> std::collections::BTreeSet<String> {
    let events = (0..events).map(|number| format!("event-{number}"));
    events.chain((0..findings).map(|number| format!("finding-{number}"))).collect()
}

/// Passed when each record arrived at least once.
pub(crate) fn arrived(text: &str, events: usize, findings: usize, how: impl Into<String>) -> Outcome {
    let (found, wanted) = (ids(text), wanted(events, findings));
    let missing: Vec<_> = wanted.difference(&found).cloned().collect();
    if missing.is_empty() {
        Outcome::Passed(format!("{} of {} records; {}", wanted.len(), wanted.len(), how.into()))
    } else {
        Outcome::Failed(format!("missing {missing:?}"))
    }
}

fn file(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let out = world.path("out.jsonl");
    world.configure(&format!("file: {{path: '{}', format: ocsf}}", out.display()))?;
    world.lines(EVENTS, FINDINGS)?;
    let told = world.replay()?;
    let text = fs::read_to_string(&out)?;
    ensure!(text.lines().count() == EVENTS + FINDINGS, "{} lines", text.lines().count());
    Ok(arrived(&text, EVENTS, FINDINGS, told))
}

fn stdout(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    world.configure("stdout: {format: cef}")?;
    world.lines(EVENTS, FINDINGS)?;
    let told = world.replay()?;
    Ok(arrived(&told, EVENTS, FINDINGS, "CEF"))
}

fn rsyslog(monitor: &Path, how: &str) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let (out, socket, port) = (world.path("out"), world.path("log"), real::free_port()?);
    let (listen, wire) = match how {
        "udp" => (Listen::Udp(port), format!("udp: '127.0.0.1:{port}'")),
        "unix" => (Listen::Unix(&socket), format!("unix: '{}'", socket.display())),
        framing => (Listen::Tcp(port), format!("tcp: '127.0.0.1:{port}', framing: {framing}")),
    };
    let place = world.path("");
    let Some(_receiver) = real::rsyslog(&place, listen, &out)? else {
        return Ok(Outcome::NotRun("rsyslog is not installed".into()));
    };
    world.configure(&format!("syslog: {{{wire}}}"))?;
    world.lines(EVENTS, FINDINGS)?;
    let told = world.replay()?;
    let complete = || {
        let text = fs::read_to_string(&out).unwrap_or_default();
        ids(&text) == wanted(EVENTS, FINDINGS)
    };
    until(10, complete);
    let text = fs::read_to_string(&out).unwrap_or_default();
    // rsyslog itself must have understood the structured data.
    let understood = text.lines().filter(|line| line.contains("\"mcp-monitor@32473\"")).count();
    ensure!(understood == EVENTS + FINDINGS, "structured data understood {understood} times: {text}");
    Ok(arrived(&text, EVENTS, FINDINGS, told))
}

/// Takes one message on each connection and closes.
fn syslog_that_closes(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let place = listener.local_addr()?;
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            if BufReader::new(stream).read_line(&mut line).is_ok()
                && let Ok(mut kept) = kept.lock()
            {
                kept.push_str(&line);
            }
        }
    });
    world.configure(&format!("syslog: {{tcp: '{place}', framing: lf}}"))?;
    world.lines(0, 1)?;
    for _ in 0..3 {
        world.replay()?;
    }
    until(5, || text.lock().is_ok_and(|text| text.lines().count() == 3));
    let text = text.lock().map(|text| text.clone()).unwrap_or_default();
    ensure!(text.lines().count() == 3, "{} messages", text.lines().count());
    Ok(arrived(&text, 0, 1, "three connections"))
}

fn mail(monitor: &Path, to: &str) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let (out, port) = (world.path("mails"), real::free_port()?);
    let place = world.path("");
    let Some(_receiver) = real::mail_server(&place, port, &out, None)? else {
        return Ok(Outcome::NotRun("aiosmtpd is not installed: `pip install aiosmtpd`".into()));
    };
    world.configure(&format!(
        "mail: {{host: 127.0.0.1, port: {port}, encryption: none, from: monitor@example.org, to: [{to}]}}"
    ))?;
    world.lines(0, FINDINGS)?;
    let told = world.replay()?;
    until(5, || ids(&fs::read_to_string(&out).unwrap_or_default()) == wanted(0, FINDINGS));
    let text = fs::read_to_string(&out)?;
    ensure!(text.contains("Message-ID: <"), "no Message-ID: {text}");
    Ok(arrived(&text, 0, FINDINGS, told))
}

fn journald(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let path = world.path("journal");
    let socket = std::os::unix::net::UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    world.configure(&format!("journald: {{socket: '{}'}}", path.display()))?;
    world.lines(EVENTS, FINDINGS)?;
    let receive = thread::spawn(move || {
        let (mut text, mut buffer) = (String::new(), vec![0; 1 << 18]);
        for _ in 0..EVENTS + FINDINGS {
            let Ok(size) = socket.recv(&mut buffer) else { break };
            text.push_str(&String::from_utf8_lossy(&buffer[..size]));
        }
        text
    });
    let told = world.replay()?;
    let text = receive.join().ok().context("the receiver ended badly")?;
    Ok(arrived(&text, EVENTS, FINDINGS, told))
}

/// The settings of a sink that sends to `url`.
fn settings(world: &World, kind: Kind, url: &str) -> Result<String> {
    Ok(match kind {
        Kind::Webhook => {
            let secret = world.secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
            format!("webhook: {{url: '{url}/hook', secret: {{file: '{}'}}}}", secret.display())
        }
        Kind::Slack => {
            let secret = world.secret(&format!("{url}/services/T/B/x"))?;
            format!("slack: {{url: {{file: '{}'}}}}", secret.display())
        }
        Kind::Splunk => {
            let secret = world.secret("00000000-0000-0000-0000-000000000000")?;
            format!("splunk: {{url: '{url}', token: {{file: '{}'}}, index: security}}", secret.display())
        }
        Kind::Elasticsearch => {
            let secret = world.secret("a2V5")?;
            format!("elasticsearch: {{url: '{url}', api_key: {{file: '{}'}}}}", secret.display())
        }
        Kind::Loki => format!("loki: {{url: '{url}', tenant: t, structured_metadata: true}}"),
    })
}

fn http(monitor: &Path, kind: Kind, first: First) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let fake = Fake::start(kind, first)?;
    world.configure(&settings(&world, kind, &fake.url)?)?;
    // Slack shows no ids: its messages are told apart by their number.
    world.lines(EVENTS, FINDINGS)?;
    let told = world.replay()?;
    let requests = fake.requests();
    let head = requests.first().context("no request came")?;
    match kind {
        Kind::Webhook => {
            ensure!(head.header("webhook-signature").is_some_and(|value| value.starts_with("v1,")));
            let again: Vec<_> = requests.iter().filter(|other| other.body == head.body).collect();
            let same = again.iter().all(|other| other.header("webhook-id") == head.header("webhook-id"));
            ensure!(same, "a batch sent again has another id");
        }
        Kind::Splunk => {
            ensure!(head.path == "/services/collector/event", "{}", head.path);
            ensure!(head.header("authorization").is_some_and(|value| value.starts_with("Splunk ")));
        }
        Kind::Elasticsearch => {
            ensure!(head.path == "/logs-mcp_monitor-default/_bulk", "{}", head.path);
            ensure!(head.header("content-type") == Some("application/x-ndjson"));
            ensure!(head.body.ends_with('\n') && head.body.starts_with("{\"create\":{\"_id\":"));
        }
        Kind::Loki => ensure!(head.header("x-scope-orgid") == Some("t")),
        Kind::Slack => {}
    }
    if kind != Kind::Slack {
        ensure!(head.header("content-encoding") == Some("gzip"), "not compressed");
    }
    if first == First::Slowly {
        let (one, two) = (requests.first().context("none")?, requests.get(1).context("no second request")?);
        let wait = two.at - one.at;
        ensure!(wait >= Duration::from_millis(1900), "came again after {wait:?}");
    }
    let poisoned = first == First::Poison && kind != Kind::Slack;
    if poisoned {
        let letters = world.dead_letters();
        ensure!(letters.len() == 1, "{} dead letters: {told}", letters.len());
        ensure!(letters[0]["line"].as_str().is_some_and(|line| line.contains("event-1\"")));
        ensure!(letters[0]["answer"].as_str().is_some_and(|answer| answer.contains("400")), "{}", letters[0]);
        let (mut found, mut all) = (ids(&fake.taken()), wanted(EVENTS, FINDINGS));
        all.remove("event-1");
        found.remove("event-1");
        ensure!(found == all, "taken: {found:?}");
        return Ok(Outcome::Passed(format!("the other {} arrived, one quarantined; {told}", all.len())));
    }
    if kind == Kind::Slack {
        let taken = requests.iter().filter(|request| request.taken).count();
        ensure!(taken >= EVENTS + FINDINGS, "{taken} messages");
        return Ok(Outcome::Passed(format!("{taken} messages; {told}")));
    }
    Ok(arrived(&fake.taken(), EVENTS, FINDINGS, told))
}

fn partial(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let fake = Fake::start(Kind::Elasticsearch, First::Partial)?;
    world.configure(&settings(&world, Kind::Elasticsearch, &fake.url)?)?;
    world.lines(EVENTS, FINDINGS)?;
    let told = world.replay()?;
    let letters = world.dead_letters();
    ensure!(letters.len() == 1 && letters[0]["line"].as_str().is_some_and(|line| line.contains("event-1\"")));
    let requests = fake.requests();
    ensure!(requests.len() == 2, "{} requests", requests.len());
    let again = ids(&requests[1].body);
    ensure!(again == ["event-2".to_owned()].into(), "came again: {again:?}");
    Ok(arrived(&fake.taken(), EVENTS, FINDINGS, format!("only the 429 again, the 409 not; {told}")))
}

/// The sender is killed while it sends; sent again, everything is there, and twice only under the same id.
fn killed(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let out = world.path("out.jsonl");
    let count = 20_000;
    world.configure(&format!("batch: 50, file: {{path: '{}'}}", out.display()))?;
    world.lines(count, 0)?;
    let running = world.start_replay()?;
    until(20, || fs::metadata(&out).is_ok_and(|there| there.len() > 100_000));
    running.kill()?;
    let before = fs::read_to_string(&out)?.lines().count();
    ensure!(before < count, "it was done before it was killed");
    let told = world.replay()?;
    let text = fs::read_to_string(&out)?;
    let broken = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err()).count();
    ensure!(broken <= 1, "{broken} lines are cut");
    Ok(arrived(&text, count, 0, format!("{before} before the kill; {told}")))
}
