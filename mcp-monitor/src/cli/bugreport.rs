//! `mcp-monitor bugreport`: what somebody who helps needs to know, as one text that holds nothing of what was watched.
//!
//! No paths, names, arguments or destinations of workloads: numbers, versions and what the host offers. It is printed, so
//! that it can be read before it is sent.

use super::{exit_code::Exit, query::client};
use crate::{
    control::{Filter, api::Status},
    event::escape,
    host::{kernel::Facts, kernel_checks::checks},
};
use clap::Args;
use jiff::Timestamp;
use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

/// Says which distribution it is.
const DISTRIBUTION: &str = "/etc/os-release";

/// Options of `bugreport`.
#[derive(Clone, Debug, Args)]
pub(super) struct Bugreport {
    /// The monitor's socket [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Bugreport {
    /// Looks and prints.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let status = client(self.socket.as_ref()).get::<Status>("/v1/status", &Filter::default());
        let status = status.map_err(|error| error.to_string());
        let text = report(&Facts::read(), &distribution(), status.as_ref());
        match io::stdout().write_all(text.as_bytes()) {
            // A reader that has seen enough is no error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
            other => Ok(other.map(|()| Exit::Ok)?),
        }
    }
}

/// Name and version of the distribution.
fn distribution() -> String {
    let text = fs::read_to_string(DISTRIBUTION).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    escape(name.unwrap_or("unknown").trim_matches('"').as_bytes())
}

fn report(facts: &Facts, distribution: &str, status: Result<&Status, &String>) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write(&mut text, facts, distribution, status);
    text
}

fn write(
    text: &mut String,
    facts: &Facts,
    distribution: &str,
    status: Result<&Status, &String>,
) -> std::fmt::Result {
    writeln!(text, "mcp-monitor bug report of {}", Timestamp::now())?;
    writeln!(
        text,
        "version {} (wire {:016x})",
        env!("CARGO_PKG_VERSION"),
        mcp_monitor_common::digest::ABI_DIGEST
    )?;
    writeln!(
        text,
        "distribution {distribution}, kernel {} {}",
        escape(facts.release.as_bytes()),
        facts.machine
    )?;
    writeln!(text, "\nHost")?;
    for check in checks(facts) {
        writeln!(text, "  {:<5} {}: {}", check.state.name(), check.name, escape(check.found.as_bytes()))?;
        if let Some(consequence) = &check.consequence {
            writeln!(text, "        {}", escape(consequence.as_bytes()))?;
        }
    }
    writeln!(text, "\nMonitor")?;
    match status {
        Err(why) => writeln!(text, "  {}", escape(why.as_bytes()))?,
        Ok(status) => {
            let events = &status.events;
            writeln!(text, "  version {}, tier {}, up {} s", status.version, status.tier, status.uptime_s)?;
            writeln!(text, "  alive {}, ready {}", status.alive, status.ready)?;
            writeln!(
                text,
                "  {} instances run of {}, {} processes, {:.1} events/s",
                status.instances_running, status.instances, status.processes, status.events_per_second
            )?;
            writeln!(
                text,
                "  events: {} expected, {} unexpected, {} forbidden, {} unjudged",
                events.expected, events.unexpected, events.forbidden, events.unjudged
            )?;
            let of = &status.findings;
            writeln!(
                text,
                "  findings: {} critical, {} high, {} medium, {} low",
                of.critical, of.high, of.medium, of.low
            )?;
            for loss in &status.losses {
                writeln!(text, "  lost: {} {}", loss.count, loss.cause)?;
            }
            let control = &status.control;
            writeln!(
                text,
                "  control: {} connections, {} followers, queue {}, dropped {}, held {}",
                control.connections, control.followers, control.queue, control.queue_dropped, control.held
            )?;
        }
    }
    writeln!(text, "\nNothing of what was watched is in here. Please add what you did and what you expected.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_helps_and_nothing_of_what_was_watched() {
        let status = Status { host: "secret-host".into(), tier: "lsm".into(), ..Status::default() };
        let text = report(&Facts::default(), "Debian", Ok(&status));
        assert!(text.contains("tier lsm") && text.contains("distribution Debian"), "{text}");
        assert!(!text.contains("secret-host"));
        let without_time = |text: &str| {
            let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
            // The wire's digest changes with each layout.
            rest.split_once('\n').map_or("", |(_, rest)| rest).to_owned()
        };
        insta::assert_snapshot!(without_time(&text));
        let text = report(&Facts::default(), "Debian", Err(&"no monitor\n\u{1b}[2J".to_owned()));
        assert!(text.contains("no monitor") && !text.contains('\u{1b}'), "{text}");
    }
}
