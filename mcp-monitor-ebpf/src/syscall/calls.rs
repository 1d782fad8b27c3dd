//! Which system calls matter and where their arguments stand.

use mcp_monitor_common::record::{RecordKind, SNOOP_PROCESS_VM_READ, SNOOP_PROCESS_VM_WRITE};

/// What a system call does, whatever its number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
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

/// Marks the x32 ABI, whose numbers are the native ones.
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// No such argument.
pub(super) const NO: u8 = 0xff;

/// System calls of `arch/x86/entry/syscalls/syscall_64.tbl`.
#[inline(always)]
pub(super) fn native(number: u32) -> Option<Call> {
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
pub(super) fn compat(number: u32) -> Option<Call> {
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

/// True for the calls that open a file.
#[inline(always)]
pub(super) fn opens(number: u32, is_compat: bool) -> bool {
    if is_compat {
        matches!(number, 5 | 8 | 295 | 437 | 342)
    } else {
        matches!(number & !X32_BIT, 2 | 85 | 257 | 437 | 304)
    }
}
