//! Golden records, every truncation of them, and garbage.

use mcp_monitor_common::record::{
    ACCESS_READ, DescriptorIdentity, DnsBody, ExecBody, ExitBody, FileBody, FileIdentity, ForkBody,
    HEADER_SECRET, NETWORK_UNIX_ABSTRACT, NetworkBody, PATH_AS_GIVEN, PATH_DELETED, PATH_TRUNCATED,
    PATH_UNMOUNTED, RESULT_PERMITTED, SegmentBody, SnoopBody,
};
use proptest::prelude::*;

use super::*;
use crate::{
    event::{DescriptorKind, Endpoint, FilePath, SnoopWay, Transport},
    sensor::testing::RecordBuilder,
};

fn identity(inode: u64) -> FileIdentity {
    FileIdentity { inode, device: 0x80_0001, generation: 3 }
}

fn open_record(path: &[u8], flags: u16, directory: Option<&str>) -> Vec<u8> {
    let mut builder = RecordBuilder::new(RecordKind::Open);
    let mut path = builder.raw_path(path, flags);
    if let Some(directory) = directory {
        let end = builder.slice(b"\0").length_bytes + builder.path(directory).bytes.length_bytes;
        path.bytes.length_bytes += end;
    }
    builder.finish(&FileBody { path, file: identity(9), access: ACCESS_READ, ..FileBody::default() })
}

fn open_path(path: &[u8], flags: u16, directory: Option<&str>) -> FilePath {
    let record = decode(&open_record(path, flags, directory)).unwrap();
    let RecordBody::File(file) = record.body else { panic!("{record:?}") };
    file.object.path
}

fn mapped(a: u8, b: u8, c: u8, d: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

fn exec_record(arguments: &[u8], arguments_bytes: u32) -> Vec<u8> {
    let mut builder = RecordBuilder::new(RecordKind::Exec);
    let body = ExecBody {
        executable: identity(5),
        stdin: DescriptorIdentity { inode: 4, peer_inode: 0, device: 1, mode: 0o010_600 },
        uid: 1000,
        euid: 1000,
        login_uid: u32::MAX,
        session_id: 3,
        path: builder.path("/usr/bin/node"),
        working_directory: builder.path("/home/user"),
        cgroup_path: builder.path("/user.slice/a.scope"),
        given_name: builder.slice(b"/usr/bin/node\0"),
        arguments: builder.slice(arguments),
        arguments_bytes,
        tty: builder.slice(b"pts0"),
        ..ExecBody::default()
    };
    builder.finish(&body)
}

/// One record of every body.
fn golden() -> Vec<Vec<u8>> {
    let mut unix = RecordBuilder::new(RecordKind::Connect);
    let unix_path = unix.path("/run/docker.sock");
    let mut dns = RecordBuilder::new(RecordKind::Dns);
    let answer = dns.slice(&[1, 2, 3]);
    vec![
        open_record(b"id_rsa\0.ssh\0user\0home\0", 0, None),
        open_record(b"../x", PATH_AS_GIVEN, Some("/a/b")),
        exec_record(b"node\0server.js\0", 15),
        RecordBuilder::new(RecordKind::Fork).finish(&ForkBody {
            child_tgid: 8,
            child_exec_id: 2,
            child_start_boottime_ns: 99,
        }),
        RecordBuilder::new(RecordKind::Exit).finish(&ExitBody { exit_code: 256, reserved: 0 }),
        RecordBuilder::new(RecordKind::Segment).finish(&SegmentBody { parent: 6 }),
        RecordBuilder::new(RecordKind::Snoop).finish(&SnoopBody {
            target_tgid: 1,
            way: 1,
            ..SnoopBody::default()
        }),
        dns.finish(&DnsBody { answer, answer_bytes: 4, server_port: 53, ..DnsBody::default() }),
        unix.finish(&NetworkBody { family: 1, socket_type: 1, unix_path, ..NetworkBody::default() }),
    ]
}

#[test]
fn a_walk_is_turned_root_first() {
    let path = open_path(b"id_rsa\0.ssh\0user\0home\0", 0, None);
    assert_eq!(path, FilePath { bytes: "/home/user/.ssh/id_rsa".into(), ..FilePath::default() });
    assert_eq!(open_path(b"id_rsa\0.ssh\0", 0, None).bytes, "/.ssh/id_rsa".into());
    assert_eq!(open_path(b"a\0", 0, None).bytes, "/a".into());
    assert_eq!(open_path(b"", 0, None).bytes, "/".into());
}

#[test]
fn a_cut_path_has_no_root() {
    let path = open_path(b"id_rsa\0.ssh\0", PATH_TRUNCATED, None);
    assert_eq!((path.bytes, path.truncated), (".ssh/id_rsa".into(), true));
    // Cut inside the component nearest to the root: no NUL ends it.
    let path = open_path(b"id_rsa\0.ssh\0us", 0, None);
    assert_eq!((path.bytes, path.truncated), ("us/.ssh/id_rsa".into(), true));
}

#[test]
fn a_made_up_component_cannot_forge_a_place() {
    let path = open_path(b"memfd:/home/user/.ssh\0", PATH_UNMOUNTED | PATH_DELETED, None);
    assert_eq!(path.bytes, "/memfd:\\home\\user\\.ssh".into());
    assert!(path.unresolved && path.outside_root && path.deleted);
    for bytes in [&b"a\0\0b\0"[..], b"..\0a\0", b".\0", b"\0"] {
        assert!(open_path(bytes, 0, None).unresolved, "{bytes:?}");
    }
}

#[test]
fn a_given_name_is_joined_and_never_resolved() {
    for (given, directory, expected) in [
        (&b"../.ssh/id_rsa"[..], Some("/home/user/x"), "/home/user/.ssh/id_rsa"),
        (b"/etc//./x/../passwd", None, "/etc/passwd"),
        (b"x", None, "x"),
        (b"x", Some("/"), "/x"),
        (b"../../../..", Some("/a"), "/"),
        (b"", Some("/a"), ""),
    ] {
        let path = open_path(given, PATH_AS_GIVEN, directory);
        assert_eq!(path.bytes, expected.into());
        assert!(path.unresolved);
    }
}

#[test]
fn file_fields_and_header_flags() {
    let mut builder = RecordBuilder::new(RecordKind::Rename);
    builder.header.flags = HEADER_SECRET;
    let body = FileBody {
        path: builder.path("/tmp/new"),
        target: builder.path("/home/user/.ssh/id_rsa"),
        parent: identity(1),
        target_parent: identity(2),
        replaced: identity(3),
        result: RESULT_PERMITTED,
        ..FileBody::default()
    };
    let record = decode(&builder.finish(&body)).unwrap();
    let RecordBody::File(file) = record.body else { panic!() };
    assert!(file.object.marked_secret);
    assert_eq!(file.object.identity, None);
    assert_eq!(file.object.replaced, Some(identity(3)));
    assert_eq!(file.object.target.unwrap().bytes, "/home/user/.ssh/id_rsa".into());
    assert_eq!(file.result, RESULT_PERMITTED);
}

#[test]
fn exec_is_decoded_and_masked() {
    let record = decode(&exec_record(b"node\0s.js\0--token\0hunter2\0", 100)).unwrap();
    let RecordBody::Exec(exec) = record.body else { panic!() };
    let arguments: Vec<_> = exec.object.arguments.iter().map(Bytes::escaped).collect();
    assert_eq!(arguments, ["node", "s.js", "--token", "[masked]"]);
    assert!(exec.object.arguments_truncated);
    assert_eq!(exec.object.executable.path.bytes, "/usr/bin/node".into());
    assert_eq!(exec.object.given_name, "/usr/bin/node".into());
    assert_eq!(exec.object.stdin.kind, DescriptorKind::Pipe);
    assert_eq!(exec.object.stdout.kind, DescriptorKind::Closed);
    assert_eq!((exec.login_uid, exec.session), (None, Some(3)));
    assert_eq!(exec.cgroup, "/user.slice/a.scope".into());
    assert_eq!(exec.tty, Some("pts0".into()));
}

#[test]
fn network_addresses_are_folded() {
    let body = NetworkBody {
        family: 10,
        socket_type: 1,
        protocol: 6,
        remote_address: mapped(169, 254, 169, 254),
        remote_port: 80,
        result: -111,
        ..NetworkBody::default()
    };
    let record = decode(&RecordBuilder::new(RecordKind::Connect).finish(&body)).unwrap();
    let RecordBody::Network(network) = record.body else { panic!() };
    assert_eq!(network.object.remote, Endpoint::Internet("169.254.169.254".parse().unwrap(), 80));
    assert_eq!((network.object.transport, network.result), (Transport::Tcp, -111));
    assert_eq!((network.object.local, network.object.bytes_sent), (None, None));
}

#[test]
fn unix_names() {
    for (name, flags, expected) in [
        (&b"\0abc"[..], 0, Endpoint::UnixAbstract("abc".into())),
        (b"a\0b", NETWORK_UNIX_ABSTRACT, Endpoint::UnixAbstract(Bytes::new(b"a\0b"))),
        (b"/run/x\0", 0, Endpoint::UnixGiven("/run/x".into())),
        (b"", 0, Endpoint::Unnamed),
    ] {
        let mut builder = RecordBuilder::new(RecordKind::Connect);
        let unix_name = builder.slice(name);
        let record = decode(&builder.finish(&NetworkBody {
            family: 1,
            socket_type: 2,
            unix_name,
            flags,
            ..NetworkBody::default()
        }))
        .unwrap();
        let RecordBody::Network(network) = record.body else { panic!() };
        assert_eq!((network.object.remote, network.object.transport), (expected, Transport::UnixDatagram));
    }
}

#[test]
fn small_bodies() {
    let bodies: Vec<_> = golden().iter().map(|bytes| decode(bytes).unwrap().body).collect();
    let child = ProcessKey { pid: ProcessId(8), start: BootNs(99), exec_id: 2 };
    assert_eq!(bodies[3], RecordBody::Fork(child));
    assert_eq!(bodies[4], RecordBody::Exit(256));
    assert_eq!(bodies[5], RecordBody::Segment(SegmentId(6)));
    let RecordBody::Snoop(snoop) = &bodies[6] else { panic!() };
    assert_eq!(snoop.object.way, SnoopWay::Ptrace);
    let RecordBody::Dns(dns) = &bodies[7] else { panic!() };
    assert!(dns.truncated);
    assert!(!format!("{dns:?}").contains("[1, 2, 3]"));
}

#[test]
fn every_truncation_is_an_error_and_every_changed_byte_is_survived() {
    for record in golden() {
        for length in 0..record.len() {
            assert!(matches!(decode(&record[..length]), Err(DecodeError::TooShort { .. })), "{length}");
            // With the header telling the truth about the cut.
            let mut cut = record[..length].to_vec();
            if let Some(size) = cut.get_mut(..4) {
                size.copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
            }
            let _ = decode(&cut);
        }
        for at in 0..record.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = record.clone();
                changed[at] = value;
                let _ = decode(&changed);
            }
        }
    }
}

#[test]
fn unknown_kinds_and_pieces_outside_are_errors() {
    let mut record = golden()[4].clone();
    record[4..6].copy_from_slice(&999u16.to_ne_bytes());
    assert_eq!(decode(&record), Err(DecodeError::UnknownKind(999)));
    let mut builder = RecordBuilder::new(RecordKind::Open);
    let mut path = builder.path("/a");
    path.bytes.offset = u16::MAX;
    path.bytes.length_bytes = u16::MAX;
    let record = builder.finish(&FileBody { path, ..FileBody::default() });
    assert!(matches!(decode(&record), Err(DecodeError::OutsideTail { .. })));
    assert!(matches!(decode(&[]), Err(DecodeError::TooShort { have: 0, need: 64 })));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn garbage_behind_a_good_header_never_panics(
        kind in prop::sample::select(RecordKind::ALL.to_vec()),
        body in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut record = RecordBuilder::new(kind).finish(&[0u8; 0]);
        record.extend_from_slice(&body);
        let size = u32::try_from(record.len()).unwrap();
        record[..4].copy_from_slice(&size.to_ne_bytes());
        let _ = decode(&record);
    }

    #[test]
    fn walked_paths_survive(parts in prop::collection::vec("[^/\0]{1,20}", 0..20)) {
        let parts: Vec<_> = parts.into_iter().filter(|part| part != "." && part != "..").collect();
        let expected = format!("/{}", parts.join("/"));
        let mut builder = RecordBuilder::new(RecordKind::Unlink);
        let path = builder.path(&expected);
        let record = decode(&builder.finish(&FileBody { path, ..FileBody::default() })).unwrap();
        let RecordBody::File(file) = record.body else { panic!() };
        prop_assert_eq!(file.object.path, FilePath { bytes: expected.as_str().into(), ..FilePath::default() });
    }
}
