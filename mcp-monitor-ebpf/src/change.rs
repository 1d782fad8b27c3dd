//! Names and attributes that are changed: rename, link, symlink, unlink, truncate, chmod.

use aya_ebpf::{
    EbpfContext as _,
    macros::{kprobe, lsm},
    programs::{LsmContext, ProbeContext},
};
use mcp_monitor_common::{
    mechanism,
    record::{FileBody, PathSlice, RESULT_PERMITTED, RecordKind},
};

use crate::{
    decide,
    file::argument,
    filter, identity, kernel,
    kernel::Address,
    lineage, path,
    record::{Weight, Writer},
};

/// One or two names that an operation is about. The mount of a directory path is the mount of its names.
struct Names {
    /// What is changed.
    dentry: Address,
    vfsmount: Address,
    /// Rename, link: the new name; null otherwise.
    new_dentry: Address,
    new_vfsmount: Address,
    /// Symlink: what it points to, in kernel memory.
    text: Address,
    /// Chmod: the new mode.
    flags: u32,
}

impl Names {
    #[inline(always)]
    fn one(dentry: Address, vfsmount: Address) -> Self {
        let null = core::ptr::null();
        Self { dentry, vfsmount, new_dentry: null, new_vfsmount: null, text: null, flags: 0 }
    }
}

#[inline(always)]
fn mount_of(directory: Address) -> Address {
    kernel::pointer(directory, &kernel::PATH_MNT)
}

#[inline(always)]
fn changed(kind: RecordKind, mechanism: u32, names: &Names, can_refuse: bool) -> i32 {
    let Some(process) = lineage::current() else { return 0 };
    let inode = kernel::pointer(names.dentry, &kernel::DENTRY_INODE);
    let file = identity::of_inode(inode);
    let parent = identity::of_parent(names.dentry);
    let mut mark = filter::secret(&file, parent.inode, names.dentry);
    if mark.is_none() && !names.new_dentry.is_null() {
        let new_parent = identity::of_parent(names.new_dentry);
        mark = filter::secret(&identity::of_dentry(names.new_dentry), new_parent.inode, names.new_dentry);
    }
    let decision = decide::access(mark, can_refuse);
    let Some(mut writer) = Writer::<FileBody>::new(&process, kind) else { return decision.result };
    let path = path::walk(&mut writer, names.dentry, names.vfsmount);
    let mut body = FileBody {
        file,
        parent,
        filesystem_magic: identity::filesystem_magic(inode),
        flags: names.flags,
        mode: u32::from(kernel::get::<u16>(inode, &kernel::INODE_MODE)),
        result: if decision.result == 0 { RESULT_PERMITTED } else { decision.result },
        path,
        links: kernel::get::<u32>(inode, &kernel::INODE_LINKS),
        ..FileBody::default()
    };
    if !names.new_dentry.is_null() {
        body.target = path::walk(&mut writer, names.new_dentry, names.new_vfsmount);
        body.target_parent = identity::of_parent(names.new_dentry);
        body.replaced = identity::of_dentry(names.new_dentry);
    } else if !names.text.is_null() {
        body.target = PathSlice {
            bytes: writer.kernel_text(names.text),
            flags: mcp_monitor_common::record::PATH_AS_GIVEN,
            components: 0,
        };
    }
    writer.set(body);
    writer.send(&process, kind, mechanism, decision.flags, Weight::Bulk);
    decision.result
}

#[inline(always)]
fn renamed(
    old_directory: Address,
    old: Address,
    new_directory: Address,
    new: Address,
    mechanism: u32,
    lsm: bool,
) -> i32 {
    let names = Names {
        new_dentry: new,
        new_vfsmount: mount_of(new_directory),
        ..Names::one(old, mount_of(old_directory))
    };
    changed(RecordKind::Rename, mechanism, &names, lsm)
}

#[inline(always)]
fn linked(old: Address, new_directory: Address, new: Address, mechanism: u32, lsm: bool) -> i32 {
    // The kernel passes no mount for the old name; a link cannot cross mounts, so it is the directory's.
    let mount = mount_of(new_directory);
    let names = Names { new_dentry: new, new_vfsmount: mount, ..Names::one(old, mount) };
    changed(RecordKind::Link, mechanism, &names, lsm)
}

#[inline(always)]
fn symlinked(directory: Address, new: Address, text: Address, mechanism: u32, lsm: bool) -> i32 {
    let names = Names { text, ..Names::one(new, mount_of(directory)) };
    changed(RecordKind::Symlink, mechanism, &names, lsm)
}

#[inline(always)]
fn of_path(kind: RecordKind, of: Address, flags: u32, mechanism: u32, lsm: bool) -> i32 {
    let names = Names { flags, ..Names::one(kernel::pointer(of, &kernel::PATH_DENTRY), mount_of(of)) };
    changed(kind, mechanism, &names, lsm)
}

/// match-proto: include/linux/lsm_hook_defs.h:LSM_HOOK(int, 0, path_rename, const struct path *old_dir,
/// struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry, …)
#[lsm(hook = "path_rename")]
pub fn lsm_path_rename(context: LsmContext) -> i32 {
    renamed(
        lsm(&context, 0),
        lsm(&context, 1),
        lsm(&context, 2),
        lsm(&context, 3),
        mechanism::LSM_PATH_RENAME,
        true,
    )
}

/// match-proto: LSM_HOOK(int, 0, path_link, struct dentry *old_dentry, const struct path *new_dir,
/// struct dentry *new_dentry)
#[lsm(hook = "path_link")]
pub fn lsm_path_link(context: LsmContext) -> i32 {
    linked(lsm(&context, 0), lsm(&context, 1), lsm(&context, 2), mechanism::LSM_PATH_LINK, true)
}

/// match-proto: LSM_HOOK(int, 0, path_symlink, const struct path *dir, struct dentry *dentry, const char *old_name)
#[lsm(hook = "path_symlink")]
pub fn lsm_path_symlink(context: LsmContext) -> i32 {
    symlinked(lsm(&context, 0), lsm(&context, 1), lsm(&context, 2), mechanism::LSM_PATH_SYMLINK, true)
}

/// match-proto: LSM_HOOK(int, 0, path_unlink, const struct path *dir, struct dentry *dentry)
#[lsm(hook = "path_unlink")]
pub fn lsm_path_unlink(context: LsmContext) -> i32 {
    let names = Names::one(lsm(&context, 1), mount_of(lsm(&context, 0)));
    changed(RecordKind::Unlink, mechanism::LSM_PATH_UNLINK, &names, true)
}

/// match-proto: LSM_HOOK(int, 0, path_truncate, const struct path *path)
#[lsm(hook = "path_truncate")]
pub fn lsm_path_truncate(context: LsmContext) -> i32 {
    of_path(RecordKind::Truncate, lsm(&context, 0), 0, mechanism::LSM_PATH_TRUNCATE, true)
}

/// match-proto: LSM_HOOK(int, 0, path_chmod, const struct path *path, umode_t mode)
#[lsm(hook = "path_chmod")]
pub fn lsm_path_chmod(context: LsmContext) -> i32 {
    let mode = lsm(&context, 1) as u32 & 0xffff;
    of_path(RecordKind::Chmod, lsm(&context, 0), mode, mechanism::LSM_PATH_CHMOD, true)
}

/// match-proto: security/security.c:int security_path_rename(const struct path *old_dir, struct dentry *old_dentry,
/// const struct path *new_dir, struct dentry *new_dentry, unsigned int flags)
#[kprobe]
pub fn probe_path_rename(context: ProbeContext) -> u32 {
    renamed(
        argument(&context, 0),
        argument(&context, 1),
        argument(&context, 2),
        argument(&context, 3),
        mechanism::PROBE_PATH_RENAME,
        false,
    );
    0
}

/// match-proto: security/security.c:int security_path_link(struct dentry *old_dentry, const struct path *new_dir,
/// struct dentry *new_dentry)
#[kprobe]
pub fn probe_path_link(context: ProbeContext) -> u32 {
    linked(
        argument(&context, 0),
        argument(&context, 1),
        argument(&context, 2),
        mechanism::PROBE_PATH_LINK,
        false,
    );
    0
}

/// match-proto: security/security.c:int security_path_symlink(const struct path *dir, struct dentry *dentry,
/// const char *old_name)
#[kprobe]
pub fn probe_path_symlink(context: ProbeContext) -> u32 {
    symlinked(
        argument(&context, 0),
        argument(&context, 1),
        argument(&context, 2),
        mechanism::PROBE_PATH_SYMLINK,
        false,
    );
    0
}

/// match-proto: security/security.c:int security_path_unlink(const struct path *dir, struct dentry *dentry)
#[kprobe]
pub fn probe_path_unlink(context: ProbeContext) -> u32 {
    let names = Names::one(argument(&context, 1), mount_of(argument(&context, 0)));
    changed(RecordKind::Unlink, mechanism::PROBE_PATH_UNLINK, &names, false);
    0
}

/// match-proto: security/security.c:int security_path_truncate(const struct path *path)
#[kprobe]
pub fn probe_path_truncate(context: ProbeContext) -> u32 {
    of_path(RecordKind::Truncate, argument(&context, 0), 0, mechanism::PROBE_PATH_TRUNCATE, false);
    0
}

/// match-proto: security/security.c:int security_path_chmod(const struct path *path, umode_t mode)
#[kprobe]
pub fn probe_path_chmod(context: ProbeContext) -> u32 {
    let mode = argument(&context, 1) as u32 & 0xffff;
    of_path(RecordKind::Chmod, argument(&context, 0), mode, mechanism::PROBE_PATH_CHMOD, false);
    0
}

/// The `n`th argument of an LSM hook, as a number: 5.10 does not let a typed pointer into a function that is verified
/// for itself, and everything here is read through the helper anyway.
#[inline(always)]
pub(crate) fn lsm(context: &LsmContext, n: usize) -> Address {
    kernel::read::<u64>(context.as_ptr().cast::<u8>().wrapping_add(n * 8)) as Address
}
