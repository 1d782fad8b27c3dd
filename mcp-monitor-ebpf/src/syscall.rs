//! The `tracepoint` tier: what system calls came to, at their exit, resolved through the kernel's own tables.
//!
//! Weaker than the security hooks, and said so in coverage: names of changes are as given, a sibling thread may swap
//! a descriptor before the exit. x86-64, with 32-bit calls of 64-bit processes counted in.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use mcp_monitor_common::{
    mechanism::SYSCALL_EXIT,
    record::{
        ACCESS_EXECUTE, BLIND_IO_URING, BLIND_RAW_SOCKET, BlindBody, Direction, FileBody, NETWORK_AS_GIVEN, NetworkBody,
        PATH_AS_GIVEN, PathSlice, RecordKind, SNOOP_NAMESPACE_PID, SNOOP_PIDFD_GETFD, SNOOP_PROCESS_VM_READ,
        SNOOP_PROCESS_VM_WRITE, SNOOP_PTRACE, SnoopBody,
    },
};

use crate::{
    address,
    address::{AF_INET, AF_INET6, AF_UNIX, Memory},
    descriptor, egress,
    file::{Use, report},
    ingress, kernel,
    kernel::Address,
    lineage,
    lineage::Process,
    path,
    record::{Weight, Writer},
    snoop, unix,
};

/// `TS_COMPAT` of `arch/x86/include/asm/thread_info.h`: the running system call is a 32-bit one.
const TS_COMPAT: u32 = 2;
/// `AT_FDCWD`.
const AT_FDCWD: u32 = -100_i32 as u32;
/// Descriptors of one message that are looked at; more are rare, and the open of each was seen where it happened.
const RECEIVED_MAX: u32 = 4;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
const AF_PACKET: u64 = 17;
const PROT_EXEC: u64 = 4;

/// What a system call does, whatever its number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    /// Directory descriptor's argument or `NO`, name's argument, flags' argument or `NO`.
    Open(u8, u8, u8),
    /// Kind, directory, name, new directory, new name, flags' argument.
    Change(RecordKind, u8, u8, u8, u8, u8),
    Receive,
    PidfdGetfd,
    Map,
    Connect,
    Accept,
    SendTo,
    SendMessage,
    Socket,
    IoUring,
    Ptrace,
    ProcessVm(u32),
}

/// No such argument.
const NO: u8 = 0xff;

/// System calls of `arch/x86/entry/syscalls/syscall_64.tbl`.
#[inline(always)]
fn native(number: u32) -> Option<Call> {
    Some(match number {
        2 => Call::Open(NO, 0, 1),
        85 => Call::Open(NO, 0, NO),
        257 => Call::Open(0, 1, 2),
        437 => Call::Open(0, 1, NO),
        304 => Call::Open(NO, NO, 2),
        82 => Call::Change(RecordKind::Rename, NO, 0, NO, 1, NO),
        264 | 316 => Call::Change(RecordKind::Rename, 0, 1, 2, 3, NO),
        86 => Call::Change(RecordKind::Link, NO, 0, NO, 1, NO),
        265 => Call::Change(RecordKind::Link, 0, 1, 2, 3, NO),
        88 => Call::Change(RecordKind::Symlink, NO, 1, NO, 0, NO),
        266 => Call::Change(RecordKind::Symlink, 1, 2, NO, 0, NO),
        87 => Call::Change(RecordKind::Unlink, NO, 0, NO, NO, NO),
        263 => Call::Change(RecordKind::Unlink, 0, 1, NO, NO, NO),
        76 => Call::Change(RecordKind::Truncate, NO, 0, NO, NO, NO),
        90 => Call::Change(RecordKind::Chmod, NO, 0, NO, NO, 1),
        268 | 452 => Call::Change(RecordKind::Chmod, 0, 1, NO, NO, 2),
        47 => Call::Receive,
        438 => Call::PidfdGetfd,
        9 => Call::Map,
        42 => Call::Connect,
        43 | 288 => Call::Accept,
        44 => Call::SendTo,
        46 => Call::SendMessage,
        41 => Call::Socket,
        425 => Call::IoUring,
        101 => Call::Ptrace,
        310 => Call::ProcessVm(SNOOP_PROCESS_VM_READ),
        311 => Call::ProcessVm(SNOOP_PROCESS_VM_WRITE),
        _ => return None,
    })
}

/// System calls of `arch/x86/entry/syscalls/syscall_32.tbl`. Messages and control data have other layouts there and
/// are left out, which coverage says.
#[inline(always)]
fn compat(number: u32) -> Option<Call> {
    Some(match number {
        5 => Call::Open(NO, 0, 1),
        8 => Call::Open(NO, 0, NO),
        295 => Call::Open(0, 1, 2),
        437 => Call::Open(0, 1, NO),
        342 => Call::Open(NO, NO, 2),
        38 => Call::Change(RecordKind::Rename, NO, 0, NO, 1, NO),
        302 | 353 => Call::Change(RecordKind::Rename, 0, 1, 2, 3, NO),
        9 => Call::Change(RecordKind::Link, NO, 0, NO, 1, NO),
        303 => Call::Change(RecordKind::Link, 0, 1, 2, 3, NO),
        83 => Call::Change(RecordKind::Symlink, NO, 1, NO, 0, NO),
        304 => Call::Change(RecordKind::Symlink, 1, 2, NO, 0, NO),
        10 => Call::Change(RecordKind::Unlink, NO, 0, NO, NO, NO),
        301 => Call::Change(RecordKind::Unlink, 0, 1, NO, NO, NO),
        92 | 193 => Call::Change(RecordKind::Truncate, NO, 0, NO, NO, NO),
        15 => Call::Change(RecordKind::Chmod, NO, 0, NO, NO, 1),
        306 | 452 => Call::Change(RecordKind::Chmod, 0, 1, NO, NO, 2),
        438 => Call::PidfdGetfd,
        192 => Call::Map,
        362 => Call::Connect,
        364 => Call::Accept,
        425 => Call::IoUring,
        26 => Call::Ptrace,
        347 => Call::ProcessVm(SNOOP_PROCESS_VM_READ),
        348 => Call::ProcessVm(SNOOP_PROCESS_VM_WRITE),
        _ => return None,
    })
}

/// The registers that a system call began with, as far as the kernel keeps them.
struct Registers {
    at: Address,
    compat: bool,
}

impl Registers {
    #[inline(always)]
    fn argument(&self, n: u8) -> u64 {
        if self.compat {
            let value = match n {
                0 => kernel::get::<u64>(self.at, &kernel::REGS_BX),
                1 => kernel::get::<u64>(self.at, &kernel::REGS_CX),
                2 => kernel::get::<u64>(self.at, &kernel::REGS_DX),
                3 => kernel::get::<u64>(self.at, &kernel::REGS_SI),
                4 => kernel::get::<u64>(self.at, &kernel::REGS_DI),
                _ => 0,
            };
            return value & 0xffff_ffff;
        }
        match n {
            0 => kernel::get::<u64>(self.at, &kernel::REGS_DI),
            1 => kernel::get::<u64>(self.at, &kernel::REGS_SI),
            2 => kernel::get::<u64>(self.at, &kernel::REGS_DX),
            3 => kernel::get::<u64>(self.at, &kernel::REGS_R10),
            4 => kernel::get::<u64>(self.at, &kernel::REGS_R8),
            5 => kernel::get::<u64>(self.at, &kernel::REGS_R9),
            _ => 0,
        }
    }

    /// The directory that a relative name starts from: a descriptor's, or the working directory.
    #[inline(always)]
    fn directory(&self, n: u8) -> Address {
        let descriptor = if n == NO { AT_FDCWD } else { self.argument(n) as u32 };
        if descriptor == AT_FDCWD {
            let fs = kernel::pointer(kernel::current_task(), &kernel::TASK_FS);
            return kernel::at(fs, &kernel::FS_PWD);
        }
        kernel::at(descriptor::file(descriptor), &kernel::FILE_PATH)
    }
}

/// match-proto: include/trace/events/syscalls.h:TP_PROTO(struct pt_regs *regs, long ret)
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn syscall_exit(context: RawTracePointContext) -> i32 {
    // Everybody's system calls pass here: one look-up, then out.
    if let Some(process) = lineage::current() {
        exits(&process, context.arg::<u64>(0) as Address, context.arg::<u64>(1) as i64);
    }
    0
}

#[inline(always)]
fn exits(process: &Process, at: Address, result: i64) -> Option<()> {
    let number = kernel::get::<u64>(at, &kernel::REGS_ORIG_AX) as u32;
    let is_compat = kernel::get::<u32>(kernel::current_task(), &kernel::TASK_THREAD_STATUS) & TS_COMPAT != 0;
    let registers = Registers { at, compat: is_compat };
    // Bit 30 marks the x32 ABI, whose numbers are the native ones.
    let call = if is_compat { compat(number)? } else { native(number & !0x4000_0000)? };

    let file: Address;
    let mut how =
        Use { kind: RecordKind::Open, mechanism: SYSCALL_EXIT, result: 0, flags: 0, access: 0, can_refuse: false };
    match call {
        Call::Open(directory, name, flags) => {
            if result < 0 {
                return failed_open(process, &registers, directory, name, result);
            }
            file = descriptor::file(result as u32);
            if flags != NO {
                // The kernel has taken O_CREAT and O_TRUNC out of f_flags by now.
                how.flags = registers.argument(flags) as u32;
                how.access = created(how.flags);
            }
        }
        Call::Change(kind, directory, name, new_directory, new_name, flags) if result == 0 => {
            return changed(process, &registers, kind, [directory, name, new_directory, new_name, flags]);
        }
        Call::Receive if result >= 0 => return received(process, &registers),
        Call::PidfdGetfd if result >= 0 => {
            how.kind = RecordKind::Receive;
            how.flags = 1;
            file = descriptor::file(result as u32);
        }
        Call::Map if registers.argument(2) & PROT_EXEC != 0 && !(-4095..0).contains(&result) => {
            let descriptor = registers.argument(4) as i32;
            if descriptor < 0 {
                return None;
            }
            how.kind = RecordKind::Map;
            how.flags = registers.argument(2) as u32;
            how.access = ACCESS_EXECUTE;
            file = descriptor::file(descriptor as u32);
        }
        Call::Connect => return connected(process, &registers, result),
        Call::Accept if result >= 0 => {
            let sock = descriptor::sock_of_file(descriptor::file(result as u32));
            if !sock.is_null() {
                ingress::accepted(process, sock, SYSCALL_EXIT);
            }
            return None;
        }
        Call::SendTo if result >= 0 => {
            return sent(process, registers.argument(0) as u32, registers.argument(4) as Address);
        }
        Call::SendMessage if result >= 0 => {
            // msg_name is the first member of struct user_msghdr.
            let name: u64 = kernel::read_user(registers.argument(1) as Address);
            return sent(process, registers.argument(0) as u32, name as Address);
        }
        Call::Socket if result >= 0 => {
            if registers.argument(1) & 0xf == u64::from(SOCK_RAW) || registers.argument(0) == AF_PACKET {
                blind(process, BLIND_RAW_SOCKET);
            }
            return None;
        }
        Call::IoUring if result >= 0 => return blind(process, BLIND_IO_URING),
        Call::Ptrace if result >= 0 => {
            // PTRACE_TRACEME asks to be traced; everything else is about the target.
            if registers.argument(0) == 0 {
                return None;
            }
            return snooped(process, registers.argument(1) as u32, SNOOP_PTRACE);
        }
        Call::ProcessVm(way) if result >= 0 => return snooped(process, registers.argument(0) as u32, way),
        _ => return None,
    }
    if !file.is_null() {
        if how.kind == RecordKind::Receive {
            snooped(process, 0, SNOOP_PIDFD_GETFD);
        }
        report(process, file, how);
    }
    None
}

#[inline(always)]
fn created(flags: u32) -> u32 {
    use mcp_monitor_common::record::{ACCESS_CREATE, ACCESS_TRUNCATE};
    (if flags & 0o100 != 0 { ACCESS_CREATE } else { 0 }) | (if flags & 0o1000 != 0 { ACCESS_TRUNCATE } else { 0 })
}

/// The name as it was given: the kernel found no file that could be asked.
#[inline(always)]
fn failed_open(process: &Process, registers: &Registers, directory: u8, name: u8, result: i64) -> Option<()> {
    if name == NO {
        return None;
    }
    let mut writer = Writer::<FileBody>::new(process, RecordKind::Open)?;
    let path = path::given(&mut writer, registers.argument(name) as Address, registers.directory(directory));
    writer.set(FileBody { path, result: result as i32, ..FileBody::default() });
    writer.send(process, RecordKind::Open, SYSCALL_EXIT, 0, Weight::Bulk);
    None
}

#[inline(always)]
fn changed(process: &Process, registers: &Registers, kind: RecordKind, arguments: [u8; 5]) -> Option<()> {
    let [directory, name, new_directory, new_name, flags] = arguments;
    let mut writer = Writer::<FileBody>::new(process, kind)?;
    let path = path::given(&mut writer, registers.argument(name) as Address, registers.directory(directory));
    let mut body = FileBody { path, result: 0, ..FileBody::default() };
    if kind == RecordKind::Symlink {
        // What it points to is text, whatever it looks like.
        body.target = PathSlice {
            bytes: writer.user_text(registers.argument(new_name) as Address),
            flags: PATH_AS_GIVEN,
            components: 0,
        };
    } else if new_name != NO {
        body.target =
            path::given(&mut writer, registers.argument(new_name) as Address, registers.directory(new_directory));
    }
    if flags != NO {
        body.flags = registers.argument(flags) as u32;
    }
    writer.set(body);
    writer.send(process, kind, SYSCALL_EXIT, 0, Weight::Bulk);
    None
}

/// Files that came in with a message: its control data, as the kernel has just written it to user memory.
#[inline(always)]
fn received(process: &Process, registers: &Registers) -> Option<()> {
    let message = registers.argument(1) as Address;
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
            report(process, file, how);
        }
        at += 1;
    }
    None
}

/// TCP is seen at the socket's change of state and UDP at the cgroup programs; here are local sockets, and
/// connections that failed before they got so far.
#[inline(always)]
fn connected(process: &Process, registers: &Registers, result: i64) -> Option<()> {
    const EINPROGRESS: i64 = -115;
    const EALREADY: i64 = -114;
    const ECONNREFUSED: i64 = -111;
    const ETIMEDOUT: i64 = -110;
    const ECONNRESET: i64 = -104;
    let sock = descriptor::sock_of_file(descriptor::file(registers.argument(0) as u32));
    if sock.is_null() {
        return None;
    }
    let sockaddr = registers.argument(1) as Address;
    let family = kernel::get::<u16>(sock, &kernel::SOCK_FAMILY);
    if family == AF_UNIX {
        if result == 0 {
            let peer = kernel::pointer(sock, &kernel::UNIX_PEER);
            let how = unix::How {
                kind: RecordKind::Connect,
                mechanism: SYSCALL_EXIT,
                direction: Direction::Out,
                result: 0,
            };
            unix::report(process, sock, peer, how, 0);
        } else {
            unix::given(process, sock, sockaddr, RecordKind::Connect, SYSCALL_EXIT, result as i32);
        }
        return None;
    }
    let seen_elsewhere = matches!(result, 0 | EINPROGRESS | EALREADY | ECONNREFUSED | ETIMEDOUT | ECONNRESET);
    if seen_elsewhere || (family != AF_INET && family != AF_INET6) {
        return None;
    }
    let remote = address::of_sockaddr(sockaddr, Memory::User)?;
    let body =
        NetworkBody { flags: NETWORK_AS_GIVEN, ..egress::body(sock, remote, Direction::Out, result as i32) };
    egress::emit(process, RecordKind::Connect, SYSCALL_EXIT, body, 0);
    None
}

/// Datagrams to a local socket, and packets of raw sockets; UDP is seen at the cgroup programs.
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
        unix::given(process, sock, sockaddr, RecordKind::Send, SYSCALL_EXIT, 0);
    } else if kind == SOCK_RAW {
        let remote = address::of_sockaddr(sockaddr, Memory::User)?;
        let body = NetworkBody { flags: NETWORK_AS_GIVEN, ..egress::body(sock, remote, Direction::Out, 0) };
        egress::emit_first(process, RecordKind::Send, SYSCALL_EXIT, body);
    }
    None
}

#[inline(always)]
fn snooped(process: &Process, target: u32, way: u32) -> Option<()> {
    let body = SnoopBody { target_tgid: target, way, flags: SNOOP_NAMESPACE_PID, ..SnoopBody::default() };
    snoop::emit(process, SYSCALL_EXIT, body)
}

/// Says that the process has begun something that this tier cannot follow.
#[inline(always)]
fn blind(process: &Process, what: u32) -> Option<()> {
    let mut writer = Writer::<BlindBody>::new(process, RecordKind::Blind)?;
    writer.set(BlindBody { what, reserved: 0 });
    writer.send(process, RecordKind::Blind, SYSCALL_EXIT, 0, Weight::Vital);
    None
}
