//! TLS with a private authority and client certificates, against receivers whose TLS is not ours.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    Outcome,
    cases::{Case, EVENTS, FINDINGS, arrived, case, wanted},
    real::{self, Listen, Receiver},
    world::{World, ids, until},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("webhook", "https with unknown CA", "certificate refused", untrusted),
        case("webhook", "https with private CA", "takes all", private_authority),
        case("webhook", "https", "wants a client certificate", client_certificate),
        case("syslog tls", "rsyslog with GnuTLS", "mutual TLS, private CA", rsyslog),
        case("syslog tls", "openssl s_server", "mutual TLS, private CA", openssl),
        case("syslog tls", "openssl s_server", "wrong name in its certificate", wrong_name),
        case("mail", "aiosmtpd", "STARTTLS and login", |monitor| mail(monitor, "starttls")),
        case("mail", "aiosmtpd", "TLS from the beginning", |monitor| mail(monitor, "tls")),
        case("mail", "aiosmtpd", "no STARTTLS offered", |monitor| mail(monitor, "stripped")),
    ]
}

/// A certificate authority, a server's certificate for this host, one for another name, and a client's, by openssl.
pub(crate) fn certificates(world: &World) -> bool {
    let script = "set -e; cd \"$1\"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
signed() {
  openssl req -newkey rsa:2048 -nodes -keyout $1.key -out $1.csr -subj /CN=$2
  printf \"subjectAltName=$3\\n\" > extensions
  openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $1.pem -days 2 -extfile extensions
}
signed server localhost DNS:localhost,IP:127.0.0.1
signed other elsewhere DNS:elsewhere
signed client monitor DNS:monitor";
    let run = Command::new("sh").args(["-c", script, "sh"]).arg(world.path("")).output();
    run.is_ok_and(|run| run.status.success())
}

/// Settings of TLS with the private authority and the client certificate.
pub(crate) fn mutual(world: &World) -> String {
    let [ca, certificate, key] =
        ["ca.pem", "client.pem", "client.key"].map(|name| world.path(name).display().to_string());
    format!("{{ca: '{ca}', certificate: '{certificate}', key: '{key}'}}")
}

/// A server with the certificate, which keeps what is posted to it.
fn https(world: &World, port: u16, clients: bool) -> Result<Receiver> {
    let script = world.path("https.py");
    fs::write(&script, include_str!("https.py"))?;
    let mut run = Command::new("python3");
    run.arg(&script).arg(port.to_string());
    run.args([world.path("server.pem"), world.path("server.key"), world.path("posted")]);
    if clients {
        run.arg(world.path("ca.pem"));
    }
    let receiver = Receiver::start(&mut run, &world.path("https.err"))?;
    let listens = until(10, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    ensure!(listens, "the server does not listen");
    Ok(receiver)
}

fn with_https(
    monitor: &Path,
    clients: bool,
    tls: impl Fn(&World) -> String,
    judge: impl Fn(&Output, &str) -> Result<Outcome>,
) -> Result<Outcome> {
    let world = World::new(monitor)?;
    if !certificates(&world) {
        return Ok(Outcome::NotRun("openssl is not installed".into()));
    }
    let port = real::free_port()?;
    let _server = https(&world, port, clients)?;
    world.configure(&format!(
        "webhook: {{url: 'https://localhost:{port}/', http: {{gzip: false, timeout_seconds: 5{}}}}}",
        tls(&world)
    ))?;
    let output = world.sinks(&["test", "s"])?;
    judge(&output, &fs::read_to_string(world.path("posted")).unwrap_or_default())
}

fn untrusted(monitor: &Path) -> Result<Outcome> {
    with_https(
        monitor,
        false,
        |_| String::new(),
        |output, posted| {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(!output.status.success() && told.to_lowercase().contains("certificate"), "{told}");
            ensure!(posted.is_empty(), "it was sent all the same");
            Ok(Outcome::Passed(told.trim().to_owned()))
        },
    )
}

fn taken(output: &Output, posted: &str) -> Result<Outcome> {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{told}");
    ensure!(posted.contains("\"test\":true"), "what came is no test finding: {posted}");
    Ok(Outcome::Passed(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

fn private_authority(monitor: &Path) -> Result<Outcome> {
    let tls = |world: &World| format!(", tls: {{ca: '{}'}}", world.path("ca.pem").display());
    with_https(monitor, false, tls, taken)
}

fn client_certificate(monitor: &Path) -> Result<Outcome> {
    let tls = |world: &World| format!(", tls: {{ca: '{}'}}", world.path("ca.pem").display());
    with_https(monitor, true, tls, |output, posted| {
        ensure!(!output.status.success() && posted.is_empty(), "taken without a client certificate");
        Ok(Outcome::Passed(String::new()))
    })?;
    with_https(monitor, true, |world| format!(", tls: {}", mutual(world)), taken)
}

fn rsyslog(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    if !certificates(&world) {
        return Ok(Outcome::NotRun("openssl is not installed".into()));
    }
    let (out, port) = (world.path("out"), real::free_port()?);
    let place = world.path("");
    let Some(_receiver) = real::rsyslog(&place, Listen::Tls(port), &out)? else {
        return Ok(Outcome::NotRun(
            "rsyslog or its module lmnsd_gtls (rsyslog-gnutls) is not installed".into(),
        ));
    };
    let ca = world.path("ca.pem");
    let configure =
        |tls: &str| world.configure(&format!("syslog: {{tls: 'localhost:{port}', certificates: {tls}}}"));
    configure(&format!("{{ca: '{}'}}", ca.display()))?;
    let refused = world.sinks(&["test", "s"])?;
    ensure!(!refused.status.success(), "taken without a client certificate");
    configure(&mutual(&world))?;
    world.lines(EVENTS, FINDINGS)?;
    let told = world.replay()?;
    until(10, || ids(&fs::read_to_string(&out).unwrap_or_default()) == wanted(EVENTS, FINDINGS));
    let text = fs::read_to_string(&out).unwrap_or_default();
    ensure!(!text.contains("Test of a sink"), "what came without a certificate was kept");
    Ok(arrived(&text, EVENTS, FINDINGS, format!("without a certificate refused; {told}")))
}

fn s_server(world: &World, port: u16, name: &str) -> Result<Receiver> {
    let mut run = Command::new("openssl");
    run.args(["s_server", "-quiet", "-naccept", "3", "-Verify", "1", "-verify_return_error"]);
    run.args(["-accept", &format!("127.0.0.1:{port}")]);
    run.arg("-cert")
        .arg(world.path(&format!("{name}.pem")))
        .arg("-key")
        .arg(world.path(&format!("{name}.key")));
    run.arg("-CAfile").arg(world.path("ca.pem"));
    // It ends with its input.
    run.stdin(Stdio::piped()).stdout(fs::File::create(world.path("received"))?);
    let receiver = Receiver::start_with_its_own_output(&mut run, &world.path("s_server.err"))?;
    // A connection to look whether it listens would count as one of its own.
    let listens = until(10, || real::is_listening(port));
    if !listens {
        bail!("openssl does not listen: {}", fs::read_to_string(world.path("s_server.err"))?);
    }
    Ok(receiver)
}

fn openssl(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    if !certificates(&world) {
        return Ok(Outcome::NotRun("openssl is not installed".into()));
    }
    let port = real::free_port()?;
    let _receiver = s_server(&world, port, "server")?;
    world.configure(&format!("syslog: {{tls: 'localhost:{port}', certificates: {}}}", mutual(&world)))?;
    world.lines(EVENTS, FINDINGS)?;
    let told = world.replay()?;
    until(10, || {
        ids(&fs::read_to_string(world.path("received")).unwrap_or_default()) == wanted(EVENTS, FINDINGS)
    });
    let text = fs::read_to_string(world.path("received"))?;
    // RFC 5425: each message behind its length.
    let (mut rest, mut frames) = (text.as_bytes(), 0);
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&rest[..space])?.parse().context("no length")?;
        let frame = rest.get(space + 1..space + 1 + length).context("a frame is cut")?;
        ensure!(frame.starts_with(b"<"), "no message: {}", String::from_utf8_lossy(frame));
        rest = &rest[space + 1 + length..];
        frames += 1;
    }
    ensure!(frames == EVENTS + FINDINGS, "{frames} frames");
    Ok(arrived(&text, EVENTS, FINDINGS, told))
}

fn wrong_name(monitor: &Path) -> Result<Outcome> {
    let world = World::new(monitor)?;
    if !certificates(&world) {
        return Ok(Outcome::NotRun("openssl is not installed".into()));
    }
    let port = real::free_port()?;
    let _receiver = s_server(&world, port, "other")?;
    world.configure(&format!("syslog: {{tls: 'localhost:{port}', certificates: {}}}", mutual(&world)))?;
    let output = world.sinks(&["test", "s"])?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && told.to_lowercase().contains("certificate"), "{told}");
    ensure!(fs::read_to_string(world.path("received"))?.is_empty(), "it was sent all the same");
    Ok(Outcome::Passed(told.trim().to_owned()))
}

fn mail(monitor: &Path, how: &str) -> Result<Outcome> {
    let world = World::new(monitor)?;
    if !certificates(&world) {
        return Ok(Outcome::NotRun("openssl is not installed".into()));
    }
    let (out, port, place) = (world.path("mails"), real::free_port()?, world.path(""));
    let offered = if how == "stripped" { "none" } else { how };
    let Some(_receiver) = real::mail_server(&place, port, &out, Some(offered))? else {
        return Ok(Outcome::NotRun("aiosmtpd is not installed: `pip install aiosmtpd`".into()));
    };
    let password = world.secret("correct horse")?;
    let encryption = if how == "tls" { "tls" } else { "starttls" };
    world.configure(&format!(
        "mail: {{host: localhost, port: {port}, encryption: {encryption}, user: monitor, password: {{file: '{}'}}, \
         tls: {{ca: '{}'}}, from: monitor@example.org, to: [night@example.org]}}",
        password.display(),
        world.path("ca.pem").display(),
    ))?;
    if how == "stripped" {
        let output = world.sinks(&["test", "s"])?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && !out.exists(), "sent without encryption: {told}");
        return Ok(Outcome::Passed(told.trim().to_owned()));
    }
    world.lines(0, FINDINGS)?;
    let told = world.replay()?;
    until(5, || ids(&fs::read_to_string(&out).unwrap_or_default()) == wanted(0, FINDINGS));
    let text = fs::read_to_string(&out)?;
    ensure!(text.contains("login: monitor over TLSv1"), "not logged in within TLS: {text}");
    Ok(arrived(&text, 0, FINDINGS, told))
}
