//! What each kind of system call came to.
//!
//! Functions with symbols of their own and only numbers as arguments: each is verified once for itself, and has a
//! stack frame only while it runs.

use mcp_monitor_common::{
    mechanism::SYSCALL_EXIT,
    record::{
        BlindBody, Direction, FileBody, NETWORK_AS_GIVEN, PATH_AS_GIVEN, PathSlice, RecordKind,
        SNOOP_NAMESPACE_PID, SnoopBody,
    },
};

use super::{Registers, SOCK_RAW, calls::NO};
use crate::{
    address,
    address::{AF_INET, AF_INET6, AF_UNIX, Memory},
    descriptor, egress,
    egress::Said,
    file::{Use, report_apart},
    kernel,
    kernel::Address,
    lineage,
    lineage::Process,
    path,
    record::{Weight, Writer},
    snoop, unix,
};

/// Descriptors of one message that are looked at; more are rare, and the open of each was seen where it happened.
const RECEIVED_MAX: u32 = 4;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
const SOCK_DGRAM: u16 = 2;

/// The name as it was given: the kernel found no file that could be asked.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn exit_failed_open(at: u64, compat: u64, arguments: u64, result: u64) -> u64 {
    if let Some(process) = lineage::current() {
        let registers = Registers { at: at as Address, compat: compat != 0 };
        failed_open(&process, &registers, (arguments >> 8) as u8, arguments as u8, result as i64);
    }
    0
}

#[inline(always)]
fn failed_open(process: &Process, registers: &Registers, directory: u8, name: u8, result: i64) -> Option<()> {
    let mut writer = Writer::<FileBody>::new(process, RecordKind::Open)?;
    let path = path::given(&mut writer, registers.argument(name) as Address, registers.directory(directory));
    clear(writer.body());
    // SAFETY: as in `clear`.
    unsafe {
        (*writer.body()).path = path;
        (*writer.body()).result = result as i32;
    }
    writer.send(process, RecordKind::Open, SYSCALL_EXIT, 0, Weight::Bulk);
    None
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn exit_change(at: u64, compat: u64, arguments: u64, kind: u64) -> u64 {
    let Some(process) = lineage::current() else { return 0 };
    let registers = Registers { at: at as Address, compat: compat != 0 };
    let kind = match kind {
        kind if kind == RecordKind::Rename as u64 => RecordKind::Rename,
        kind if kind == RecordKind::Link as u64 => RecordKind::Link,
        kind if kind == RecordKind::Symlink as u64 => RecordKind::Symlink,
        kind if kind == RecordKind::Unlink as u64 => RecordKind::Unlink,
        kind if kind == RecordKind::Truncate as u64 => RecordKind::Truncate,
        _ => RecordKind::Chmod,
    };
    changed(&process, &registers, kind, arguments);
    0
}

#[inline(always)]
fn changed(process: &Process, registers: &Registers, kind: RecordKind, arguments: u64) -> Option<()> {
    let (directory, name) = (arguments as u8, (arguments >> 8) as u8);
    let (new_directory, new_name, flags) =
        ((arguments >> 16) as u8, (arguments >> 24) as u8, (arguments >> 32) as u8);
    let mut writer = Writer::<FileBody>::new(process, kind)?;
    let path = path::given(&mut writer, registers.argument(name) as Address, registers.directory(directory));
    let body = writer.body();
    clear(body);
    // SAFETY: as in `clear`.
    unsafe {
        (*body).path = path;
        if kind == RecordKind::Symlink {
            // What it points to is text, whatever it looks like.
            (*body).target = PathSlice {
                bytes: writer.user_text(registers.argument(new_name) as Address),
                flags: PATH_AS_GIVEN,
                components: 0,
            };
        } else if new_name != NO {
            (*body).target = path::given(
                &mut writer,
                registers.argument(new_name) as Address,
                registers.directory(new_directory),
            );
        }
        if flags != NO {
            (*body).flags = registers.argument(flags) as u32;
        }
    }
    writer.send(process, kind, SYSCALL_EXIT, 0, Weight::Bulk);
    None
}

/// Zeroes a body in place.
#[inline(always)]
fn clear(body: *mut FileBody) {
    // SAFETY: the body lies in a slot that a writer owns, 8-aligned; 15 words are its 120 bytes.
    unsafe {
        let words = body.cast::<u64>();
        let mut at = 0;
        while at < size_of::<FileBody>() / 8 {
            core::ptr::write_volatile(words.add(at), 0);
            at += 1;
        }
    }
}

/// Files that came in with a message: its control data, as the kernel has just written it to user memory.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn exit_receive(message: u64) -> u64 {
    received(message as Address);
    0
}

#[inline(always)]
fn received(message: Address) -> Option<()> {
    // struct user_msghdr (include/linux/socket.h): msg_control at 32, msg_controllen at 40.
    let control: u64 = kernel::read_user(message.wrapping_add(32));
    let length: u64 = kernel::read_user(message.wrapping_add(40));
    if control == 0 || length < 20 {
        return None;
    }
    let control = control as Address;
    // struct cmsghdr: length, level, type, then the descriptors.
    let header: [u32; 4] = kernel::read_user(control);
    if header[2] != SOL_SOCKET || header[3] != SCM_RIGHTS {
        return None;
    }
    let descriptors = header[0].saturating_sub(16) / 4;
    let mut at = 0;
    while at < RECEIVED_MAX {
        if at >= descriptors {
            break;
        }
        let descriptor: u32 = kernel::read_user(control.wrapping_add(16 + at as usize * 4));
        let file = descriptor::file(descriptor);
        if !file.is_null() {
            let how = Use {
                kind: RecordKind::Receive,
                mechanism: SYSCALL_EXIT,
                result: 0,
                flags: 0,
                access: 0,
                can_refuse: false,
            };
            report_apart(file, how);
        }
        at += 1;
    }
    None
}

/// A local socket's peer by the kernel's record of it, or, where there came to be none, the name as given.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn exit_connect_unix(sock: u64, sockaddr: u64, result: u64) -> u64 {
    let Some(process) = lineage::current() else { return 0 };
    let sock = sock as Address;
    let how = Said::new(RecordKind::Connect, SYSCALL_EXIT, Direction::Out, result as i32);
    if result == 0 {
        unix::report(&process, sock, kernel::pointer(sock, &kernel::UNIX_PEER), how, 0);
    } else {
        unix::given(&process, sock, sockaddr as Address, how);
    }
    0
}

/// TCP is seen at the socket's change of state and UDP at the cgroup programs; here are connections that failed
/// before they got so far.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn exit_connect(sock: u64, sockaddr: u64, result: u64) -> u64 {
    if let Some(process) = lineage::current() {
        failed_connect(&process, sock as Address, sockaddr as Address, result as i64);
    }
    0
}

#[inline(always)]
fn failed_connect(process: &Process, sock: Address, sockaddr: Address, result: i64) -> Option<()> {
    const EINPROGRESS: i64 = -115;
    const EALREADY: i64 = -114;
    const ECONNREFUSED: i64 = -111;
    const ETIMEDOUT: i64 = -110;
    const ECONNRESET: i64 = -104;
    let family = kernel::get::<u16>(sock, &kernel::SOCK_FAMILY);
    let seen_elsewhere = matches!(result, 0 | EINPROGRESS | EALREADY | ECONNREFUSED | ETIMEDOUT | ECONNRESET);
    if seen_elsewhere || (family != AF_INET && family != AF_INET6) {
        return None;
    }
    let remote = address::of_sockaddr(sockaddr, Memory::User)?;
    let mut said = Said::new(RecordKind::Connect, SYSCALL_EXIT, Direction::Out, result as i32);
    said.flags = NETWORK_AS_GIVEN;
    egress::emit(process, sock, &remote, said, 0);
    None
}

/// Datagrams to a local socket, and packets of raw sockets; UDP is seen at the cgroup programs.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn exit_send(descriptor: u64, sockaddr: u64) -> u64 {
    if let Some(process) = lineage::current() {
        sent(&process, descriptor as u32, sockaddr as Address);
    }
    0
}

#[inline(always)]
fn sent(process: &Process, descriptor: u32, sockaddr: Address) -> Option<()> {
    if sockaddr.is_null() {
        return None;
    }
    let sock = descriptor::sock_of_file(descriptor::file(descriptor));
    if sock.is_null() {
        return None;
    }
    let family = kernel::get::<u16>(sock, &kernel::SOCK_FAMILY);
    let kind = kernel::get::<u16>(sock, &kernel::SOCK_TYPE);
    if family == AF_UNIX && kind == SOCK_DGRAM {
        let how = Said::new(RecordKind::Send, SYSCALL_EXIT, Direction::Out, 0);
        unix::given(process, sock, sockaddr, how);
    } else if kind == SOCK_RAW {
        let remote = address::of_sockaddr(sockaddr, Memory::User)?;
        let mut said = Said::new(RecordKind::Send, SYSCALL_EXIT, Direction::Out, 0);
        said.flags = NETWORK_AS_GIVEN;
        egress::emit_first(process, sock, &remote, said);
    }
    None
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn exit_snoop(target: u64, way: u64) -> u64 {
    if let Some(process) = lineage::current() {
        let body = SnoopBody {
            target_tgid: target as u32,
            way: way as u32,
            flags: SNOOP_NAMESPACE_PID,
            ..SnoopBody::default()
        };
        snoop::emit(&process, SYSCALL_EXIT, body);
    }
    0
}

/// Says that the process has begun something that this tier cannot follow.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn exit_blind(what: u64) -> u64 {
    if let Some(process) = lineage::current()
        && let Some(mut writer) = Writer::<BlindBody>::new(&process, RecordKind::Blind)
    {
        writer.set(BlindBody { what: what as u32, reserved: 0 });
        writer.send(&process, RecordKind::Blind, SYSCALL_EXIT, 0, Weight::Vital);
    }
    0
}
