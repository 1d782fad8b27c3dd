//! What the options of `watch` must do.

use anyhow::{Context, Result, ensure};
use mcp_monitor_tests::world::{PORT, PUBLIC4};

use crate::{
    monitor::{Said, Setup, ending},
    robustness::Check,
};

/// All checks of this file.
pub(crate) const CHECKS: &[Check] = &[
    ("--secret makes any file one", secret),
    ("--allow-egress declares a destination", allow_egress),
    ("--fail-on fails for what was found and for nothing else", fail_on),
    ("--no-relief sends every repetition", no_relief),
    ("the lineage of a finding names its forebears", ancestors),
];

/// Performs one case under the monitor with more options.
fn perform(setup: &Setup, name: &str, options: &[&str], case: &[&str]) -> Result<Said> {
    let mut command = setup.attack();
    command.extend(case.iter().map(|word| (*word).to_owned()));
    command.extend(["--report", "/dev/null"].map(str::to_owned));
    setup.run(name, options, &command, 60)
}

fn found(said: &Said, rule: &str) -> usize {
    said.of("finding").filter(|finding| finding["rule"] == rule).count()
}

fn secret(setup: &Setup) -> Result<()> {
    let desk = setup.world.desk("plain", true);
    std::fs::create_dir_all(&desk)?;
    let file = desk.join("ordinary.txt");
    std::fs::write(&file, "not there yet")?;
    let option = ["--secret", &file.to_string_lossy()];
    let said = perform(setup, "option-secret", &option, &["plain", "--benign"])?;
    ensure!(
        found(&said, "secret-read") == 1,
        "{} findings secret-read\n{}",
        found(&said, "secret-read"),
        said.talk
    );
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
            status.success() != must_fail,
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
