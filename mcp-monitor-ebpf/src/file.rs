//! Files that are opened, received and mapped executable.

use aya_ebpf::{
    macros::{kprobe, lsm},
    programs::{LsmContext, ProbeContext},
};
use mcp_monitor_common::{
    map::{LINEAGE_BYSTANDER, ReliefKey},
    mechanism,
    record::{
        ACCESS_CREATE, ACCESS_EXECUTE, ACCESS_PATH, ACCESS_READ, ACCESS_TRUNCATE, ACCESS_WRITE, FileBody,
        FileIdentity, HEADER_RELIEVED, PathSlice, RESULT_PERMITTED, RecordKind,
    },
};

use crate::{
    change::lsm,
    decide, enter, filter,
    filter::Repeat,
    identity, kernel,
    kernel::Address,
    lineage,
    lineage::Process,
    path,
    record::{Weight, Writer},
};

/// `FMODE_READ`, `FMODE_WRITE`, `FMODE_EXEC`, `FMODE_PATH` of `include/linux/fs.h`.
const FMODE_READ: u32 = 1;
const FMODE_WRITE: u32 = 2;
const FMODE_EXEC: u32 = 0x20;
const FMODE_PATH: u32 = 0x4000;
/// `O_CREAT` and `O_TRUNC` of `include/uapi/asm-generic/fcntl.h`.
const O_CREAT: u32 = 0o100;
const O_TRUNC: u32 = 0o1000;
/// `PROT_EXEC` of `include/uapi/asm-generic/mman-common.h`.
const PROT_EXEC: u64 = 4;

/// What is said of an open file beside itself.
#[derive(Clone, Copy)]
pub(crate) struct Use {
    pub(crate) kind: RecordKind,
    pub(crate) mechanism: u32,
    /// 0, a negative errno, or [`RESULT_PERMITTED`].
    pub(crate) result: i32,
    /// Kind-dependent flags that replace `f_flags` when they are not 0.
    pub(crate) flags: u32,
    /// Added to the access that the file's mode shows.
    pub(crate) access: u32,
    pub(crate) can_refuse: bool,
}

/// What an open file is about.
struct Opened {
    inode: Address,
    dentry: Address,
    vfsmount: Address,
    open_flags: u32,
    mode: u32,
}

impl Opened {
    #[inline(always)]
    fn of(file: Address, room: &mut kernel::Room<{ identity::HEAD_WORDS }>) -> Self {
        let head = kernel::Head::of(file, room);
        Self {
            inode: head.pointer(&kernel::FILE_INODE),
            dentry: head.inner::<u64>(&kernel::FILE_PATH, &kernel::PATH_DENTRY) as Address,
            vfsmount: head.inner::<u64>(&kernel::FILE_PATH, &kernel::PATH_MNT) as Address,
            open_flags: head.get::<u32>(&kernel::FILE_FLAGS),
            mode: head.get::<u32>(&kernel::FILE_MODE),
        }
    }
}

/// Reports an open file of a process of a lineage. Gives the hook's result.
///
/// What is read goes into the record at once and is taken from there again: on the stack it would be too much.
#[inline(always)]
pub(crate) fn report(process: &Process, file: Address, how: Use) -> i32 {
    let Some(mut writer) = Writer::<FileBody>::new(process, how.kind) else {
        // A counted loss; what is to be refused is refused all the same.
        if !how.can_refuse {
            return 0;
        }
        return decide::access(filter::mark(mark_of_file(file as u64)), true).result;
    };
    let body = writer.body();
    let mut room = kernel::Room::uninit();
    let Opened { inode, dentry, vfsmount, open_flags, mode } = Opened::of(file, &mut room);
    // SAFETY: here and below the body lies in the slot that the writer owns; every field is written before it is sent.
    let superblock = unsafe {
        (*body).access = access_of(mode, open_flags) | how.access;
        (*body).flags = if how.flags == 0 { open_flags } else { how.flags };
        let entry = path::Entry::of(dentry);
        (*body).name_hash = entry.hash_length;
        let inode = identity::read(inode, None, &mut room);
        (*body).file = inode.identity;
        (*body).mode = inode.mode;
        (*body).links = inode.links;
        let parent = kernel::pointer(entry.parent as Address, &kernel::DENTRY_INODE);
        let known = Some((inode.superblock, inode.identity.device));
        (*body).parent = identity::read(parent, known, &mut room).identity;
        inode.superblock
    };
    // SAFETY: as above.
    let mark = unsafe { filter::secret(&(*body).file, (*body).parent.inode, dentry) };
    let decision = decide::access(mark, how.can_refuse);
    let key = key_of(process, how.kind, body, &mut room);
    // Every access to a secret is sent.
    let repeat = if mark.is_some() { Repeat::Send } else { filter::repeat(key) };
    if repeat == Repeat::Counted {
        writer.discard();
        return decision.result;
    }
    // SAFETY: as above.
    unsafe {
        (*body).filesystem_magic = kernel::get::<u64>(superblock, &kernel::SUPERBLOCK_MAGIC);
        (*body).target_parent = FileIdentity::default();
        (*body).replaced = FileIdentity::default();
        (*body).result = if decision.result == 0 { how.result } else { decision.result };
        (*body).path = path::walk(&mut writer, dentry, vfsmount);
        (*body).target = PathSlice::default();
        (*body).reserved = 0;
    }
    let relieved = if repeat == Repeat::First { HEADER_RELIEVED } else { 0 };
    let weight = if matches!(how.kind, RecordKind::ExecStage) { Weight::Vital } else { Weight::Bulk };
    let sent = writer.send(process, how.kind, how.mechanism, decision.flags | relieved, weight);
    if !sent && repeat == Repeat::First {
        filter::forget(key);
    }
    decision.result
}

/// What makes an occurrence the same as another, made in a room that is needed no more.
#[inline(always)]
fn key_of<'room>(
    process: &Process,
    kind: RecordKind,
    body: *const FileBody,
    room: &'room mut kernel::Room<{ identity::HEAD_WORDS }>,
) -> &'room ReliefKey {
    const { assert!(size_of::<ReliefKey>() <= size_of::<kernel::Room<{ identity::HEAD_WORDS }>>()) };
    let key = room.as_mut_ptr().cast::<ReliefKey>();
    // SAFETY: the room is 8-aligned and large enough; the body is the caller's.
    unsafe {
        (*key).start_boottime_ns = process.start_boottime_ns;
        (*key).tgid = process.tgid;
        (*key).exec_id = process.exec_id;
        (*key).kind = kind as u32;
        (*key).flags = (*body).access | (*body).flags << 8;
        (*key).object[0] = (*body).file.inode;
        (*key).object[1] = u64::from((*body).file.device) << 32 | u64::from((*body).file.generation);
        (*key).object[2] = (*body).parent.inode;
        (*key).object[3] = (*body).name_hash;
        &*key
    }
}

/// Among the flags of [`report_file`]: the process belongs to no lineage and opened a published secret.
const REPORT_BYSTANDER: u64 = 1 << 32;

/// Reports an open of a process outside every lineage, if it is one of a published secret. The look-up is made here
/// and not in [`report_file`], whose frame is large already.
#[inline(always)]
pub(crate) fn report_bystander(file: Address, mechanism: u32) {
    if opens_secret(file) {
        let what = u64::from(RecordKind::Open as u16) | u64::from(mechanism) << 16;
        report_file(file as u64, what, 0, REPORT_BYSTANDER);
    }
}

/// [`report`] for programs that have several places to report from: verified once for itself. `what` is the kind, the
/// mechanism above 16 bits and the access above 32.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn report_file(file: u64, what: u64, result: u64, flags: u64) -> u64 {
    let process =
        if flags & REPORT_BYSTANDER == 0 { lineage::current() } else { enter::bystander(RecordKind::Open) };
    let Some(process) = process else { return 0 };
    let Some(kind) = kind_of(what as u16) else { return 0 };
    let how = Use {
        kind,
        mechanism: (what >> 16) as u16 as u32,
        result: result as i32,
        flags: flags as u32,
        access: (what >> 32) as u32,
        can_refuse: false,
    };
    report(&process, file as Address, how);
    0
}

/// Calls [`report_file`].
#[inline(always)]
pub(crate) fn report_apart(file: Address, how: Use) {
    let what = u64::from(how.kind as u16) | u64::from(how.mechanism) << 16 | u64::from(how.access) << 32;
    report_file(file as u64, what, how.result as i64 as u64, u64::from(how.flags));
}

#[inline(always)]
fn kind_of(value: u16) -> Option<RecordKind> {
    const OPEN: u16 = RecordKind::Open as u16;
    const RECEIVE: u16 = RecordKind::Receive as u16;
    const MAP: u16 = RecordKind::Map as u16;
    match value {
        OPEN => Some(RecordKind::Open),
        RECEIVE => Some(RecordKind::Receive),
        MAP => Some(RecordKind::Map),
        _ => None,
    }
}

/// A process outside every lineage that opens a published secret, when such opens are asked for. The verifier
/// prunes it all when they are not.
#[inline(always)]
fn bystander(file: Address) -> Option<Process> {
    if kernel::BYSTANDERS_ENABLED.load() == 0 || !opens_secret(file) {
        return None;
    }
    enter::bystander(RecordKind::Open)
}

/// `filter::secret` of an open file, for [`filter::mark`]. Verified for itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mark_of_file(file: u64) -> u64 {
    let file = file as Address;
    let dentry = kernel::pointer(kernel::at(file, &kernel::FILE_PATH), &kernel::PATH_DENTRY);
    let identity = identity::of_inode(kernel::pointer(file, &kernel::FILE_INODE));
    filter::found(&identity, identity::of_parent(dentry).inode, dentry)
}

/// True when the file is a published secret and opened by a process, not by an exec.
#[inline(always)]
fn opens_secret(file: Address) -> bool {
    kernel::get::<u32>(file, &kernel::FILE_FLAGS) & FMODE_EXEC == 0 && mark_of_file(file as u64) != 0
}

#[inline(always)]
fn access_of(mode: u32, open_flags: u32) -> u32 {
    let mut access = 0;
    if mode & FMODE_READ != 0 {
        access |= ACCESS_READ;
    }
    if mode & FMODE_WRITE != 0 {
        access |= ACCESS_WRITE;
    }
    if mode & FMODE_PATH != 0 {
        access |= ACCESS_PATH;
    }
    if open_flags & FMODE_EXEC != 0 {
        access |= ACCESS_EXECUTE;
    }
    if open_flags & O_CREAT != 0 {
        access |= ACCESS_CREATE;
    }
    if open_flags & O_TRUNC != 0 {
        access |= ACCESS_TRUNCATE;
    }
    access
}

#[inline(always)]
fn opened(file: Address, mechanism: u32, can_refuse: bool) -> i32 {
    let Some(process) = lineage::current().or_else(|| bystander(file)) else { return 0 };
    let can_refuse = can_refuse && process.flags & LINEAGE_BYSTANDER == 0;
    // The kernel's own opens of programs and their interpreters carry FMODE_EXEC among the flags; they are
    // reported as stages of the exec.
    if kernel::get::<u32>(file, &kernel::FILE_FLAGS) & FMODE_EXEC != 0 {
        return 0;
    }
    let how =
        Use { kind: RecordKind::Open, mechanism, result: RESULT_PERMITTED, flags: 0, access: 0, can_refuse };
    report(&process, file, how)
}

#[inline(always)]
fn received(file: Address, mechanism: u32, can_refuse: bool) -> i32 {
    let Some(process) = lineage::current() else { return 0 };
    let how = Use {
        kind: RecordKind::Receive,
        mechanism,
        result: RESULT_PERMITTED,
        flags: 0,
        access: 0,
        can_refuse,
    };
    report(&process, file, how)
}

#[inline(always)]
fn mapped(file: Address, protection: u64, mechanism: u32) -> i32 {
    if file.is_null() || protection & PROT_EXEC == 0 {
        return 0;
    }
    let Some(process) = lineage::current() else { return 0 };
    // While a program is being loaded its arguments have no end yet: the loader's own mappings belong to the exec.
    let mm = kernel::pointer(kernel::current_task(), &kernel::TASK_MM);
    if kernel::get::<u64>(mm, &kernel::MM_ARG_END) == 0 {
        return 0;
    }
    let how = Use {
        kind: RecordKind::Map,
        mechanism,
        result: RESULT_PERMITTED,
        flags: protection as u32,
        access: ACCESS_EXECUTE,
        can_refuse: false,
    };
    report(&process, file, how);
    0
}

/// match-proto: include/linux/lsm_hook_defs.h:LSM_HOOK(int, 0, file_open, struct file *file)
#[lsm(hook = "file_open")]
pub fn lsm_file_open(context: LsmContext) -> i32 {
    let result = opened(lsm(&context, 0), mechanism::LSM_FILE_OPEN, true);
    // Newer verifiers want to see that nothing but 0 and an error comes out. Of what the compiler makes of a choice
    // they lose the bounds (a negation), of a masked bit less one they do not.
    kernel::bounded(u32::from(result == 0), 1) as i32 + decide::REFUSED
}

/// match-proto: LSM_HOOK(int, 0, file_receive, struct file *file)
#[lsm(hook = "file_receive")]
pub fn lsm_file_receive(context: LsmContext) -> i32 {
    received(lsm(&context, 0), mechanism::LSM_FILE_RECEIVE, true)
}

/// match-proto: LSM_HOOK(int, 0, mmap_file, struct file *file, unsigned long reqprot, unsigned long prot, …)
#[lsm(hook = "mmap_file")]
pub fn lsm_mmap_file(context: LsmContext) -> i32 {
    mapped(lsm(&context, 0), lsm(&context, 1) as u64, mechanism::LSM_MMAP_FILE)
}

/// match-proto: security/security.c:int security_file_open(struct file *file)
#[kprobe]
pub fn probe_file_open(context: ProbeContext) -> u32 {
    opened(argument(&context, 0), mechanism::PROBE_FILE_OPEN, false);
    0
}

/// match-proto: security/security.c:int security_file_receive(struct file *file)
#[kprobe]
pub fn probe_file_receive(context: ProbeContext) -> u32 {
    received(argument(&context, 0), mechanism::PROBE_FILE_RECEIVE, false);
    0
}

/// match-proto: security/security.c:int security_mmap_file(struct file *file, unsigned long prot, unsigned long flags)
#[kprobe]
pub fn probe_mmap_file(context: ProbeContext) -> u32 {
    mapped(argument(&context, 0), argument(&context, 1) as u64, mechanism::PROBE_MMAP_FILE);
    0
}

/// The `n`th argument of a probed function, null when it cannot be read.
#[inline(always)]
pub(crate) fn argument(context: &ProbeContext, n: usize) -> Address {
    context.arg::<u64>(n).unwrap_or(0) as Address
}
