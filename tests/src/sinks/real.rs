//! Real receivers: rsyslog, syslog-ng, journald, nats-server, aiosmtpd.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::world::until;

/// A receiver that ends with its case.
pub(crate) struct Receiver(Child);

impl Receiver {
    /// Starts `run`, which says nothing; its complaints go to `complaints`.
    pub(crate) fn start(run: &mut Command, complaints: &Path) -> Result<Self> {
        run.stdin(Stdio::null()).stdout(Stdio::null());
        Self::start_with_its_own_output(run, complaints)
    }

    /// Starts `run`, whose input and output are set.
    pub(crate) fn start_with_its_own_output(run: &mut Command, complaints: &Path) -> Result<Self> {
        // Behind a launcher there is another process, which must end with it.
        let run = run.stderr(fs::File::create(complaints)?).process_group(0);
        Ok(Self(run.spawn().with_context(|| run.get_program().display().to_string())?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|ended| ended.is_some())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.0.id()) {
            // SAFETY: a signal to the group that was made with the process, which is not waited for yet.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        // Already gone is as good.
        let _ = self.0.wait();
    }
}

/// A port that nobody has just now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Where `name` is: on the search path, or where Debian keeps servers.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(places).map(|place| place.join(name)).find(|path| path.is_file())
}

/// A file of a package that was unpacked beside `program` instead of installed, or the host's own.
pub(crate) fn beside(program: &Path, path: &str) -> Option<PathBuf> {
    // PREFIX/usr/bin/NAME
    let own = program.ancestors().nth(3).map(|prefix| prefix.join(path));
    own.into_iter().chain([Path::new("/").join(path)]).find(|path| path.exists())
}

/// Whether somebody listens at `port`, without a connection to it.
pub(crate) fn is_listening(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.contains(&format!(":{port:04X} 00000000:0000 0A"))
}

/// How rsyslog listens.
#[derive(Clone, Copy)]
pub(crate) enum Listen<'a> {
    Udp(u16),
    Tcp(u16),
    /// With certificates, and only for who has one, too.
    Tls(u16),
    Unix(&'a Path),
}

/// rsyslog, writing what it understood as one JSON object a line to `out`; `None` where it is not installed.
pub(crate) fn rsyslog(place: &Path, listen: Listen<'_>, out: &Path) -> Result<Option<Receiver>> {
    let Some(rsyslogd) = program("rsyslogd") else { return Ok(None) };
    let modules = "/usr/lib/x86_64-linux-gnu/rsyslog";
    // The module for TLS is a package of its own, which may have been unpacked instead of installed.
    let tools =
        program("promtool").and_then(|tool| beside(&tool, "usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so"));
    let more = tools.as_deref().and_then(Path::parent).unwrap_or(Path::new(modules));
    if matches!(listen, Listen::Tls(_)) && !more.join("lmnsd_gtls.so").exists() {
        return Ok(None);
    }
    let input = match listen {
        Listen::Udp(port) => {
            format!("module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")")
        }
        Listen::Tcp(port) => {
            format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")")
        }
        Listen::Tls(port) => format!(
            "global(defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{0}/ca.pem\" \
             defaultNetstreamDriverCertFile=\"{0}/server.pem\" defaultNetstreamDriverKeyFile=\"{0}/server.key\")\n\
             module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" \
             StreamDriver.AuthMode=\"x509/name\" PermittedPeer=[\"monitor\"])\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")",
            place.display()
        ),
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
    let mut run = Command::new(rsyslogd);
    run.arg(format!("-M{modules}:{}", more.display())).args(["-n", "-iNONE", "-f"]).arg(&configuration);
    let receiver = Receiver::start(&mut run, &place.join("rsyslog.err"))?;
    let listens = until(10, || match listen {
        Listen::Tcp(port) | Listen::Tls(port) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
        Listen::Unix(path) => path.exists(),
        // There is nothing to see of a UDP port but that somebody has it.
        Listen::Udp(port) => std::net::UdpSocket::bind(("127.0.0.1", port)).is_err(),
    });
    if !listens {
        bail!("rsyslog does not listen: {}", fs::read_to_string(place.join("rsyslog.err"))?);
    }
    Ok(Some(receiver))
}

/// A mail server that appends each mail to `out`, with `encryption` by the certificates in `place`; `None` where aiosmtpd is
/// not installed.
pub(crate) fn mail_server(
    place: &Path,
    port: u16,
    out: &Path,
    encryption: Option<&str>,
) -> Result<Option<Receiver>> {
    // The host's own first: the one on the search path may be an environment without Debian's packages.
    let knows = |python: &&str| {
        let mut ask = Command::new(python);
        let known = ask.args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        known.is_ok_and(|status| status.success())
    };
    let Some(python) = ["/usr/bin/python3", "python3"].into_iter().find(knows) else { return Ok(None) };
    let script = place.join("mail.py");
    fs::write(&script, include_str!("mail.py"))?;
    let mut run = Command::new(python);
    run.arg(&script).arg(port.to_string()).arg(out);
    if let Some(encryption) = encryption {
        run.arg(encryption).args([place.join("server.pem"), place.join("server.key")]);
    }
    let receiver = Receiver::start(&mut run, &place.join("mail.err"))?;
    if !until(15, || TcpStream::connect(("127.0.0.1", port)).is_ok()) {
        bail!("the mail server does not listen: {}", fs::read_to_string(place.join("mail.err"))?);
    }
    Ok(Some(receiver))
}
