//! What programs are called with, what they call themselves, what they become.

use super::{super::*, play::*};
use crate::event::{Bytes, ExecObject, FileObject, Process, ProcessId, ProcessKey};

/// The image that executed a program, and the exec.
fn ran(pid: u32, path: &str, arguments: &[&str]) -> (Process, Action) {
    let arguments: Vec<Bytes> = arguments.iter().map(|argument| Bytes::from(*argument)).collect();
    let image = Process { arguments: arguments.clone(), ..process(pid, path, None) };
    let exec = ExecObject { executable: file(path), arguments, ..ExecObject::default() };
    (image, Action::Exec(Box::new(exec)))
}

fn rule_of(play: &mut Play, pid: u32, path: &str, arguments: &[&str]) -> Option<Rule> {
    let (image, exec) = ran(pid, path, arguments);
    play.rule(&image, exec)
}

#[test]
fn secret_helper() {
    let mut server = Play::plain();
    let mut agent = Play::agent();
    assert_eq!(rule_of(&mut server, 1, "/usr/bin/gh", &["gh", "auth", "token"]), Some(Rule::SecretHelper));
    assert_eq!(rule_of(&mut agent, 1, "/usr/bin/gh", &["gh", "auth", "token"]), Some(Rule::SecretHelper));
    assert_eq!(rule_of(&mut server, 2, "/usr/bin/gh", &["gh", "issue", "list"]), None);
    assert_eq!(rule_of(&mut server, 3, "/usr/bin/env", &["env"]), Some(Rule::SecretHelper));
    assert_eq!(rule_of(&mut server, 4, "/usr/bin/env", &["env", "node", "server.js"]), None);
    let (image, exec) = ran(5, "/usr/bin/env", &["env"]);
    let event = agent.done(&image, exec);
    assert_eq!((event.rule, event.verdict), (None, Verdict::Unjudged));
    assert!(event.decision.reason.contains("agents do that all day"));
}

#[test]
fn what_an_install_script_asks_for_is_not_what_the_agent_does_all_day() {
    let mut play = Play::agent();
    let npm = Process {
        arguments: ["npm", "install", "x"].map(Bytes::from).to_vec(),
        ..process(20, "/usr/bin/node", Some(NPX.replace("npx", "npm").as_str()))
    };
    play.done(&npm, exec("/usr/bin/node"));
    let below = |pid: u32, path: &str, arguments: &[&str]| {
        let (image, exec) = ran(pid, path, arguments);
        (Process { ancestors: vec![(npm.key, Bytes::default())], ..image }, exec)
    };
    let (image, exec) = below(21, "/usr/bin/env", &["env"]);
    let event = play.done(&image, exec);
    assert_eq!(event.rule, Some(Rule::SecretHelper));
    assert!(
        event.decision.reason.contains("below the installation of a package"),
        "{}",
        event.decision.reason
    );
    let claude = "/home/u/.local/share/claude/versions/2/claude";
    let (image, exec) =
        below(22, claude, &["claude", "--dangerously-skip-permissions", "-p", "find wallets"]);
    assert_eq!(play.rule(&image, exec), Some(Rule::UnexpectedExec));
    // `npm test` is no installation.
    let mut play = Play::agent();
    let npm = Process { arguments: ["npm", "test"].map(Bytes::from).to_vec(), ..npm.clone() };
    play.done(&npm, super::play::exec("/usr/bin/node"));
    let (image, exec) = below(21, "/usr/bin/env", &["env"]);
    assert_eq!(play.rule(&image, exec), None);
}

#[test]
fn encoded_exec() {
    let mut play = Play::agent();
    let shell = |play: &mut Play, pid, text: &str| rule_of(play, pid, "/usr/bin/bash", &["bash", "-c", text]);
    assert_eq!(shell(&mut play, 1, "echo aGk= | base64 -d | sh"), Some(Rule::EncodedExec));
    assert_eq!(shell(&mut play, 2, "base64 -d < a > b"), None);
    assert_eq!(shell(&mut play, 3, "git log | head"), None);
}

#[test]
fn masquerade() {
    let mut play = Play::agent();
    assert_eq!(rule_of(&mut play, 1, "/home/u/work/x", &["[kworker/0:1]"]), Some(Rule::Masquerade));
    assert_eq!(rule_of(&mut play, 2, "/home/u/work/sshd", &["sshd"]), Some(Rule::Masquerade));
    assert_eq!(rule_of(&mut play, 3, "/usr/sbin/sshd", &["sshd", "-D"]), None);
    assert_eq!(rule_of(&mut play, 4, "/home/u/work/worker", &["worker"]), None);
}

#[test]
fn privilege_change() {
    let becomes = |play: &mut Play, path: &str| {
        let before = Process { uid: 1000, euid: 1000, ..process(1, "/usr/bin/bash", None) };
        play.done(&before, exec("/usr/bin/bash"));
        let key = ProcessKey { exec_id: 2, ..before.key };
        let (image, exec) = ran(1, path, &["x"]);
        play.rule(&Process { key, uid: 1000, euid: 0, ..image }, exec)
    };
    assert_eq!(becomes(&mut Play::plain(), "/usr/bin/sudo"), Some(Rule::PrivilegeChange));
    assert_eq!(
        becomes(&mut Play::agent(), "/usr/bin/sudo"),
        None,
        "an agent's sudo is what its user allowed"
    );
    assert_eq!(becomes(&mut Play::agent(), "/home/u/work/x"), Some(Rule::PrivilegeChange));
    assert_eq!(becomes(&mut Play::plain(), "/usr/bin/ping"), None);

    let mut play = Play::agent();
    let mode = |flags| Action::Chmod(FileObject { flags, ..file("/home/u/work/x") });
    assert_eq!(play.rule(&server(), mode(0o4755)), Some(Rule::PrivilegeChange));
    assert_eq!(play.rule(&server(), mode(0o2755)), Some(Rule::PrivilegeChange));
    assert_eq!(play.rule(&server(), mode(0o755)), None);
    let directory = FileObject { flags: 0o2775, mode: 0o040_755, ..file("/home/u/work/shared") };
    assert_eq!(play.rule(&server(), Action::Chmod(directory)), None);
}

#[test]
fn stopping_the_monitor() {
    let monitor = Monitor { process: Some(ProcessId(4242)), places: Vec::new() };
    let mut play = Play::new(JudgeConfig { monitor, ..JudgeConfig::default() });
    for (pid, (path, arguments)) in [
        ("/usr/bin/kill", &["kill", "-9", "4242"][..]),
        ("/usr/bin/systemctl", &["systemctl", "stop", "mcp-monitor"]),
        ("/usr/sbin/bpftool", &["bpftool", "map", "delete", "id", "7"]),
    ]
    .into_iter()
    .enumerate()
    {
        let pid = u32::try_from(pid).unwrap() + 1;
        assert_eq!(rule_of(&mut play, pid, path, arguments), Some(Rule::MonitorTamper), "{path}");
    }
    assert_eq!(rule_of(&mut play, 8, "/usr/bin/kill", &["kill", "77"]), None);
    assert_eq!(rule_of(&mut play, 9, "/usr/bin/systemctl", &["systemctl", "status", "mcp-monitor"]), None);
}

#[test]
fn only_a_browser_below_mcp_remote() {
    let remote = "/home/u/.npm/_npx/1/node_modules/mcp-remote/dist/proxy.js";
    let remote = process(50, "/usr/bin/node", Some(remote));
    for (path, found) in [("/usr/bin/xdg-open", None), ("/usr/bin/bash", Some(Rule::UnexpectedExec))] {
        let mut play = Play::plain();
        play.done(&remote, read("/etc/hosts"));
        let (image, exec) = ran(51, path, &["x"]);
        let image = Process { ancestors: vec![(remote.key, Bytes::default())], ..image };
        assert_eq!(play.rule(&image, exec), found, "{path}");
    }
}
