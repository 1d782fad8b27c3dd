//! Secrets: who may read them, and every other name of them.

use super::{super::*, play::*};
use crate::event::{Access, BootNs, FileIdentity, FileObject, Process, ProcessId, ProcessKey};

#[test]
fn secret_read() {
    let mut play = Play::plain();
    let event = play.done(&server(), read(KEY));
    assert_eq!((event.rule, event.verdict), (Some(Rule::SecretRead), Verdict::Forbidden));
    assert_eq!(event.decision.source, "catalogue:ssh-private-key");
    assert_eq!(play.rule(&server(), read("/home/u/.ssh/id_rsa.pub")), None);
    assert_eq!(play.rule(&server(), read("/home/u/.ssh/known_hosts")), None);

    let path_only =
        FileObject { access: Access { path_only: true, read: true, ..Access::default() }, ..file(KEY) };
    assert_eq!(play.rule(&server(), Action::Open(path_only)), None);
    let failed = play.tried(&server(), read(KEY), Outcome::Failed(libc::EACCES));
    assert_eq!((failed.rule, failed.verdict), (None, Verdict::Unexpected));
    assert_eq!(play.tried(&server(), read(KEY), Outcome::Failed(libc::ENOENT)).verdict, Verdict::Unjudged);
    assert_eq!(play.tried(&server(), read(KEY), Outcome::Denied).rule, Some(Rule::SecretRead));
    assert_eq!(play.rule(&server(), Action::Receive(file(KEY))), Some(Rule::SecretRead));
}

#[test]
fn a_secret_by_every_other_name() {
    let mut play = Play::plain();
    assert_eq!(play.rule(&server(), Action::Link(moved(KEY, "/home/u/h"))), Some(Rule::SecretRead));
    let hard_link = FileObject { identity: file(KEY).identity, ..file("/home/u/h") };
    let hard_link = play.done(&server(), Action::Open(hard_link));
    assert_eq!(hard_link.rule, Some(Rule::SecretRead));
    assert!(hard_link.decision.reason.contains("under another name"));
    let copy = FileObject {
        identity: Some(FileIdentity { inode: 78, device: 1, generation: 1 }),
        ..file("/home/u/x")
    };
    assert_eq!(play.rule(&server(), Action::Open(copy)), None);

    let given = FileObject {
        path: FilePath { unresolved: true, ..at("../.ssh/./id_rsa") },
        identity: None,
        ..file(KEY)
    };
    let given = play.done(&server(), Action::Open(given));
    assert_eq!(given.rule, Some(Rule::SecretRead));
    assert!(given.decision.reason.contains("not resolved"));
    // A public file's name given is nothing, and is never expected.
    let given = FileObject { path: FilePath { unresolved: true, ..at("/etc/hosts") }, ..file("/etc/hosts") };
    let given = FileObject { identity: None, ..given };
    assert_eq!(play.done(&server(), Action::Open(given)).verdict, Verdict::Unjudged);

    // Replaced by an ordinary file: that is a deed, and the new file is the secret.
    let mut rename = moved("/home/u/new", KEY);
    rename.identity = Some(FileIdentity { inode: 90, device: 1, generation: 1 });
    assert_eq!(play.rule(&server(), Action::Rename(rename)), Some(Rule::SecretRead));
    let elsewhere =
        FileObject { identity: Some(FileIdentity { inode: 90, device: 1, generation: 1 }), ..file("/mnt/k") };
    assert_eq!(play.rule(&server(), Action::Open(elsewhere)), Some(Rule::SecretRead));
}

#[test]
fn a_secret_that_is_declared() {
    let config =
        |secret: &str| JudgeConfig { allow_secrets: vec![secret.to_owned()], ..JudgeConfig::default() };
    for secret in ["ssh-private-key", "~/.ssh/id_rsa", KEY] {
        let event = Play::new(config(secret)).done(&server(), read(KEY));
        assert_eq!(
            (event.verdict, event.decision.source.as_str()),
            (Verdict::Expected, "command-line"),
            "{secret}"
        );
    }
    assert_eq!(Play::new(config("aws")).rule(&server(), read(KEY)), Some(Rule::SecretRead));
    // A glob of files does not allow a secret.
    let config = JudgeConfig { allow_read: vec!["/home/u".into()], ..JudgeConfig::default() };
    let mut play = Play::new(config);
    assert_eq!(play.rule(&server(), read(KEY)), Some(Rule::SecretRead));
    assert_eq!(play.done(&server(), read("/home/u/notes/a")).verdict, Verdict::Expected);
    assert_eq!(play.done(&server(), write("/home/u/notes/a")).verdict, Verdict::Unjudged);
    assert!(Judge::new(JudgeConfig { allow_secrets: vec!["ssh".into()], ..JudgeConfig::default() }).is_err());
}

#[test]
fn owners_count_below_agents_and_launchers_while_they_launch() {
    let ssh = process(7, "/usr/bin/ssh", None);
    assert_eq!(Play::agent().done(&ssh, read(KEY)).decision.source, "owner");
    assert_eq!(Play::plain().rule(&ssh, read(KEY)), Some(Rule::SecretRead));
    assert_eq!(Play::agent().rule(&process(7, "/home/u/ssh", None), read(KEY)), Some(Rule::SecretRead));

    let npmrc = "/home/u/.npmrc";
    let mut play = Play::plain();
    let npx = process(10, "/usr/bin/node", Some(NPX));
    assert_eq!(play.done(&npx, read(npmrc)).decision.source, "profile:launch/npm");
    // The server that it starts, by a shell, and npm below that server: the launch is over.
    let shell =
        Process { key: ProcessKey { pid: ProcessId(11), start: BootNs(11), exec_id: 1 }, ..npx.clone() };
    play.done(&npx, Action::Fork(shell.key));
    let mut image = process(11, "/usr/bin/dash", None);
    image.key.exec_id = 2;
    play.done(&image, exec("/usr/bin/dash"));
    let mut image = server();
    image.key = ProcessKey { exec_id: 3, ..shell.key };
    assert_eq!(play.rule(&image, read(npmrc)), Some(Rule::SecretRead));
    let mut image = process(11, "/usr/bin/node", Some(NPX));
    image.key.exec_id = 4;
    assert_eq!(play.rule(&image, read(npmrc)), Some(Rule::SecretRead));
}

#[test]
fn a_recognised_agent_owns_what_is_its_own_until_it_executes_something_else() {
    let credentials = "/home/u/.claude/.credentials.json";
    let elsewhere = process(7, "/srv/npm/node_modules/@anthropic-ai/claude-code/bin/claude.exe", None);
    assert_eq!(Play::agent().rule(&elsewhere, read(credentials)), Some(Rule::SecretRead), "a place alone");
    let mut play = Play::agent();
    play.judge.own(elsewhere.key, "claude");
    assert_eq!(play.done(&elsewhere, read(credentials)).decision.source, "owner");
    assert_eq!(play.rule(&elsewhere, read(KEY)), Some(Rule::SecretRead), "not what is others'");
    let mut tool = process(7, "/usr/bin/cat", None);
    tool.key.exec_id += 1;
    assert_eq!(play.rule(&tool, read(credentials)), Some(Rule::SecretRead));
    let mut server = Play::plain();
    server.judge.own(elsewhere.key, "claude");
    assert_eq!(server.rule(&elsewhere, read(credentials)), Some(Rule::SecretRead), "an agent below a server");
}

#[test]
fn a_script_is_followed_through_env() {
    let mut play = Play::plain();
    let env = process(10, "/usr/bin/env", Some(NPX));
    play.done(&env, exec("/usr/bin/env"));
    let mut node = process(10, "/usr/bin/node", Some("/somewhere/npx"));
    node.key.exec_id = 2;
    assert_eq!(play.done(&node, read("/home/u/.npmrc")).decision.source, "profile:launch/npm");
}

#[test]
fn a_start_is_silent() {
    let mut play = Play::plain();
    for path in [
        "/etc/ld.so.cache",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/proc/100/maps",
        "/etc/ssl/certs/ca-certificates.crt",
        "/home/u/work/node_modules/x/index.js",
        "/dev/null",
    ] {
        let event = play.done(&server(), read(path));
        assert_eq!(
            (event.verdict, event.rule),
            (Verdict::Expected, None),
            "{path}: {}",
            event.decision.reason
        );
        assert!(event.decision.source.starts_with("profile:") || path.starts_with("/proc/"), "{path}");
    }
    assert_eq!(play.done(&server(), read("/home/u/notes")).decision.source, "default");
}
