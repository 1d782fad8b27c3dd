//! OTLP against receivers made of the official messages and of gRPC's own server.

use std::{fs, net::TcpStream, path::Path, process::Command, time::Instant};

use anyhow::{Result, bail, ensure};

use crate::{
    Outcome,
    cases::{Case, EVENTS, FINDINGS, arrived, case, wanted},
    certified, real,
    world::{World, ids, until},
};

/// The receiver's packages from `PyPI`.
const PACKAGES: [&str; 3] = ["opentelemetry-proto", "grpcio", "googleapis-common-protos"];

pub(crate) fn cases() -> Vec<Case> {
    let behaviours = [
        ("takes all", "good"),
        ("busy once", "busy"),
        ("asks for two seconds", "slowly"),
        ("keeps all but one", "partial"),
        ("refuses one record for ever", "poison"),
    ];
    let mut cases = Vec::new();
    for (sink, protocol) in [("otlp http", "http"), ("otlp grpc", "grpc")] {
        for (behaviour, first) in behaviours {
            cases.push(case(sink, "official messages", behaviour, move |monitor| {
                deliver(monitor, protocol, first)
            }));
        }
    }
    cases.push(case("otlp grpc", "grpc.io server", "mutual TLS, private CA", mutual));
    cases
}

/// A running receiver, or why there is none.
fn receiver(world: &World, words: &[&str], port: u16) -> Result<Result<real::Receiver, String>> {
    let script = world.path("otlp.py");
    fs::write(&script, include_str!("otlp.py"))?;
    let Some(uv) = real::program("uv") else { return Ok(Err("uv is not installed".into())) };
    let mut run = Command::new(uv);
    run.args(["run", "--quiet", "--no-project"]);
    for package in PACKAGES {
        run.args(["--with", package]);
    }
    run.arg("python").arg(&script).args(words);
    let mut receiver = real::Receiver::start(&mut run, &world.path("otlp.err"))?;
    let mut ended = false;
    until(90, || {
        ended = receiver.has_ended();
        ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    if ended {
        let said = fs::read_to_string(world.path("otlp.err"))?;
        if cannot_be_had(&said) {
            return Ok(Err(format!(
                "its packages cannot be had: {}",
                said.lines().last().unwrap_or_default()
            )));
        }
        bail!("the receiver ended: {said}");
    }
    Ok(Ok(receiver))
}

fn deliver(monitor: &Path, protocol: &str, first: &str) -> Result<Outcome> {
    let world = World::new(monitor)?;
    let (out, port) = (world.path("records"), real::free_port()?);
    fs::write(&out, "")?;
    let _receiver =
        match receiver(&world, &[protocol, &port.to_string(), &out.to_string_lossy(), first], port)? {
            Ok(receiver) => receiver,
            Err(why) => return Ok(Outcome::NotRun(why)),
        };
    world.configure(&format!("otlp: {{url: 'http://127.0.0.1:{port}', protocol: {protocol}}}"))?;
    world.lines(EVENTS, FINDINGS)?;
    let begin = Instant::now();
    let told = world.replay()?;
    let text = fs::read_to_string(&out)?;
    let letters = world.dead_letters();
    match first {
        "slowly" => ensure!(begin.elapsed().as_millis() >= 1900, "came again after {:?}", begin.elapsed()),
        "partial" => {
            ensure!(told.contains("quarantined 1"), "{told}");
            ensure!(
                letters.len() == 1
                    && letters[0]["answer"].as_str().is_some_and(|said| said.contains("too old"))
            );
            let among = letters[0]["among"].as_str().unwrap_or_default();
            ensure!(among.split(' ').count() == EVENTS + FINDINGS, "{}", letters[0]);
            ensure!(text.lines().count() == EVENTS + FINDINGS - 1, "sent again: {}", text.lines().count());
            return Ok(Outcome::Passed(format!("counted, and not sent again; {told}")));
        }
        "poison" => {
            ensure!(letters.len() == 1, "{} dead letters: {told}", letters.len());
            ensure!(letters[0]["answer"].as_str().is_some_and(|said| said.contains("400")), "{}", letters[0]);
            let mut all = wanted(EVENTS, FINDINGS);
            all.remove("event-1");
            ensure!(ids(&text) == all, "{:?}", ids(&text));
            return Ok(Outcome::Passed(format!("the other {} arrived; {told}", all.len())));
        }
        _ => {}
    }
    ensure!(text.contains("\"eventName\": \"mcp_monitor.finding\""), "{text}");
    ensure!(text.lines().count() == EVENTS + FINDINGS, "{} records", text.lines().count());
    Ok(arrived(&text, EVENTS, FINDINGS, told))
}

fn mutual(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    if !certified::certificates(&world) {
        return Ok(Outcome::NotRun("openssl is not installed".into()));
    }
    let (out, port) = (world.path("records"), real::free_port()?);
    fs::write(&out, "")?;
    let files = ["server.pem", "server.key", "ca.pem"].map(|name| world.path(name).display().to_string());
    let place = [port.to_string(), out.display().to_string()];
    let words = ["grpc", &place[0], &place[1], "token", &files[0], &files[1], &files[2]];
    let _receiver = match receiver(&world, &words, port)? {
        Ok(receiver) => receiver,
        Err(why) => return Ok(Outcome::NotRun(why)),
    };
    let token = world.secret("Bearer t0ken")?;
    let configure = |tls: &str| {
        world.configure(&format!(
            "otlp: {{url: 'https://localhost:{port}', protocol: grpc, headers: {{authorization: {{file: '{}'}}}}, \
             http: {{timeout_seconds: 5, tls: {tls}}}}}",
            token.display()
        ))
    };
    configure(&format!("{{ca: '{}'}}", files[2]))?;
    let refused = world.sinks(&["test", "s"])?;
    ensure!(!refused.status.success(), "taken without a client certificate");
    configure(&certified::mutual(&world))?;
    world.lines(EVENTS, FINDINGS)?;
    let told = world.replay()?;
    Ok(arrived(
        &fs::read_to_string(&out)?,
        EVENTS,
        FINDINGS,
        format!("without a certificate refused; {told}"),
    ))
}

/// The shipped Sigma rules by pySigma, which is what their users convert them with.
pub(crate) fn sigma() -> Case {
    case("sigma rules", "pySigma", "parsed and converted", |monitor| {
        let world = World::new(monitor)?;
        let Some(uv) = real::program("uv") else { return Ok(Outcome::NotRun("uv is not installed".into())) };
        let script = world.path("sigma_rules.py");
        fs::write(&script, include_str!("sigma_rules.py"))?;
        let mut run = Command::new(uv);
        run.args(["run", "--quiet", "--no-project"]);
        for package in
            ["pysigma", "pysigma-backend-splunk", "pysigma-backend-elasticsearch", "pysigma-backend-loki"]
        {
            run.args(["--with", package]);
        }
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        run.arg("python").arg(&script).arg(top.join("deploy/sigma")).arg(top.join("schema/finding.v1.json"));
        let output = run.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if cannot_be_had(&said) {
            return Ok(Outcome::NotRun(format!("its packages cannot be had: {}", said.trim())));
        }
        ensure!(output.status.success(), "{said}");
        Ok(Outcome::Passed(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    })
}

/// uv found no registry, or not these packages there.
fn cannot_be_had(said: &str) -> bool {
    ["ailed to fetch", "error sending request", "No solution"].iter().any(|sign| said.contains(sign))
}
