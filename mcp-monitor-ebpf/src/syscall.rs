//! The `tracepoint` tier: what system calls came to, at their exit, resolved through the kernel's own tables.
//!
//! Weaker than the security hooks, and said so in coverage: names of changes are as given, a sibling thread may swap
//! a descriptor before the exit. x86-64, with 32-bit calls of 64-bit processes counted in.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use mcp_monitor_common::{
    mechanism::SYSCALL_EXIT,
    record::{
        ACCESS_EXECUTE, BLIND_IO_URING, BLIND_RAW_SOCKET, BlindBody, Direction, FileBody, NETWORK_AS_GIVEN,
        PATH_AS_GIVEN, PathSlice, RecordKind, SNOOP_NAMESPACE_PID, SNOOP_PIDFD_GETFD, SNOOP_PROCESS_VM_READ,
        SNOOP_PROCESS_VM_WRITE, SNOOP_PTRACE, SnoopBody,
    },
};

use crate::{
    address,
    address::{AF_INET, AF_INET6, AF_UNIX, Memory},
    descriptor, egress,
    egress::Said,
    file::{Use, report_apart, report_bystander},
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
        // Of several messages (recvmmsg) the first is looked at; its header begins the vector.
        47 | 299 => Call::Receive,
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
/// are left out, which `mechanism::blind_spots` says.
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
    if lineage::is_labelled() {
        exits(context.arg::<u64>(0) as Address, context.arg::<u64>(1) as i64);
    } else if kernel::BYSTANDERS_ENABLED.load() != 0 {
        bystander_exits(context.arg::<u64>(0) as Address, context.arg::<u64>(1) as i64);
    }
    0
}

/// A process outside every lineage: only its opens count, and of those only the ones of published secrets.
#[inline(always)]
fn bystander_exits(at: Address, result: i64) {
    let number = kernel::get::<u64>(at, &kernel::REGS_ORIG_AX) as u32;
    let is_compat = kernel::get::<u32>(kernel::current_task(), &kernel::TASK_THREAD_STATUS) & TS_COMPAT != 0;
    let opens = if is_compat {
        matches!(number, 5 | 8 | 295 | 437 | 342)
    } else {
        matches!(number & !0x4000_0000, 2 | 85 | 257 | 437 | 304)
    };
    if !opens || result < 0 {
        return;
    }
    let file = descriptor::file(result as u32);
    if !file.is_null() {
        report_bystander(file, SYSCALL_EXIT);
    }
}

#[inline(always)]
fn exits(at: Address, result: i64) -> Option<()> {
    let number = kernel::get::<u64>(at, &kernel::REGS_ORIG_AX) as u32;
    let is_compat = kernel::get::<u32>(kernel::current_task(), &kernel::TASK_THREAD_STATUS) & TS_COMPAT != 0;
    let registers = Registers { at, compat: is_compat };
    // Bit 30 marks the x32 ABI, whose numbers are the native ones.
    let call = if is_compat { compat(number)? } else { native(number & !0x4000_0000)? };
    let (at, is_compat) = (at as u64, u64::from(is_compat));

    let mut how = Use {
        kind: RecordKind::Open,
        mechanism: SYSCALL_EXIT,
        result: 0,
        flags: 0,
        access: 0,
        can_refuse: false,
    };
    let descriptor = match call {
        Call::Open(directory, name, _) if result < 0 => {
            if name != NO {
                exit_failed_open(at, is_compat, u64::from(directory) << 8 | u64::from(name), result as u64);
            }
            return None;
        }
        Call::Open(_, _, flags) => {
            if flags != NO {
                // The kernel has taken O_CREAT and O_TRUNC out of f_flags by now.
                how.flags = registers.argument(flags) as u32;
                how.access = created(how.flags);
            }
            result as u32
        }
        Call::Change(kind, directory, name, new_directory, new_name, flags) => {
            if result == 0 {
                let arguments = u64::from(directory)
                    | u64::from(name) << 8
                    | u64::from(new_directory) << 16
                    | u64::from(new_name) << 24
                    | u64::from(flags) << 32;
                exit_change(at, is_compat, arguments, kind as u64);
            }
            return None;
        }
        _ if result < 0 && !matches!(call, Call::Connect | Call::Map) => return None,
        Call::Receive => {
            exit_receive(registers.argument(1));
            return None;
        }
        Call::PidfdGetfd => {
            how.kind = RecordKind::Receive;
            how.flags = 1;
            exit_snoop(0, u64::from(SNOOP_PIDFD_GETFD));
            result as u32
        }
        Call::Map => {
            let descriptor = registers.argument(4) as i32;
            if registers.argument(2) & PROT_EXEC == 0 || (-4095..0).contains(&result) || descriptor < 0 {
                return None;
            }
            how.kind = RecordKind::Map;
            how.flags = registers.argument(2) as u32;
            how.access = ACCESS_EXECUTE;
            descriptor as u32
        }
        Call::Connect => {
            let sock = descriptor::sock_of_file(descriptor::file(registers.argument(0) as u32));
            if sock.is_null() {
                return None;
            }
            if kernel::get::<u16>(sock, &kernel::SOCK_FAMILY) == AF_UNIX {
                exit_connect_unix(sock as u64, registers.argument(1), result as u64);
            } else {
                exit_connect(sock as u64, registers.argument(1), result as u64);
            }
            return None;
        }
        Call::Accept => {
            ingress::accepted_apart(descriptor::sock_of_file(descriptor::file(result as u32)), SYSCALL_EXIT);
            return None;
        }
        Call::SendTo => {
            exit_send(registers.argument(0), registers.argument(4));
            return None;
        }
        Call::SendMessage => {
            // msg_name is the first member of struct user_msghdr.
            exit_send(registers.argument(0), kernel::read_user::<u64>(registers.argument(1) as Address));
            return None;
        }
        Call::Socket => {
            if registers.argument(1) & 0xf == u64::from(SOCK_RAW) || registers.argument(0) == AF_PACKET {
                exit_blind(u64::from(BLIND_RAW_SOCKET));
            }
            return None;
        }
        Call::IoUring => {
            exit_blind(u64::from(BLIND_IO_URING));
            return None;
        }
        Call::Ptrace => {
            // PTRACE_TRACEME asks to be traced; everything else is about the target.
            if registers.argument(0) != 0 {
                exit_snoop(registers.argument(1), u64::from(SNOOP_PTRACE));
            }
            return None;
        }
        Call::ProcessVm(way) => {
            exit_snoop(registers.argument(0), u64::from(way));
            return None;
        }
    };
    let file = descriptor::file(descriptor);
    if !file.is_null() {
        report_apart(file, how);
    }
    None
}

#[inline(always)]
fn created(flags: u32) -> u32 {
    use mcp_monitor_common::record::{ACCESS_CREATE, ACCESS_TRUNCATE};
    (if flags & 0o100 != 0 { ACCESS_CREATE } else { 0 })
        | (if flags & 0o1000 != 0 { ACCESS_TRUNCATE } else { 0 })
}

// What follows are functions with symbols of their own and only numbers as arguments: each is verified once for
// itself, and has a stack frame only while it runs.

/// The name as it was given: the kernel found no file that could be asked.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exit_failed_open(at: u64, compat: u64, arguments: u64, result: u64) -> u64 {
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
extern "C" fn exit_change(at: u64, compat: u64, arguments: u64, kind: u64) -> u64 {
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
extern "C" fn exit_receive(message: u64) -> u64 {
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
extern "C" fn exit_connect_unix(sock: u64, sockaddr: u64, result: u64) -> u64 {
    let Some(process) = lineage::current() else { return 0 };
    let sock = sock as Address;
    let how = unix::How {
        kind: RecordKind::Connect,
        mechanism: SYSCALL_EXIT,
        direction: Direction::Out,
        result: result as i32,
    };
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
extern "C" fn exit_connect(sock: u64, sockaddr: u64, result: u64) -> u64 {
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
extern "C" fn exit_send(descriptor: u64, sockaddr: u64) -> u64 {
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
        let how = unix::How {
            kind: RecordKind::Send,
            mechanism: SYSCALL_EXIT,
            direction: Direction::Out,
            result: 0,
        };
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
extern "C" fn exit_snoop(target: u64, way: u64) -> u64 {
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
extern "C" fn exit_blind(what: u64) -> u64 {
    if let Some(process) = lineage::current()
        && let Some(mut writer) = Writer::<BlindBody>::new(&process, RecordKind::Blind)
    {
        writer.set(BlindBody { what: what as u32, reserved: 0 });
        writer.send(&process, RecordKind::Blind, SYSCALL_EXIT, 0, Weight::Vital);
    }
    0
}
