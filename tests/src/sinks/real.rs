//! Real receivers: rsyslog, aiosmtpd, and journald where it runs.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::world::until;

/// A receiver that ends with its case.
pub(crate) struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody has just now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|place| Path::new(place).join(name))
        .find(|path| path.exists())
}

/// How rsyslog listens.
#[derive(Clone, Copy)]
pub(crate) enum Listen<'a> {
    Udp(u16),
    Tcp(u16),
    Unix(&'a Path),
}

/// rsyslog, writing what it understood as one JSON object a line to `out`; `None` where it is not installed.
pub(crate) fn rsyslog(place: &Path, listen: Listen<'_>, out: &Path) -> Result<Option<Receiver>> {
    let Some(rsyslogd) = program("rsyslogd") else { return Ok(None) };
    let input = match listen {
        Listen::Udp(port) => {
            format!("module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")")
        }
        Listen::Tcp(port) => {
            format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")")
        }
        Listen::Unix(path) => format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"{}\" UseSpecialParser=\"off\" ParseHostname=\"on\")",
            path.display()
        ),
    };
    let configuration = place.join("rsyslog.conf");
    fs::write(
        &configuration,
        format!(
            "global(workDirectory=\"{0}\" maxMessageSize=\"256k\")\n{input}\nmodule(load=\"mmpstrucdata\")\n\
             action(type=\"mmpstrucdata\")\n\
             template(name=\"all\" type=\"string\" string=\"%app-name% %msgid% %hostname% %$!rfc5424-sd% %msg%\\n\")\n\
             action(type=\"omfile\" file=\"{1}\" template=\"all\" asyncWriting=\"off\" flushOnTXEnd=\"on\")\n",
            place.display(),
            out.display(),
        ),
    )?;
    let child = Command::new(rsyslogd)
        .args(["-n", "-iNONE", "-f"])
        .arg(&configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.join("rsyslog.err"))?)
        .spawn()?;
    let receiver = Receiver(child);
    let listens = until(10, || match listen {
        Listen::Tcp(port) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
        Listen::Unix(path) => path.exists(),
        // There is nothing to see of a UDP port but that somebody has it.
        Listen::Udp(port) => std::net::UdpSocket::bind(("127.0.0.1", port)).is_err(),
    });
    if !listens {
        bail!("rsyslog does not listen: {}", fs::read_to_string(place.join("rsyslog.err"))?);
    }
    Ok(Some(receiver))
}

/// A mail server that appends each mail to `out`; `None` where aiosmtpd is not installed.
pub(crate) fn mail_server(place: &Path, port: u16, out: &Path) -> Result<Option<Receiver>> {
    let known = Command::new("python3").args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
    if !known.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let script = place.join("mail.py");
    fs::write(&script, include_str!("mail.py"))?;
    let child = Command::new("python3")
        .arg(&script)
        .arg(port.to_string())
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.join("mail.err"))?)
        .spawn()
        .context("python3")?;
    let receiver = Receiver(child);
    if !until(15, || TcpStream::connect(("127.0.0.1", port)).is_ok()) {
        bail!("the mail server does not listen: {}", fs::read_to_string(place.join("mail.err"))?);
    }
    Ok(Some(receiver))
}
