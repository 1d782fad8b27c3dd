//! What no single event shows.

use super::{super::*, play::*};
use crate::event::{
    Bytes, Descriptor, DescriptorKind, ExecObject, FileObject, Process, ProcessId, ProcessKey, Workload,
};

fn cat(pid: u32) -> Process {
    process(pid, "/usr/bin/cat", None)
}

#[test]
fn a_secret_and_then_a_new_place() {
    let mut play = Play::agent();
    play.done(&server(), answer("127.0.0.53", "api.example", "192.0.2.1"));
    play.done(&server(), answer("127.0.0.53", "new.example", "192.0.2.2"));
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), None);
    assert_eq!(play.rule(&server(), connect("192.0.2.2", 443)), None);

    let mut play = Play::agent();
    play.done(&server(), answer("127.0.0.53", "api.example", "192.0.2.1"));
    play.done(&server(), answer("127.0.0.53", "new.example", "192.0.2.2"));
    play.done(&server(), connect("192.0.2.1", 443));
    assert_eq!(play.rule(&server(), read(KEY)), Some(Rule::SecretRead));
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), None, "it had been there before");
    let event = play.done(&server(), connect("192.0.2.2", 443));
    assert_eq!((event.rule, event.decision.source.as_str()), (Some(Rule::Exfiltration), "sequence:related"));
    assert!(event.decision.reason.contains("SSH private key"), "{}", event.decision.reason);
    assert_eq!(
        play.rule(&server(), connect("10.0.0.9", 443)),
        None,
        "a private address is no way out of the network"
    );
    // Hours later it is another matter.
    play.time += 3600;
    play.done(&server(), answer("127.0.0.53", "later.example", "192.0.2.3"));
    assert_eq!(play.rule(&server(), connect("192.0.2.3", 443)), None);
}

#[test]
fn an_owner_that_reads_its_secret_may_go_anywhere() {
    let mut play = Play::agent();
    let ssh = process(7, "/usr/bin/ssh", None);
    assert_eq!(play.rule(&ssh, read(KEY)), None);
    play.done(&ssh, answer("127.0.0.53", "git.example", "192.0.2.2"));
    assert_eq!(play.rule(&ssh, connect("192.0.2.2", 22)), None);
}

#[test]
fn a_server_that_read_a_secret_and_goes_where_it_may_not() {
    let allow_egress = vec!["10.0.0.0/8".parse().unwrap()];
    let mut play = Play::new(JudgeConfig { allow_egress, ..JudgeConfig::default() });
    play.done(&server(), read(KEY));
    assert_eq!(play.rule(&server(), connect("10.1.1.1", 443)), None);
    assert_eq!(play.rule(&server(), connect("192.0.2.2", 443)), Some(Rule::Exfiltration));
}

#[test]
fn the_other_end_of_a_pipe_goes_there() {
    let pipe = |inode| Descriptor { kind: DescriptorKind::Pipe, inode, device: 13, ..Descriptor::default() };
    let mut play = Play::plain();
    let started = |path: &str, stdin, stdout| {
        Action::Exec(Box::new(ExecObject { executable: file(path), stdin, stdout, ..ExecObject::default() }))
    };
    let curl = process(31, "/usr/bin/curl", None);
    play.done(&cat(30), started("/usr/bin/cat", Descriptor::default(), pipe(77)));
    play.done(&curl, started("/usr/bin/curl", pipe(77), Descriptor::default()));
    play.done(&cat(30), read(KEY));
    let event = play.done(&curl, connect("192.0.2.2", 443));
    assert_eq!(event.rule, Some(Rule::Exfiltration));
    assert!(event.decision.reason.contains("other end of its pipe"), "{}", event.decision.reason);
    let stranger = process(32, "/usr/bin/curl", None);
    let event = play.done(&stranger, connect("192.0.2.3", 443));
    assert_eq!(event.decision.source, "sequence:workload");
}

#[test]
fn access_probing() {
    let mut play = Play::plain();
    let refused = |play: &mut Play, number: u32| {
        play.time -= 1;
        play.tried(&server(), read(&format!("/srv/{number}")), Outcome::Failed(libc::EACCES)).rule
    };
    let found = (0..60).filter(|&number| refused(&mut play, number) == Some(Rule::AccessProbing)).count();
    assert_eq!(found, 2, "once for every two dozen");
    let mut play = Play::plain();
    assert!((0..100).all(|_| refused(&mut play, 1).is_none()), "the same file again and again is no probing");
    // An agent looks through directories that it may not enter, and waits for its development server.
    let mut play = Play::agent();
    for number in 0..100 {
        play.time -= 1;
        let directory =
            FileObject { flags: libc::O_DIRECTORY.cast_unsigned(), ..file(&format!("/srv/{number}")) };
        let refused = play.tried(&server(), Action::Open(directory), Outcome::Failed(libc::EACCES));
        assert_eq!(refused.rule, None);
        let port = connect("127.0.0.1", 3000 + number);
        assert_eq!(play.tried(&server(), port, Outcome::Failed(libc::ECONNREFUSED)).rule, None);
    }
    let mut play = Play::agent();
    let scan = (0..30_u16).map(|port| {
        play.tried(&server(), connect("10.0.0.7", port + 1), Outcome::Failed(libc::ECONNREFUSED)).rule
    });
    assert!(scan.collect::<Vec<_>>().contains(&Some(Rule::AccessProbing)));
}

#[test]
fn destructive_burst() {
    let remove = |play: &mut Play, who: &Process, pattern: &str| {
        (0..250)
            .filter(|number| {
                let path = pattern.replace('#', &number.to_string());
                if number % 10 > 0 {
                    play.time -= 1;
                }
                play.rule(
                    who,
                    Action::Unlink(FileObject { access: crate::event::Access::default(), ..file(&path) }),
                ) == Some(Rule::DestructiveBurst)
            })
            .count()
    };
    let rm = process(9, "/usr/bin/rm", None);
    assert_eq!(remove(&mut Play::agent(), &rm, "/home/u/Documents/#.odt"), 2);
    for harmless in [
        "/home/u/work/node_modules/x/#.js",
        "/home/u/work/target/debug/#",
        "/tmp/x/#",
        "/home/u/.cache/x/#",
        "/home/u/work/src/#.o",
    ] {
        assert_eq!(remove(&mut Play::agent(), &rm, harmless), 0, "{harmless}");
    }
    let git = process(8, "/usr/bin/git", None);
    assert_eq!(remove(&mut Play::agent(), &git, "/home/u/work/src/#.rs"), 0, "git can bring them back");

    let mut play = Play::agent();
    let encrypted = (0..100).map(|number| {
        play.time -= 1;
        let from = format!("/home/u/Documents/{number}.odt");
        play.rule(&server(), Action::Rename(moved(&from, &format!("{from}.locked"))))
    });
    assert!(encrypted.collect::<Vec<_>>().contains(&Some(Rule::DestructiveBurst)));
    let mut play = Play::agent();
    let sorted = (0..200).map(|number| {
        play.time -= 1;
        play.rule(
            &server(),
            Action::Rename(moved(
                &format!("/home/u/work/{number}.rs"),
                &format!("/home/u/work/src/{number}.rs"),
            )),
        )
    });
    assert!(sorted.collect::<Vec<_>>().iter().all(Option::is_none), "a move keeps the files");
}

#[test]
fn what_is_fetched_and_run() {
    let pipe = |inode| Descriptor { kind: DescriptorKind::Pipe, inode, device: 13, ..Descriptor::default() };
    let started = |path: &str, arguments: &[&str], stdin, stdout| {
        let arguments = arguments.iter().map(|argument| Bytes::from(*argument)).collect();
        Action::Exec(Box::new(ExecObject {
            executable: file(path),
            arguments,
            stdin,
            stdout,
            ..ExecObject::default()
        }))
    };
    let none = Descriptor::default();
    for (first, rule, source) in [
        ("/usr/bin/curl", Rule::HiddenExec, "pipe:fetched-agent"),
        ("/usr/bin/base64", Rule::EncodedExec, "pipe:decoded"),
    ] {
        // Whichever of the two is started last is told.
        for shell_first in [false, true] {
            let mut play = Play::agent();
            let feeder = (process(1, first, None), started(first, &["x"], none, pipe(5)));
            let shell =
                (process(2, "/usr/bin/bash", None), started("/usr/bin/bash", &["bash"], pipe(5), none));
            let (one, two) = if shell_first { (shell, feeder) } else { (feeder, shell) };
            assert_eq!(play.rule(&one.0, one.1), None);
            let event = play.done(&two.0, two.1);
            assert_eq!((event.rule, event.decision.source.as_str()), (Some(rule), source));
        }
    }
    // `curl | jq` and `curl | python -c` run nothing that was fetched.
    for (path, arguments) in
        [("/usr/bin/jq", &["jq", "."][..]), ("/usr/bin/python3", &["python3", "-c", "print(1)"])]
    {
        let mut play = Play::agent();
        play.done(&process(1, "/usr/bin/curl", None), started("/usr/bin/curl", &["curl"], none, pipe(5)));
        assert_eq!(
            play.rule(&process(2, path, None), started(path, arguments, pipe(5), none)),
            None,
            "{path}"
        );
    }
    let mut play = Play::agent();
    let curl = process(1, "/usr/bin/curl", None);
    play.done(&curl, write("/home/u/work/tool"));
    play.done(&curl, write("/home/u/work/data.json"));
    assert_eq!(
        play.rule(&process(2, "/home/u/work/tool", None), exec("/home/u/work/tool")),
        Some(Rule::HiddenExec)
    );
    assert_eq!(play.rule(&process(3, "/home/u/work/other", None), exec("/home/u/work/other")), None);
}

#[test]
fn bystanders_are_told_and_what_a_workload_left_behind_is_found() {
    let mut play = Play::plain();
    let outside = |play: &Play, action: Action| {
        let mut event = play.event(&process(900, "/usr/sbin/cron", None), action, Outcome::Ok);
        event.workload = Arc::new(Workload { name: "host".into(), ..Workload::default() });
        event
    };
    let mut event = outside(&play, read(KEY));
    play.judge.judge_bystander(&mut event);
    assert_eq!((event.rule, event.verdict), (None, Verdict::Unjudged));
    assert_eq!(event.decision.source, "catalogue:ssh-private-key");

    let dropped = FileObject {
        mode: 0o100_755,
        access: crate::event::Access { write: true, create: true, ..crate::event::Access::default() },
        ..file("/srv/x/drop")
    };
    play.done(&server(), Action::Open(dropped));
    assert_eq!(play.judge.left_files().count(), 1);
    let mut event = outside(&play, exec("/srv/x/drop"));
    play.judge.judge_bystander(&mut event);
    assert_eq!((event.rule, event.workload.name.as_str()), (Some(Rule::LineageEscape), "demo"));
    let mut event = outside(&play, exec("/usr/bin/ls"));
    play.judge.judge_bystander(&mut event);
    assert_eq!(event.rule, None);
    // A file that is made executable afterwards.
    play.done(&server(), write("/srv/x/later"));
    assert_eq!(play.judge.left_files().count(), 1);
    let mode = FileObject { flags: 0o755, identity: None, ..file("/srv/x/later") };
    play.done(&server(), Action::Chmod(mode));
    assert_eq!(play.judge.left_files().count(), 2);
    let key = ProcessKey { pid: ProcessId(1), ..ProcessKey::default() };
    assert_eq!(play.judge.lineage.instance_of(key.pid), None);
}

#[test]
fn different_secrets_one_after_the_other_are_a_sweep() {
    let mut play = Play::plain();
    play.done(&server(), exec("/usr/bin/node"));
    let secrets = ["/home/u/.ssh/id_rsa", "/home/u/.aws/credentials", "/home/u/.netrc"];
    for path in secrets.iter().chain(&secrets) {
        assert!(play.done(&server(), read(path)).decision.source.starts_with("catalogue:"), "{path}");
    }
    let fourth = play.done(&server(), read("/home/u/.kube/config"));
    assert_eq!((fourth.rule, fourth.decision.source.as_str()), (Some(Rule::SecretRead), "sweep:secrets"));
    assert_eq!(play.judge.severities()["sweep:secrets"], Severity::Critical);
}

fn looked_up(play: &mut Play, name: &str, digest: u64) -> Event {
    let Action::Dns(mut answered) = answer("127.0.0.53", name, "192.0.2.1") else { unreachable!() };
    answered.digest = digest;
    play.done(&server(), Action::Dns(answered))
}

#[test]
fn names_that_carry_data_are_a_tunnel_and_ordinary_ones_are_none() {
    let mut play = Play::plain();
    play.done(&server(), exec("/usr/bin/node"));
    let mut rules = Vec::new();
    for number in 0..8 {
        rules.push(looked_up(&mut play, "[masked].t.evil.example", number).rule);
    }
    assert_eq!(rules.iter().flatten().collect::<Vec<_>>(), [&Rule::UnknownEgress]);
    for _ in 0..50 {
        assert_eq!(looked_up(&mut play, "[masked].cdn.example", 1).rule, None, "the same name again");
    }
    for number in 0..100 {
        assert_eq!(looked_up(&mut play, &format!("n{number}.shop.example"), 1000 + number).rule, None);
    }
    let many =
        (0..300).filter_map(|number| looked_up(&mut play, "x.many.example", 5000 + number).rule).count();
    assert_eq!(many, 1);
}
