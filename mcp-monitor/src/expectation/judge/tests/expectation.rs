//! Servers with an expectation: what it allows, what it finds, and what it cannot change.

use std::{path::PathBuf, sync::Arc};

use super::play::*;
use crate::event::{Process, ProcessKey};
use crate::expectation::{
    file::{Compiled, Set, Subject, read::Source},
    judge::*,
};

fn expecting(body: &str) -> Play {
    let mut play = Play::plain();
    let text = format!("apiVersion: mcp-monitor/v1\nworkload: demo\n{body}");
    let set = Set::of_sources(&[Source { path: PathBuf::from("/etc/x/demo.yaml"), text }]).unwrap();
    let subject = Subject {
        name: "demo".into(),
        workspaces: vec!["/home/u/work".into()],
        home: Some("/home/u".into()),
        ..Subject::default()
    };
    let compiled = Compiled::new(&set.all()[0], &subject).unwrap();
    play.judge.expect("i", Some(Arc::new(compiled)));
    let first = exec("/usr/bin/node");
    play.done(&server(), first);
    play
}

#[test]
fn what_is_named_is_expected_and_the_line_is_told() {
    let mut play = expecting("files:\n  read: ['${workspace}/**']\n  write: ['${workspace}/out/*']\n");
    let event = play.done(&server(), read("/home/u/work/a.txt"));
    assert_eq!((event.verdict, event.rule), (Verdict::Expected, None));
    assert_eq!(event.decision.source, "expectation:/etc/x/demo.yaml");
    assert_eq!(event.decision.line, Some(4));
    assert!(event.decision.revision.is_some());
    let event = play.done(&server(), write("/home/u/work/out/b"));
    assert_eq!((event.verdict, event.decision.line), (Verdict::Expected, Some(5)));
}

#[test]
fn what_is_not_named_is_found() {
    let mut play = expecting(
        "files: {read: ['${workspace}/**'], write: []}\nexec: [git]\negress: []\nunix: []\nclients: []\n",
    );
    assert_eq!(play.rule(&server(), read("/home/u/other/a.txt")), Some(Rule::UnexpectedRead));
    assert_eq!(play.rule(&server(), write("/home/u/work/a.txt")), Some(Rule::UnexpectedWrite));
    let child = process(200, "/usr/bin/curl", None);
    play.done(&server(), Action::Fork(ProcessKey { exec_id: 0, ..child.key }));
    assert_eq!(play.rule(&child, exec("/usr/bin/curl")), Some(Rule::UnexpectedExec));
    let git = process(201, "/usr/bin/git", None);
    play.done(&server(), Action::Fork(ProcessKey { exec_id: 0, ..git.key }));
    assert_eq!(play.done(&git, exec("/usr/bin/git")).verdict, Verdict::Expected);
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), Some(Rule::UnknownEgress));
}

#[test]
fn a_section_that_is_left_out_says_nothing() {
    let mut play = expecting("egress: []\n");
    assert_eq!(play.rule(&server(), read("/home/u/other/a.txt")), None);
    assert_eq!(play.rule(&server(), write("/home/u/other/a.txt")), None);
}

#[test]
fn what_the_runtime_needs_is_not_asked_about() {
    let mut play = expecting("files: {read: []}\n");
    assert_eq!(play.done(&server(), read("/etc/ld.so.cache")).verdict, Verdict::Expected);
    assert_eq!(play.rule(&server(), read("/usr/lib/x86_64-linux-gnu/libc.so.6")), None);
    assert_eq!(play.rule(&server(), read("/home/u/node_modules/a/index.js")), None);
}

#[test]
fn a_glob_never_allows_a_secret_and_its_name_does() {
    let key = "/home/u/.ssh/id_rsa";
    let mut play = expecting("files: {read: ['${home}/.ssh/*']}\n");
    let event = play.done(&server(), read(key));
    assert_eq!((event.verdict, event.rule), (Verdict::Forbidden, Some(Rule::SecretRead)));
    let mut play = expecting("secrets: [ssh-private-key]\n");
    let event = play.done(&server(), read(key));
    assert_eq!((event.verdict, event.rule, event.decision.line), (Verdict::Expected, None, Some(3)));
    let mut play = expecting("secrets: ['${home}/.ssh/id_rsa']\n");
    assert_eq!(play.done(&server(), read(key)).verdict, Verdict::Expected);
    let mut play = expecting("secrets: [aws]\n");
    assert_eq!(play.rule(&server(), read(key)), Some(Rule::SecretRead));
}

#[test]
fn a_network_never_allows_the_metadata_service_and_its_address_does() {
    let mut play = expecting("egress: [169.254.0.0/16]\n");
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 80)), Some(Rule::MetadataEgress));
    let mut play = expecting("egress: ['169.254.169.254:80']\n");
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 80)), None);
}

#[test]
fn a_glob_never_allows_what_makes_code_run_later() {
    let mut play = expecting("files: {write: ['${home}/**/*']}\n");
    assert_eq!(play.rule(&server(), write("/home/u/.bashrc")), Some(Rule::PersistenceWrite));
    let mut play = expecting("files: {write: ['${home}/.bashrc']}\n");
    assert_eq!(play.rule(&server(), write("/home/u/.bashrc")), None);
}

#[test]
fn a_path_that_is_not_certain_is_never_expected() {
    let mut play = expecting("files: {read: ['${workspace}/**']}\n");
    let mut cut = file("/home/u/work/a.txt");
    cut.path.truncated = true;
    assert_ne!(play.done(&server(), Action::Open(cut)).verdict, Verdict::Expected);
}

#[test]
fn a_name_that_nobody_resolved_is_never_expected() {
    let mut play = expecting("egress: ['api.example.com:443']\n");
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), Some(Rule::UnknownEgress));
    play.done(&server(), answer("127.0.0.53", "api.example.com", "192.0.2.1"));
    let event = play.done(&server(), connect("192.0.2.1", 443));
    assert_eq!((event.verdict, event.decision.line), (Verdict::Expected, Some(3)));
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 80)), Some(Rule::UnknownEgress));
}

#[test]
fn learning_is_silent_except_about_what_is_never_learnt() {
    let mut play = expecting("mode: learn\nfiles: {read: []}\negress: []\n");
    for action in [read("/home/u/other/a"), connect("192.0.2.1", 443)] {
        let event = play.done(&server(), action);
        assert_eq!((event.verdict, event.rule), (Verdict::Unjudged, None));
    }
    assert_eq!(play.rule(&server(), read("/home/u/.ssh/id_rsa")), Some(Rule::SecretRead));
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 80)), Some(Rule::MetadataEgress));
    assert_eq!(play.rule(&server(), write("/home/u/.bashrc")), Some(Rule::PersistenceWrite));
}

#[test]
fn observing_records_and_finds_nothing() {
    let mut play = expecting("mode: observe\negress: []\n");
    let event = play.done(&server(), connect("192.0.2.1", 443));
    assert_eq!((event.verdict, event.rule), (Verdict::Unexpected, None));
    let mut play = expecting("enforce: {egress: observe}\negress: []\nfiles: {read: []}\n");
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), None);
    assert_eq!(play.rule(&server(), read("/home/u/other/a")), Some(Rule::UnexpectedRead));
}

#[test]
fn what_failed_is_no_finding() {
    let mut play = expecting("files: {read: []}\n");
    let event = play.tried(&server(), read("/home/u/other/a"), Outcome::Failed(libc::ENOENT));
    assert_eq!((event.verdict, event.rule), (Verdict::Unjudged, None));
    let event = play.tried(&server(), read("/home/u/other/a"), Outcome::Failed(libc::EACCES));
    assert_eq!((event.verdict, event.rule), (Verdict::Unexpected, None));
}

#[test]
fn without_it_nothing_changes() {
    let mut play = expecting("files: {read: []}\n");
    play.judge.expect("i", None);
    assert_eq!(play.rule(&server(), read("/home/u/other/a")), None);
}

#[test]
fn a_server_that_is_a_shell_script_goes_by_its_expectation() {
    let text = "files: {read: ['${workspace}/**'], write: []}\nexec: [jq]\n";
    let shell = process(300, "/usr/bin/dash", Some("/home/u/work/server.sh"));
    let mut play = expecting(text);
    assert_eq!(play.rule(&shell, exec("/usr/bin/dash")), None, "it begins");
    assert_eq!(play.rule(&shell, read("/home/u/work/a")), None);
    assert_eq!(play.rule(&shell, read("/home/u/other/a")), Some(Rule::UnexpectedRead));
    for (pid, program, found) in
        [(301, "/usr/bin/jq", None), (302, "/usr/bin/tar", Some(Rule::UnexpectedExec))]
    {
        let child = process(pid, program, None);
        play.done(&shell, Action::Fork(ProcessKey { exec_id: 1, ..child.key }));
        let child = Process { key: ProcessKey { exec_id: 2, ..child.key }, ..child };
        assert_eq!(play.rule(&child, exec(program)), found, "{program}");
        assert_eq!(play.rule(&child, write("/home/u/work/b")), Some(Rule::UnexpectedWrite), "{program}");
    }
}

#[test]
fn a_script_that_hands_over_to_the_server_is_no_finding() {
    let mut play = expecting("exec: []\n");
    let shell = process(310, "/usr/bin/dash", Some("/home/u/work/run.sh"));
    play.done(&shell, exec("/usr/bin/dash"));
    let node = Process {
        key: ProcessKey { exec_id: 2, ..shell.key },
        ..process(310, "/usr/bin/node", Some("/home/u/work/s.js"))
    };
    assert_eq!(play.rule(&node, exec("/usr/bin/node")), None);
}
