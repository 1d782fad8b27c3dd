//! The `tracepoint` tier: what system calls came to, at their exit, resolved through the kernel's own tables.
//!
//! Weaker than the security hooks, and said so in coverage: names of changes are as given, a sibling thread may swap
//! a descriptor before the exit. x86-64, with 32-bit calls of 64-bit processes counted in.

mod arms;
mod calls;

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use mcp_monitor_common::{
    mechanism::SYSCALL_EXIT,
    record::{ACCESS_EXECUTE, BLIND_IO_URING, BLIND_RAW_SOCKET, RecordKind, SNOOP_PIDFD_GETFD, SNOOP_PTRACE},
};

use self::{
    arms::{
        exit_blind, exit_change, exit_connect, exit_connect_unix, exit_failed_open, exit_receive, exit_send,
        exit_snoop,
    },
    calls::{Call, NO},
};
use crate::{
    address::AF_UNIX,
    descriptor,
    file::{Use, report_apart, report_bystander},
    ingress, kernel,
    kernel::Address,
    lineage,
};

/// `TS_COMPAT` of `arch/x86/include/asm/thread_info.h`: the running system call is a 32-bit one.
const TS_COMPAT: u32 = 2;
/// `AT_FDCWD`.
const AT_FDCWD: u32 = -100_i32 as u32;
const SOCK_RAW: u16 = 3;
const AF_PACKET: u64 = 17;
const PROT_EXEC: u64 = 4;

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
    let bystanders = kernel::BYSTANDERS_ENABLED.load() != 0;
    // A hint may have outlived its label: then the process is a bystander.
    if lineage::may_be_labelled() && (!bystanders || lineage::is_labelled()) {
        exits(context.arg::<u64>(0) as Address, context.arg::<u64>(1) as i64);
    } else if bystanders {
        bystander_exits(context.arg::<u64>(0) as Address, context.arg::<u64>(1) as i64);
    }
    0
}

/// A process outside every lineage: only its opens count, and of those only the ones of published secrets.
#[inline(always)]
fn bystander_exits(at: Address, result: i64) {
    let number = kernel::get::<u64>(at, &kernel::REGS_ORIG_AX) as u32;
    let is_compat = kernel::get::<u32>(kernel::current_task(), &kernel::TASK_THREAD_STATUS) & TS_COMPAT != 0;
    if !calls::opens(number, is_compat) || result < 0 {
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
    let call = if is_compat { calls::compat(number)? } else { calls::native(number & !calls::X32_BIT)? };
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
