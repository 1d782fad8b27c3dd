//! What the options of `watch` must do.

use anyhow::{Context, Result, ensure};
use mcp_monitor_tests::world::{PORT, PUBLIC4};

use crate::{
    monitor::{Said, Setup, ending},
    robustness::Check,
};

/// All checks of this file.
pub(crate) const CHECKS: &[Check] = &[
    ("--secret lets one be read", secret),
    ("--allow-egress declares a destination", allow_egress),
    ("--fail-on fails for what was found and for nothing else", fail_on),
    ("--no-relief sends every repetition", no_relief),
    ("the lineage of a finding names its forebears", ancestors),
];

/// The exit status for a finding that `--fail-on` names.
const FOUND: i32 = 10;

/// Performs one case under the monitor with more options.
fn perform(setup: &Setup, name: &str, options: &[&str], case: &[&str]) -> Result<Said> {
    let mut command = setup.attack();
    command.extend(case.iter().map(|word| (*word).to_owned()));
    command.extend(["--report", "/dev/null"].map(str::to_owned));
    setup.run(name, options, &command, 60)
}

fn secret(setup: &Setup) -> Result<()> {
    let secret = setup.world.secret("plain");
    let said = perform(setup, "option-secret", &["--secret", &secret.to_string_lossy()], &["plain"])?;
    let text: Vec<_> = said.of("finding").map(|finding| finding["message"].to_string()).collect();
    ensure!(text.is_empty(), "found: {text:?}");
    let opened = said.of("event").find(|event| event["file"]["path"] == *secret.to_string_lossy());
    let opened = opened.context("the open was not told")?;
    ensure!(opened["verdict"] == "expected", "reading the declared secret is {}", opened["verdict"]);
    Ok(())
}

fn allow_egress(setup: &Setup) -> Result<()> {
    let destination = format!("{PUBLIC4}:{PORT}");
    let said = perform(setup, "option-allow", &["--allow-egress", &destination], &["tcp4"])?;
    let text: Vec<_> = said.of("finding").map(|finding| finding["message"].to_string()).collect();
    ensure!(text.is_empty(), "found: {text:?}");
    let event = said.of("event").find(|event| event["kind"] == "connect" && event["network"]["port"] == PORT);
    let event = event.context("the connection was not told")?;
    ensure!(event["verdict"] == "expected", "the declared connection is {}", event["verdict"]);
    Ok(())
}

fn fail_on(setup: &Setup) -> Result<()> {
    for (on, case, must_fail) in [
        ("secret-read", &["plain"][..], true),
        ("metadata-egress", &["plain"], false),
        ("low", &["plain"], true),
        ("low", &["plain", "--benign"], false),
    ] {
        let said = perform(setup, "option-fail-on", &["--fail-on", on], case)?;
        let status = said.status.context("it did not end")?;
        ensure!(
            status.code() == Some(if must_fail { FOUND } else { 0 }),
            "--fail-on {on} with {case:?}: the monitor {}\n{}",
            ending(said.status),
            said.talk
        );
    }
    Ok(())
}

/// A shell opens the same file a hundred times.
fn no_relief(setup: &Setup) -> Result<()> {
    let file = setup.world.scratch.join("repeated.txt");
    std::fs::write(&file, "")?;
    let script = format!("i=0; while [ $i -lt 100 ]; do : <'{}'; i=$((i+1)); done", file.display());
    let command = ["/bin/sh".to_owned(), "-c".to_owned(), script];
    for (options, all_sent) in [(&["--no-relief"][..], true), (&[], false)] {
        let said = setup.run("option-relief", options, &command, 60)?;
        let path = file.to_string_lossy();
        let opens =
            said.of("event").filter(|event| event["kind"] == "open" && event["file"]["path"] == *path);
        let counts: Vec<u64> = opens.filter_map(|open| open["count"].as_u64()).collect();
        ensure!(counts.iter().sum::<u64>() == 100, "{options:?}: {counts:?} opens, not 100 in all");
        ensure!(!all_sent || counts.len() == 100, "{options:?}: {} events, not 100", counts.len());
    }
    Ok(())
}

/// A shell in a shell in a shell reads a secret: the finding names all three.
fn ancestors(setup: &Setup) -> Result<()> {
    let secret = setup.world.secret("plain");
    let inner = format!("read -r line <\"{}\"; exit 0", secret.display());
    let script = "sh -c 'sh -c \"$0\" \"$0\"; exit 0' \"$0\"; exit 0";
    let command = ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned(), inner];
    let said = setup.run("option-ancestors", &[], &command, 60)?;
    let finding = said.of("finding").find(|finding| finding["rule"] == "secret-read");
    let finding = finding.with_context(|| format!("nothing was found\n{}", said.talk))?;
    let ancestors = finding["process"]["ancestors"].as_array().map_or(0, Vec::len);
    ensure!(ancestors >= 2, "the finding names {ancestors} ancestors: {}", finding["process"]);
    Ok(())
}
