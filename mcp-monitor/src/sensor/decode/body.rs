//! The body of each kind, turned into the words of the domain model.

use std::net::{IpAddr, Ipv6Addr};

use mcp_monitor_common::record::{
    ACCESS_CREATE, ACCESS_EXECUTE, ACCESS_PATH, ACCESS_READ, ACCESS_TRUNCATE, ACCESS_WRITE, BLIND_IO_URING,
    BLIND_RAW_SOCKET, BlindBody, DescriptorIdentity, Direction as WireDirection, DnsBody, ExecBody, FileBody,
    HEADER_SECRET, NETWORK_AS_GIVEN, NETWORK_FAST_OPEN, NETWORK_NO_ADDRESS, NETWORK_UNIX_ABSTRACT,
    NetworkBody, RecordKind, SNOOP_NAMESPACE_PID, SNOOP_PIDFD_GETFD, SNOOP_PROCESS_VM_READ,
    SNOOP_PROCESS_VM_WRITE, SNOOP_PTRACE, SnoopBody,
};

use super::{DecodeError, DnsRecord, ExecRecord, FileRecord, NetworkRecord, SnoopRecord, Tail, path};
use crate::{
    event::{
        Access, BootNs, Bytes, Descriptor, DescriptorKind, Direction, Endpoint, ExecObject, FileIdentity,
        FileObject, NameConfidence, NetworkObject, ProcessId, ProcessKey, SegmentId, SnoopObject, SnoopWay,
        Transport,
    },
    sensor::mask,
};

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_PACKET` of `include/linux/socket.h`.
const FAMILY_UNIX: u16 = 1;
const FAMILY_INTERNET: u16 = 2;
const FAMILY_INTERNET6: u16 = 10;
const FAMILY_PACKET: u16 = 17;
/// `SOCK_*` of `include/linux/net.h`.
const TYPE_STREAM: u16 = 1;
const TYPE_DATAGRAM: u16 = 2;
const TYPE_RAW: u16 = 3;
const TYPE_SEQUENTIAL: u16 = 5;
/// `IPPROTO_*` of `include/uapi/linux/in.h`.
const PROTOCOL_TCP: u16 = 6;
const PROTOCOL_UDP: u16 = 17;
const PROTOCOL_MPTCP: u16 = 262;

pub(super) fn file(
    kind: RecordKind,
    header_flags: u16,
    body: &FileBody,
    tail: Tail<'_>,
) -> Result<FileRecord, DecodeError> {
    let target = match kind {
        RecordKind::Symlink => Some(path::decode_text(tail, body.target)?),
        RecordKind::Rename | RecordKind::Link => Some(path::decode(tail, body.target)?),
        _ if path::is_absent(body.target) => None,
        _ => Some(path::decode(tail, body.target)?),
    };
    let object = FileObject {
        path: path::decode(tail, body.path)?,
        identity: identity(body.file),
        parent: identity(body.parent),
        target,
        target_parent: identity(body.target_parent),
        replaced: identity(body.replaced),
        access: access(body.access),
        flags: body.flags,
        mode: body.mode,
        links: body.links,
        filesystem_magic: body.filesystem_magic,
        marked_secret: header_flags & HEADER_SECRET != 0,
    };
    Ok(FileRecord { object, result: body.result, name_hash: body.name_hash })
}

pub(super) fn exec(body: &ExecBody, tail: Tail<'_>) -> Result<ExecRecord, DecodeError> {
    let arguments = tail.slice(body.arguments)?;
    let truncated = usize::try_from(body.arguments_bytes).unwrap_or(usize::MAX) > arguments.len();
    let executable = FileObject {
        path: path::decode(tail, body.path)?,
        identity: identity(body.executable),
        access: Access { execute: true, ..Access::default() },
        mode: body.mode,
        links: body.links,
        filesystem_magic: body.filesystem_magic,
        ..FileObject::default()
    };
    let object = ExecObject {
        executable,
        script: None,
        arguments: mask::arguments(arguments, truncated),
        arguments_truncated: truncated,
        given_name: text(tail.slice(body.given_name)?),
        working_directory: path::decode(tail, body.working_directory)?,
        stdin: descriptor(body.stdin),
        stdout: descriptor(body.stdout),
        mount_namespace: body.mount_namespace,
        pid_namespace: body.pid_namespace,
        net_namespace: body.net_namespace,
    };
    let tty = text(tail.slice(body.tty)?);
    Ok(ExecRecord {
        object,
        interpreter_name: text(tail.slice(body.interpreter_name)?),
        parent: ProcessKey {
            pid: ProcessId(body.parent_tgid),
            start: BootNs(body.parent_start_boottime_ns),
            exec_id: 0,
        },
        uid: body.uid,
        euid: body.euid,
        login_uid: set(body.login_uid),
        session: set(body.session_id),
        tty: (!tty.is_empty()).then_some(tty),
        cgroup: path::decode(tail, body.cgroup_path)?.bytes,
        cgroup_id: body.cgroup_id,
        namespace_pid: body.namespace_pid,
        lineage_flags: body.lineage_flags,
    })
}

pub(super) fn network(
    kind: RecordKind,
    body: &NetworkBody,
    tail: Tail<'_>,
) -> Result<NetworkRecord, DecodeError> {
    let internet = matches!(body.family, FAMILY_INTERNET | FAMILY_INTERNET6);
    let transport = transport(body);
    let local = (address(body.local_address), body.local_port);
    let remote = if internet && kind == RecordKind::Listen {
        Endpoint::Internet(local.0, local.1)
    } else if internet && body.flags & NETWORK_NO_ADDRESS == 0 {
        Endpoint::Internet(address(body.remote_address), body.remote_port)
    } else if body.family == FAMILY_UNIX {
        unix_endpoint(body, tail)?
    } else {
        Endpoint::Unnamed
    };
    let closed = kind == RecordKind::Close;
    let is_local_known = internet && (local.1 != 0 || !local.0.is_unspecified());
    let object = NetworkObject {
        direction: if body.direction == WireDirection::In as u16 { Direction::In } else { Direction::Out },
        transport,
        remote,
        local: is_local_known.then_some(local),
        name: None,
        name_confidence: NameConfidence::Unresolved,
        bytes_sent: closed.then_some(body.bytes_sent),
        bytes_received: closed.then_some(body.bytes_received),
        socket: body.socket,
        fast_open: body.flags & NETWORK_FAST_OPEN != 0,
    };
    Ok(NetworkRecord {
        object,
        result: body.result,
        as_given: body.flags & NETWORK_AS_GIVEN != 0,
        wire: *body,
    })
}

fn unix_endpoint(body: &NetworkBody, tail: Tail<'_>) -> Result<Endpoint, DecodeError> {
    let name = tail.slice(body.unix_name)?;
    if body.flags & NETWORK_UNIX_ABSTRACT != 0 {
        // An abstract name may hold NULs; they belong to it.
        return Ok(Endpoint::UnixAbstract(Bytes::new(name)));
    }
    if !path::is_absent(body.unix_path) {
        return Ok(Endpoint::UnixPath(path::decode(tail, body.unix_path)?, identity(body.unix_file)));
    }
    Ok(match name.split_first() {
        None => Endpoint::Unnamed,
        Some((0, rest)) => Endpoint::UnixAbstract(Bytes::new(rest)),
        Some(_) => Endpoint::UnixGiven(Bytes::new(path::until_nul(name))),
    })
}

fn transport(body: &NetworkBody) -> Transport {
    match (body.family, body.socket_type, body.protocol) {
        (FAMILY_UNIX, TYPE_DATAGRAM, _) => Transport::UnixDatagram,
        (FAMILY_UNIX, TYPE_STREAM | TYPE_SEQUENTIAL, _) => Transport::UnixStream,
        (FAMILY_INTERNET | FAMILY_INTERNET6, TYPE_STREAM, 0 | PROTOCOL_TCP | PROTOCOL_MPTCP) => {
            Transport::Tcp
        }
        (FAMILY_INTERNET | FAMILY_INTERNET6, TYPE_DATAGRAM, 0 | PROTOCOL_UDP) => Transport::Udp,
        (FAMILY_INTERNET | FAMILY_INTERNET6, TYPE_RAW, protocol) | (FAMILY_PACKET, _, protocol) => {
            Transport::Raw(protocol)
        }
        (family, _, protocol) => Transport::Other(family, protocol),
    }
}

pub(super) fn dns(body: &DnsBody, tail: Tail<'_>) -> Result<DnsRecord, DecodeError> {
    let answer = tail.slice(body.answer)?;
    Ok(DnsRecord {
        server: (address(body.server_address), body.server_port),
        answer: answer.to_vec(),
        truncated: usize::try_from(body.answer_bytes).unwrap_or(usize::MAX) > answer.len(),
    })
}

pub(super) fn blind(body: BlindBody) -> &'static str {
    match body.what {
        BLIND_IO_URING => {
            "an io_uring was set up: opens into direct descriptors and changes of files through it are not seen"
        }
        BLIND_RAW_SOCKET => {
            "a raw or packet socket was made: what is sent without an address of its own is not seen"
        }
        _ => "something that the mechanisms in use cannot follow",
    }
}

pub(super) fn snoop(body: &SnoopBody) -> SnoopRecord {
    let way = match body.way {
        SNOOP_PTRACE => SnoopWay::Ptrace,
        SNOOP_PROCESS_VM_READ => SnoopWay::ProcessVmRead,
        SNOOP_PROCESS_VM_WRITE => SnoopWay::ProcessVmWrite,
        SNOOP_PIDFD_GETFD => SnoopWay::PidfdGetfd,
        // The access check stands behind all of them.
        _ => SnoopWay::AccessCheck,
    };
    SnoopRecord {
        object: SnoopObject {
            target: ProcessId(body.target_tgid),
            target_start: (body.target_start_boottime_ns != 0)
                .then_some(BootNs(body.target_start_boottime_ns)),
            target_segment: (body.target_segment != 0).then_some(SegmentId(body.target_segment)),
            target_executable: None,
            way,
        },
        result: body.result,
        namespace_pid: body.flags & SNOOP_NAMESPACE_PID != 0,
    }
}

fn text(bytes: &[u8]) -> Bytes {
    if bytes.is_empty() { Bytes::default() } else { Bytes::new(path::until_nul(bytes)) }
}

fn set(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

fn identity(file: FileIdentity) -> Option<FileIdentity> {
    (file != FileIdentity::default()).then_some(file)
}

/// IPv4-mapped IPv6 folded into IPv4.
fn address(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

fn access(bits: u32) -> Access {
    Access {
        read: bits & ACCESS_READ != 0,
        write: bits & ACCESS_WRITE != 0,
        execute: bits & ACCESS_EXECUTE != 0,
        path_only: bits & ACCESS_PATH != 0,
        create: bits & ACCESS_CREATE != 0,
        truncate: bits & ACCESS_TRUNCATE != 0,
    }
}

fn descriptor(wire: DescriptorIdentity) -> Descriptor {
    // `S_IFMT` and its values, `include/uapi/linux/stat.h`.
    let kind = match wire.mode & 0o170_000 {
        0 if wire.mode == 0 => DescriptorKind::Closed,
        0o010_000 => DescriptorKind::Pipe,
        0o140_000 => DescriptorKind::Socket,
        0o020_000 => DescriptorKind::CharacterDevice,
        0o100_000 => DescriptorKind::File,
        _ => DescriptorKind::Other,
    };
    Descriptor {
        kind,
        inode: wire.inode,
        peer_inode: (wire.peer_inode != 0).then_some(wire.peer_inode),
        device: wire.device,
    }
}
