//! Any event whatever: no panic, and no guess is expected. And what a verdict costs.

use proptest::prelude::*;

use super::{super::*, play::*};
use crate::event::{
    Access, BootNs, Bytes, Direction, DnsObject, Endpoint, ExecObject, FileIdentity, FileObject,
    NetworkObject, ProcessId, ProcessKey, Transport,
};

prop_compose! {
    fn any_path()(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "(/proc/[0-9]{0,12}/(environ|mem)|/home/u/\\.ssh/id_rsa|/tmp/\\.x/y|/|//|memfd:x|\\.\\./\\.\\.)".prop_map(String::into_bytes),
        ],
        truncated in any::<bool>(), unresolved in any::<bool>(), deleted in any::<bool>(),
    ) -> FilePath {
        FilePath { bytes: Bytes::new(&bytes), truncated, unresolved, deleted, outside_root: false }
    }
}

prop_compose! {
    fn any_file()(
        path in any_path(), target in prop::option::of(any_path()),
        ids in prop::array::uniform4(prop::option::of((0_u64..4, 0_u32..2, 0_u32..3))),
        bits in any::<u8>(), mode in prop::sample::select(vec![0, 0o100_600, 0o040_700]), links in 0_u32..3,
        magic in prop::sample::select(vec![0_u64, 0x9fa0]),
    ) -> FileObject {
        let id = |index: usize| ids[index].map(|(inode, device, generation)| FileIdentity { inode, device, generation });
        FileObject {
            path, target, identity: id(0), parent: id(1), target_parent: id(2), replaced: id(3),
            access: Access {
                read: bits & 1 != 0, write: bits & 2 != 0, execute: bits & 4 != 0,
                path_only: bits & 8 != 0, create: bits & 16 != 0, truncate: bits & 32 != 0,
            },
            flags: 0, mode, links, filesystem_magic: magic, marked_secret: bits & 64 != 0,
        }
    }
}

prop_compose! {
    fn any_network()(
        path in any_path(), address in any::<[u8; 16]>(), port in any::<u16>(), which in 0_u8..6, transport in 0_u8..6, out in any::<bool>(),
    ) -> NetworkObject {
        let remote = match which {
            0 => Endpoint::Internet(IpAddr::from(address), port),
            1 => Endpoint::Internet(IpAddr::from([127, 0, 0, address[3]]), port),
            2 => Endpoint::UnixPath(path, None),
            3 => Endpoint::UnixAbstract(path.bytes),
            4 => Endpoint::UnixGiven(path.bytes),
            _ => Endpoint::Unnamed,
        };
        let transport = match transport {
            0 => Transport::Tcp,
            1 => Transport::Udp,
            2 => Transport::Raw(port),
            3 => Transport::UnixStream,
            4 => Transport::UnixDatagram,
            _ => Transport::Other(port, 0),
        };
        let direction = if out { Direction::Out } else { Direction::In };
        NetworkObject { direction, ..network(remote, transport) }
    }
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (any_file(), 0_u8..9).prop_map(|(file, kind)| match kind {
            0 => Action::Open(file),
            1 => Action::Rename(file),
            2 => Action::Link(file),
            3 => Action::Symlink(file),
            4 => Action::Unlink(file),
            5 => Action::Truncate(file),
            6 => Action::Chmod(file),
            7 => Action::Receive(file),
            _ => Action::Map(file),
        }),
        (any_network(), 0_u8..5).prop_map(|(network, kind)| match kind {
            0 => Action::Connect(network),
            1 => Action::Send(network),
            2 => Action::Accept(network),
            3 => Action::Listen(network),
            _ => Action::Close(network),
        }),
        (any_file(), prop::option::of(any_file())).prop_map(|(executable, script)| {
            Action::Exec(Box::new(ExecObject { executable, script, ..ExecObject::default() }))
        }),
        (0_u32..4, 0_u64..3).prop_map(|(pid, start)| Action::Fork(ProcessKey {
            pid: ProcessId(pid),
            start: BootNs(start),
            exec_id: 0
        })),
        any::<u32>().prop_map(Action::Exit),
        ("\\PC{0,9}", any::<[u8; 4]>(), any::<u32>()).prop_map(|(name, address, seconds)| Action::Dns(
            DnsObject {
                server: (IpAddr::from([127, 0, 0, 53]), 53),
                question: Bytes::from(name.as_str()),
                addresses: vec![(IpAddr::from(address), seconds)],
                response_code: 0,
                digest: u64::from(seconds),
            }
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn never_panics_and_guesses_are_never_expected(
        actions in prop::collection::vec((any_action(), 0_u32..4, 0_u64..2, any_path(), prop::option::of(any_path()), -2_i32..200), 1..30),
        agent in any::<bool>(),
    ) {
        let mut play = if agent { Play::agent() } else { Play::plain() };
        for (action, pid, start, executable, script, outcome) in actions {
            let mut process = process(pid, "", None);
            process.key.start = BootNs(start);
            process.executable = executable.bytes;
            process.script = script.map(|script| script.bytes);
            let outcome = match outcome {
                -2 => Outcome::Started,
                -1 => Outcome::Denied,
                0 => Outcome::Permitted,
                1..100 => Outcome::Failed(outcome),
                _ => Outcome::Ok,
            };
            let event = play.tried(&process, action, outcome);
            let guessed = event.action.file().is_some_and(|file| file.path.truncated || file.path.unresolved);
            prop_assert!(!guessed || event.verdict != Verdict::Expected, "{:?}", event);
            prop_assert!(!event.decision.source.is_empty() && !event.decision.reason.is_empty());
            prop_assert!(event.rule.is_none() || event.verdict != Verdict::Expected);
        }
    }
}

/// Not a test of right or wrong: says what a verdict costs. `cargo test --release -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    let mut play = Play::plain();
    let rounds: u32 = 200_000;
    for path in ["/usr/lib/x86_64-linux-gnu/libc.so.6", "/home/u/work/src/module/file.c", "/tmp/bench/d1/f"] {
        let event = play.event(&server(), read(path), Outcome::Ok);
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            let mut event = event.clone();
            play.judge.judge(&mut event);
        }
        println!("{path}: {:?} each", start.elapsed() / rounds);
    }
}
