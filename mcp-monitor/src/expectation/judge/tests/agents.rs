//! Agents are judged by consequence, and by what is known of the instance.

use super::{super::*, play::*};
use crate::event::{Bytes, WorkloadKind};

/// An agent of which it is known where it works.
fn described(kind: WorkloadKind) -> Play {
    let mut play = Play::agent();
    let context = Context {
        kind,
        workspaces: vec!["/home/u/work".into()],
        own_directories: vec!["/home/u/.claude".into()],
        ..Context::default()
    };
    play.judge.describe("i", context).unwrap();
    play
}

#[test]
fn a_day_of_work_is_recorded_and_not_found() {
    let mut play = described(WorkloadKind::Agent);
    for action in [
        exec("/usr/bin/bash"),
        exec("/usr/bin/git"),
        exec("/tmp/go-build1/exe/main"),
        exec("/home/u/work/target/debug/tests"),
        read("/home/u/work/.env"),
        read("/tmp/project/.env"),
        write("/home/u/work/src/main.rs"),
        write("/home/u/work/.bashrc"),
        write("/usr/local/bin/tool"),
        listen("0.0.0.0", 3000),
        connect("127.0.0.1", 5432),
        connect("10.0.0.7", 443),
        socket("/run/user/1000/bus"),
    ] {
        let event = play.done(&server(), action);
        assert_eq!(event.rule, None, "{}: {}", event.action.kind(), event.decision.reason);
    }
}

#[test]
fn the_environment_file_of_another_project_is_found() {
    let mut play = described(WorkloadKind::Agent);
    assert_eq!(play.rule(&server(), read("/home/u/other/.env")), Some(Rule::SecretRead));
    // Without a known workspace every project may be the one.
    assert_eq!(Play::agent().rule(&server(), read("/home/u/other/.env")), None);
}

#[test]
fn an_agent_below_a_server_is_judged_as_that_server() {
    let mut play = described(WorkloadKind::Server);
    assert_eq!(play.rule(&server(), connect("10.0.0.7", 443)), Some(Rule::UnknownEgress));
    assert_eq!(play.rule(&process(7, "/usr/bin/ssh", None), read(KEY)), Some(Rule::SecretRead));
    assert_eq!(play.rule(&server(), exec("/tmp/x")), Some(Rule::HiddenExec));
    play.judge.forget("i");
    assert_eq!(play.rule(&server(), exec("/tmp/x")), None);
}

#[test]
fn a_child_of_the_owner_is_not_the_owner() {
    let mut play = Play::agent();
    let ssh = process(7, "/usr/bin/ssh", None);
    assert_eq!(play.rule(&ssh, read(KEY)), None);
    let child = ProcessKey { pid: crate::event::ProcessId(8), ..ssh.key };
    play.done(&ssh, Action::Fork(child));
    let shell = crate::event::Process {
        key: ProcessKey { exec_id: 2, ..child },
        ..process(8, "/usr/bin/dash", None)
    };
    play.done(&shell, exec("/usr/bin/dash"));
    assert_eq!(play.rule(&shell, read(KEY)), Some(Rule::SecretRead));
}

#[test]
fn what_an_instance_is_declared_to_do_counts_under_its_own_name() {
    let mut play = Play::plain();
    let declared = Declared {
        source: "expectation:demo.yaml:3".into(),
        egress: vec!["10.0.0.0/8".parse().unwrap()],
        read: vec!["/srv/data".into()],
        write: vec!["/srv/out".into(), "/etc/demo".into()],
        secrets: vec!["github-cli".into()],
        exec: Some(vec!["git".into(), "/opt/demo/**".into()]),
    };
    play.judge.describe("i", Context { declared: vec![declared], ..Context::default() }).unwrap();
    for action in [
        connect("10.1.2.3", 9),
        read("/srv/data/a/b"),
        write("/srv/out/x"),
        write("/etc/demo/x"),
        read("/home/u/.config/gh/hosts.yml"),
    ] {
        let event = play.done(&server(), action);
        assert_eq!(event.decision.source, "expectation:demo.yaml:3", "{}", event.decision.reason);
        assert_eq!((event.verdict, event.rule), (Verdict::Expected, None));
    }
    let ran = |play: &mut Play, number: u32, path: &str| {
        // The image that executes is the one that was executed.
        let image = process(100 + number, path, None);
        let image = crate::event::Process { ancestors: vec![(server().key, Bytes::default())], ..image };
        play.rule(&image, exec(path))
    };
    assert_eq!(ran(&mut play, 1, "/usr/bin/git"), None);
    assert_eq!(ran(&mut play, 2, "/opt/demo/bin/helper"), None);
    assert_eq!(ran(&mut play, 3, "/usr/bin/curl"), Some(Rule::UnexpectedExec));
    assert_eq!(play.rule(&server(), write("/etc/other")), Some(Rule::UnexpectedWrite));
}

#[test]
fn destinations_that_their_name_gives_away_and_bare_addresses_are_found() {
    let mut play = Play::agent();
    play.done(&server(), answer("127.0.0.53", "ab.webhook.site", "192.0.2.1"));
    let event = play.done(&server(), connect("192.0.2.1", 443));
    assert_eq!(
        (event.rule, event.decision.source.as_str()),
        (Some(Rule::UnknownEgress), "destination:request-collector")
    );
    let event = play.done(&server(), connect("192.0.2.9", 443));
    assert_eq!(event.decision.source, "destination:bare-address");
    // Names that are asked for where nobody sees the answer make a bare address weak evidence.
    play.done(&server(), socket("/run/nscd/socket"));
    let event = play.done(&server(), connect("192.0.2.9", 443));
    assert_eq!(event.decision.source, "destination:name-not-seen");
    play.done(&server(), answer("127.0.0.53", "docs.rs", "192.0.2.2"));
    assert_eq!(play.rule(&server(), connect("192.0.2.2", 443)), None);
    let severities = play.judge.severities();
    assert_eq!(severities["destination:request-collector"], Severity::High);
    assert_eq!(severities["destination:name-not-seen"], Severity::Low);
}

#[test]
fn the_package_manager_of_the_system_may_change_it_below_an_agent() {
    let dpkg = process(9, "/usr/bin/dpkg", None);
    for (mut play, found) in [(Play::agent(), false), (Play::plain(), true)] {
        for action in
            [write("/usr/bin/tool"), write("/usr/lib/systemd/system/tool.service"), write("/etc/cron.d/tool")]
        {
            assert_eq!(play.rule(&dpkg, action).is_some(), found);
        }
    }
    // Its scripts write the system's places and nobody's home.
    let mut play = Play::agent();
    play.done(&dpkg, exec("/usr/bin/dpkg"));
    let script = crate::event::Process {
        ancestors: vec![(dpkg.key, Bytes::default())],
        ..process(10, "/usr/bin/dash", Some("/var/lib/dpkg/info/tool.postinst"))
    };
    assert_eq!(play.rule(&script, write("/etc/init.d/tool")), None);
    assert_eq!(play.rule(&script, write("/home/u/.bashrc")), Some(Rule::PersistenceWrite));
    let mut play = Play::agent();
    assert_eq!(
        play.rule(&process(11, "/usr/bin/tee", None), write("/usr/bin/tool")),
        Some(Rule::UnexpectedWrite)
    );
}

#[test]
fn an_owner_that_replaces_its_own_secret_by_a_name_as_given_is_recorded() {
    let unresolved = |path: &str| FilePath { unresolved: true, ..at(path) };
    let lock = crate::event::FileObject {
        path: unresolved("/home/u/.git-credentials.lock"),
        target: Some(unresolved("/home/u/.git-credentials")),
        identity: None,
        ..file("/home/u/.git-credentials.lock")
    };
    let mut play = Play::agent();
    let event = play.done(&process(5, "/usr/bin/git", None), Action::Rename(lock.clone()));
    assert_eq!((event.rule, event.verdict), (None, Verdict::Unjudged));
    assert_eq!(play.rule(&process(6, "/usr/bin/mv", None), Action::Rename(lock)), Some(Rule::SecretRead));
    // Writing over a secret gives nobody its content: what follows is no exfiltration.
    play.done(&server(), answer("127.0.0.53", "new.example", "192.0.2.2"));
    assert_eq!(play.rule(&server(), connect("192.0.2.2", 443)), None);
}

#[test]
fn a_list_of_processes_is_no_snooping_below_an_agent() {
    let environ =
        || Action::Open(crate::event::FileObject { filesystem_magic: 0x9fa0, ..file("/proc/1/environ") });
    assert_eq!(Play::agent().rule(&process(5, "/usr/bin/ps", None), environ()), None);
    assert_eq!(Play::plain().rule(&process(5, "/usr/bin/ps", None), environ()), Some(Rule::ProcessSnoop));
    assert_eq!(Play::agent().rule(&process(5, "/usr/bin/cat", None), environ()), Some(Rule::ProcessSnoop));
}
