//! `mcp-monitor selftest`: proves that what matters most is seen and told, from the kernel to the finding.
//!
//! A copy of this program reads a canary, a scratch file where a private key would lie, and connects to a listener on
//! loopback that nobody declared, watched by a sensor like any other command. All that is told of it is marked `test`.

use super::{
    arguments::MonitorOptions, exit_code::Exit, identity::RunAs, preconditions, signals::Signals,
    spawn::hold, watch::supervise,
};
use crate::{
    daemon::{self, Phase, Report, Roots},
    event::{Finding, Rule},
    render::{
        Format, Origin, Stream,
        stream::{Colour, Destination},
    },
};
use anyhow::Context as _;
use clap::Args;
use mcp_monitor_common::mechanism::Tier;
use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Read as _, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};
use tokio::sync::watch;

/// Options of `selftest`.
#[derive(Clone, Debug, Args)]
pub(super) struct Selftest {
    #[command(flatten)]
    monitor: MonitorOptions,
    /// Show what was told as JSON lines.
    #[arg(long)]
    json: bool,
    /// Be the watched program: read this file and connect to this port.
    #[arg(long, hide = true, num_args = 2, value_names = ["FILE", "PORT"])]
    act: Option<Vec<OsString>>,
}

/// What the canary does, and what has to come of it.
const EXPECTED: [(Rule, &str); 2] = [
    (Rule::SecretRead, "a secret was read"),
    (Rule::UnknownEgress, "a connection to where nobody declared one"),
];

impl Selftest {
    /// Runs it.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        if let Some(act) = &self.act {
            return act_as_canary(act);
        }
        if let Some(exit) = preconditions("selftest") {
            return Ok(exit);
        }
        let scratch = Scratch::make()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on loopback")?;
        let port = listener.local_addr()?.port();
        let secret = scratch.secret();
        let program = env::current_exe().context("find this program")?;
        let command: Vec<OsString> = vec![
            program.into(),
            "selftest".into(),
            "--act".into(),
            secret.clone().into(),
            port.to_string().into(),
        ];
        let destination = if self.json {
            Destination::standard_output()?
        } else {
            Destination::file(Path::new("/dev/null"))?
        };
        let mut origin = Origin::of_this_host(Tier::Lsm);
        origin.test = true;
        let mut stream = Stream::new(origin, Format::Json, destination, Colour::Never, false);
        let held = match hold(&command, &RunAs::Unchanged) {
            Ok(held) => held,
            Err(error) => {
                super::say(&error);
                return Ok(Exit::from(&error));
            }
        };
        let roots =
            Roots { command: Some((held.pid, command)), homes: vec![scratch.home()], ..Roots::default() };
        let settings = self.monitor.settings(roots);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (report, ended) = runtime.block_on(async {
            let signals = Signals::new()?;
            let (phase, phases) = watch::channel(Phase::Running);
            let gate = held.gate;
            let watched = daemon::run(settings, &mut stream, move || gate.release(), phases);
            anyhow::Ok(tokio::join!(watched, supervise(held.ended, &held.handle, signals, phase)))
        })?;
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                super::say(&error);
                return Ok(Exit::from(&error));
            }
        };
        if !ended.is_ok_and(|status| status.success()) {
            super::say(&"the canary could not do what it has to: is loopback up?");
            return Ok(Exit::Failed);
        }
        Ok(if self.judge(&report, &secret, port) { Exit::Ok } else { Exit::Failed })
    }

    /// Says of each thing that was done whether it was told.
    fn judge(&self, report: &Report, secret: &Path, port: u16) -> bool {
        use std::fmt::Write as _;
        let mut all = true;
        let mut lines = String::new();
        for (rule, what) in EXPECTED {
            let found = report
                .summary
                .findings
                .iter()
                .find(|finding| finding.rule == rule && is_about(finding, secret, port));
            all &= found.is_some();
            let state = match found {
                Some(finding) => format!("found: {} ({})", rule.id(), finding.severity.name()),
                None => format!("NOT FOUND: {} did not arrive", rule.id()),
            };
            // Writing into a String cannot fail.
            let _ = writeln!(lines, "{what}: {state}");
        }
        lines.push_str(if all {
            "all of it was seen, judged and told\n"
        } else {
            "something was not told: `mcp-monitor doctor` says what this host does not offer\n"
        });
        let written = if self.json {
            io::stderr().write_all(lines.as_bytes())
        } else {
            io::stdout().write_all(lines.as_bytes())
        };
        // Nobody to tell when the output is closed; the status tells.
        let _ = written;
        all
    }
}

fn is_about(finding: &Finding, secret: &Path, port: u16) -> bool {
    let file = finding.action.file();
    let network = finding.action.network();
    file.is_some_and(|file| file.path.bytes.as_slice() == secret.as_os_str().as_bytes())
        || network.is_some_and(
            |network| matches!(network.remote, crate::event::Endpoint::Internet(_, to) if to == port),
        )
}

/// The watched program.
fn act_as_canary(act: &[OsString]) -> anyhow::Result<Exit> {
    let [file, port] = act else { anyhow::bail!("--act takes a file and a port") };
    let mut text = String::new();
    fs::File::open(file).context("open the canary")?.read_to_string(&mut text).context("read the canary")?;
    let port: u16 = port.to_str().and_then(|port| port.parse().ok()).context("a port")?;
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect to loopback")?);
    Ok(Exit::Ok)
}

/// A home of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> anyhow::Result<Self> {
        // Not below /run: nobody's home lies there, and a key outside of a home is none.
        let state =
            env::var_os("STATE_DIRECTORY").map_or_else(|| "/var/lib/mcp-monitor".into(), PathBuf::from);
        let folder = state.join(format!("selftest-{}", std::process::id()));
        let scratch = Self(folder);
        let keys = scratch.home().join(".ssh");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&keys)
            .with_context(|| format!("make {}", keys.display()))?;
        let secret = scratch.secret();
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&secret)?;
        file.write_all(b"a canary of mcp-monitor selftest, and no key\n")?;
        Ok(scratch)
    }

    fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    fn secret(&self) -> PathBuf {
        self.home().join(".ssh/id_ed25519")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is a canary in a folder of root's.
        let _ = fs::remove_dir_all(&self.0);
    }
}
