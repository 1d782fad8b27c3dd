//! The watched run: the monitor as root, the client below it, and the stream of what it says.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{plan::Plan, scratch::Scratch, servers::Servers, stream::Seen, user::User};
use crate::command;

/// Everything a watched run is made of.
pub(super) struct Run<'a> {
    /// The program.
    pub(super) monitor: &'a Path,
    /// For whom the client runs.
    pub(super) user: &'a User,
    /// What runs.
    pub(super) servers: &'a Servers,
    /// Where.
    pub(super) scratch: &'a Scratch,
    /// What is declared.
    pub(super) plan: &'a Plan,
}

impl Run<'_> {
    /// Runs the client under the monitor until it ends, printing the stream.
    pub(super) fn watch(&self, plan_file: &Path) -> Result<Seen> {
        let mut watch = self.command(plan_file)?;
        println!("demo: {}\n", self.declared());
        let mut child = watch
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", command::shown(&watch)))?;
        let Some(stream) = child.stdout.take() else { bail!("the monitor was started without a pipe") };
        let mut seen = Seen::default();
        let read = seen.read(stream);
        let status = child.wait().context("cannot wait for the monitor")?;
        read.context("cannot read what the monitor says")?;
        self.scratch.write("stream.jsonl", &seen.stream)?;
        // It ends as the client did, so anything else is either the client's failure or its own, told on stderr.
        if !status.success() {
            bail!("the watched run did not end well ({status}); what monitor and client said is above");
        }
        Ok(seen)
    }

    /// `mcp-monitor watch` with the declarations, in the environment of the servers.
    fn command(&self, plan_file: &Path) -> Result<Command> {
        // `env` carries the environment through sudo, which would reset it.
        let mut watch = command::as_root("env");
        for (name, value) in self.servers.environment(Some(&self.scratch.home())) {
            let mut pair = std::ffi::OsString::from(name);
            pair.push("=");
            pair.push(value);
            watch.arg(pair);
        }
        watch.arg(self.monitor).args(["watch", "-o", "json"]).args(self.declarations());
        if self.user.only_root {
            watch.arg("--as-root");
        }
        watch.arg("--").arg(self.servers.python()).args(self.servers.client_arguments(plan_file)?);
        Ok(watch)
    }

    fn declarations(&self) -> Vec<String> {
        // What is watched is the client's lineage, and of that npx and uvx are a part: they ask their registries.
        let destinations = std::iter::once(self.plan.near.to_string());
        let destinations = destinations.chain(self.servers.registries().destinations());
        let mut words: Vec<String> = destinations.flat_map(|to| ["--allow-egress".into(), to]).collect();
        words.extend(["--allow-read".into(), format!("{}/documents/**", self.scratch.home().display())]);
        words
    }

    fn declared(&self) -> String {
        format!("mcp-monitor watch {} -- the client and its two servers", self.declarations().join(" "))
    }
}
