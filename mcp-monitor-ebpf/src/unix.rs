//! Local sockets: who is spoken to, by the kernel's own record of the peer's name.

use aya_ebpf::{
    macros::{kprobe, lsm},
    programs::{LsmContext, ProbeContext},
};
use mcp_monitor_common::{
    map::ReliefKey,
    mechanism,
    record::{
        Direction, FileIdentity, HEADER_RELIEVED, NETWORK_AS_GIVEN, NETWORK_UNIX_ABSTRACT, NetworkBody,
        PathSlice, RESULT_PERMITTED, RecordKind, Slice,
    },
};

use crate::{
    address::AF_UNIX,
    change::lsm,
    egress::Said,
    file::argument,
    filter,
    filter::Repeat,
    identity, kernel,
    kernel::Address,
    lineage,
    lineage::Process,
    path,
    record::{Weight, Writer},
};

/// Reports speech between `sock` and the socket whose name is `named`: for a connection the listener's, for an
/// accepted one our own.
#[inline(always)]
pub(crate) fn report(process: &Process, sock: Address, named: Address, how: Said, flags: u16) -> bool {
    let Some(mut writer) = Writer::<NetworkBody>::new(process, how.kind) else { return false };
    let body = writer.body();
    // SAFETY: the body lies in the slot that the writer owns; every field is written.
    unsafe {
        fill(body, sock, how);
        let bound = kernel::at(named, &kernel::UNIX_PATH);
        let dentry = kernel::pointer(bound, &kernel::PATH_DENTRY);
        if dentry.is_null() {
            let unix_address = kernel::pointer(named, &kernel::UNIX_ADDRESS);
            // The family's two bytes and, for an abstract name, a NUL stand before the name.
            let length = kernel::get::<u32>(unix_address, &kernel::UNIX_ADDRESS_LENGTH);
            let name = kernel::at(unix_address, &kernel::UNIX_ADDRESS_NAME).wrapping_add(2);
            if !unix_address.is_null() && length > 3 && length < 120 && kernel::read::<u8>(name) == 0 {
                (*body).flags = NETWORK_UNIX_ABSTRACT;
                (*body).unix_name = writer.kernel_bytes(name.wrapping_add(1), length - 3);
            }
        } else {
            (*body).unix_file = identity::of_dentry(dentry);
            (*body).unix_path = path::walk_path(&mut writer, bound);
        }
    }
    writer.send(process, how.kind, how.mechanism, flags, Weight::Bulk)
}

/// Everything but the name.
#[inline(always)]
unsafe fn fill(body: *mut NetworkBody, sock: Address, how: Said) {
    // SAFETY: the caller's promise: a body in a slot that a writer owns.
    unsafe {
        (*body).socket = sock as u64;
        (*body).bytes_sent = 0;
        (*body).bytes_received = 0;
        (*body).remote_address = [0; 16];
        (*body).local_address = [0; 16];
        (*body).remote_port = 0;
        (*body).local_port = 0;
        (*body).family = AF_UNIX;
        (*body).socket_type = kernel::get::<u16>(sock, &kernel::SOCK_TYPE);
        (*body).protocol = 0;
        (*body).direction = how.direction as u16;
        (*body).result = how.result;
        (*body).unix_path = PathSlice::default();
        (*body).unix_name = Slice::default();
        (*body).flags = 0;
        (*body).unix_file = FileIdentity::default();
    }
}

/// Reports a name as user memory gives it.
#[inline(always)]
pub(crate) fn given(process: &Process, sock: Address, sockaddr: Address, how: Said) {
    let Some(mut writer) = Writer::<NetworkBody>::new(process, how.kind) else { return };
    let body = writer.body();
    // An abstract name begins with a NUL: the text after it is taken, and flagged.
    let name = sockaddr.wrapping_add(2);
    let is_abstract = kernel::read_user::<u8>(name) == 0;
    // SAFETY: the body lies in the slot that the writer owns.
    unsafe {
        fill(body, sock, how);
        (*body).flags = NETWORK_AS_GIVEN | if is_abstract { NETWORK_UNIX_ABSTRACT } else { 0 };
        (*body).unix_name = writer.user_text(if is_abstract { name.wrapping_add(1) } else { name });
    }
    writer.send(process, how.kind, how.mechanism, 0, Weight::Bulk);
}

/// Reports an accepted connection.
#[inline(always)]
pub(crate) fn accepted(process: &Process, sock: Address, mechanism: u32) {
    let how = Said::new(RecordKind::Accept, mechanism, Direction::In, 0);
    report(process, sock, sock, how, 0);
}

#[inline(always)]
fn connects(sock: Address, other: Address, mechanism: u32) -> Option<()> {
    let process = lineage::current()?;
    let how = Said::new(RecordKind::Connect, mechanism, Direction::Out, RESULT_PERMITTED);
    report(&process, sock, other, how, 0);
    Some(())
}

#[inline(always)]
fn sends(socket: Address, other: Address, mechanism: u32) -> Option<()> {
    let process = lineage::current()?;
    let sock = kernel::pointer(socket, &kernel::SOCKET_SOCK);
    let peer = kernel::pointer(other, &kernel::SOCKET_SOCK);
    let key = ReliefKey {
        start_boottime_ns: process.start_boottime_ns,
        tgid: process.tgid,
        exec_id: process.exec_id,
        kind: RecordKind::Send as u32,
        flags: u32::from(AF_UNIX),
        object: [peer as u64, sock as u64, 0, 0],
    };
    let repeat = filter::repeat(&key);
    if repeat == Repeat::Counted {
        return None;
    }
    let how = Said::new(RecordKind::Send, mechanism, Direction::Out, RESULT_PERMITTED);
    let flags = if repeat == Repeat::First { HEADER_RELIEVED } else { 0 };
    if !report(&process, sock, peer, how, flags) && repeat == Repeat::First {
        filter::forget(&key);
    }
    Some(())
}

/// match-proto: include/linux/lsm_hook_defs.h:LSM_HOOK(int, 0, unix_stream_connect, struct sock *sock,
/// struct sock *other, struct sock *newsk)
#[lsm(hook = "unix_stream_connect")]
pub fn lsm_unix_connect(context: LsmContext) -> i32 {
    connects(lsm(&context, 0), lsm(&context, 1), mechanism::LSM_UNIX_CONNECT);
    0
}

/// match-proto: LSM_HOOK(int, 0, unix_may_send, struct socket *sock, struct socket *other)
#[lsm(hook = "unix_may_send")]
pub fn lsm_unix_send(context: LsmContext) -> i32 {
    sends(lsm(&context, 0), lsm(&context, 1), mechanism::LSM_UNIX_SEND);
    0
}

/// match-proto: security/security.c:int security_unix_stream_connect(struct sock *sock, struct sock *other, struct sock *newsk)
#[kprobe]
pub fn probe_unix_connect(context: ProbeContext) -> u32 {
    connects(argument(&context, 0), argument(&context, 1), mechanism::PROBE_UNIX_CONNECT);
    0
}

/// match-proto: security/security.c:int security_unix_may_send(struct socket *sock, struct socket *other)
#[kprobe]
pub fn probe_unix_send(context: ProbeContext) -> u32 {
    sends(argument(&context, 0), argument(&context, 1), mechanism::PROBE_UNIX_SEND);
    0
}
