//! Whether the monitor did its job: both bad actions found, nothing else.

use std::fmt;

use serde_json::Value;

use super::{
    plan::Plan,
    stream::{Seen, text, told},
};

/// What came of the run.
pub(super) struct Outcome {
    ordinary: String,
    bad: [(&'static str, Option<String>); 2],
    besides: Vec<String>,
    arrived: Vec<String>,
    losses: Option<String>,
}

impl Outcome {
    /// Compares what the monitor said with what was done.
    pub(super) fn judge(plan: &Plan, seen: &Seen, arrived: &[String]) -> Self {
        let read = seen.findings.values().find(|finding| is_secret_read(finding, plan));
        let fetch = seen.findings.values().find(|finding| is_undeclared_egress(finding, plan));
        let known = |finding: &&Value| [read, fetch].iter().flatten().any(|it| std::ptr::eq(*it, *finding));
        let besides = seen.findings.values().filter(|finding| !known(finding)).map(told).collect();
        let ordinary = seen.verdicts().into_iter().map(|verdict| {
            let kinds = seen.by_kind(verdict);
            let sum: u64 = kinds.iter().map(|(_, count)| count).sum();
            let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            format!("{sum} {verdict} ({})", kinds.join(", "))
        });
        let ordinary = ordinary.collect::<Vec<_>>().join("; ");
        let losses = seen.summary.as_ref().map(|summary| summary["losses"].to_string());
        Self {
            ordinary,
            bad: [
                ("the filesystem server read a private key", read.map(told)),
                ("the fetch server went where it was not declared to go", fetch.map(told)),
            ],
            besides,
            arrived: arrived.to_vec(),
            losses: losses.filter(|losses| losses != "null"),
        }
    }

    /// Both found, nothing else found, ordinary work seen, and the fetch did arrive.
    pub(super) fn good(&self) -> bool {
        self.bad.iter().all(|(_, found)| found.is_some())
            && self.besides.is_empty()
            && !self.ordinary.is_empty()
            && !self.arrived.is_empty()
    }
}

/// The read of the fake key by the node process that is the filesystem server.
fn is_secret_read(finding: &Value, plan: &Plan) -> bool {
    text(finding, "/rule") == "secret-read"
        && text(finding, "/file/path") == plan.secret().to_string_lossy()
        && is_process(finding, "node", "mcp-server-filesystem")
}

/// The connection to the undeclared listener by the Python process that is the fetch server. A secret was read shortly
/// before in the same watch, so that it is told as more than an unknown destination.
fn is_undeclared_egress(finding: &Value, plan: &Plan) -> bool {
    matches!(text(finding, "/rule"), "unknown-egress" | "exfiltration")
        && text(finding, "/network/address") == plan.far.ip().to_string()
        && finding["network"]["port"] == plan.far.port()
        && is_process(finding, "python", "mcp-server-fetch")
}

/// Whether `finding` names a process running `program` with `script` among its arguments.
fn is_process(finding: &Value, program: &str, script: &str) -> bool {
    let process = &finding["process"];
    let arguments = process["args"].as_array().map_or(&[][..], Vec::as_slice);
    process["pid"].as_u64().is_some_and(|pid| pid > 0)
        && text(process, "/exe").rsplit('/').next().is_some_and(|name| name.starts_with(program))
        && arguments.iter().filter_map(Value::as_str).any(|argument| argument.contains(script))
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ordinary, bad, besides, arrived, losses } = self;
        writeln!(
            formatter,
            "\ndemo: what was seen: {}",
            if ordinary.is_empty() { "nothing" } else { ordinary }
        )?;
        if let Some(losses) = losses {
            writeln!(formatter, "demo: losses: {losses}")?;
        }
        for (what, found) in bad {
            match found {
                Some(finding) => writeln!(formatter, "CAUGHT  {what}\n        {finding}")?,
                None => writeln!(formatter, "MISSED  {what}")?,
            }
        }
        match arrived.as_slice() {
            [] => writeln!(
                formatter,
                "FAILED  the undeclared listener's own log is empty: the fetch never arrived"
            )?,
            lines => {
                writeln!(formatter, "        the undeclared listener's own log:")?;
                lines.iter().try_for_each(|line| writeln!(formatter, "        {line}"))?;
            }
        }
        for finding in besides {
            writeln!(formatter, "FALSE   flagged besides: {finding}")?;
        }
        if self.good() {
            write!(formatter, "demo: both bad actions were caught and nothing else was flagged")
        } else {
            write!(formatter, "demo: FAILED: not both, or not only both, were flagged")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use serde_json::json;

    use super::{Outcome, Plan, Seen};

    fn plan() -> Plan {
        Plan {
            home: "/tmp/home".into(),
            near: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80),
            far: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 8080),
        }
    }

    fn seen() -> Seen {
        let mut seen = Seen::default();
        seen.events.insert(("expected".into(), "open".into()), 9);
        let node =
            json!({"pid": 5, "exe": "/usr/bin/node", "args": ["node", "/c/.bin/mcp-server-filesystem"]});
        let python =
            json!({"pid": 6, "exe": "/usr/bin/python3.11", "args": ["python", "/c/bin/mcp-server-fetch"]});
        let read = json!({"rule": "secret-read", "process": node, "file": {"path": "/tmp/home/.ssh/id_rsa"}});
        let fetch = json!({"rule": "unknown-egress", "process": python,
                           "network": {"address": "192.0.2.2", "port": 8080}});
        seen.findings.insert("a".into(), read);
        seen.findings.insert("b".into(), fetch);
        seen
    }

    #[test]
    fn both_and_only_both() {
        let arrived = ["'GET /' answered".to_owned()];
        assert!(Outcome::judge(&plan(), &seen(), &arrived).good());
        assert!(!Outcome::judge(&plan(), &seen(), &[]).good(), "nothing arrived");
        let mut more = seen();
        more.findings.insert("c".into(), json!({"rule": "unknown-egress"}));
        assert!(!Outcome::judge(&plan(), &more, &arrived).good(), "something else was flagged");
        let mut fewer = seen();
        fewer.findings.remove("a");
        assert!(!Outcome::judge(&plan(), &fewer, &arrived).good(), "one was missed");
        let mut other = seen();
        for finding in other.findings.values_mut() {
            finding["process"]["exe"] = json!("/usr/bin/cat");
        }
        assert!(!Outcome::judge(&plan(), &other, &arrived).good(), "another process");
    }
}
