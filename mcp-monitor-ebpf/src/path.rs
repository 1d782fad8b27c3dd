//! Paths by walking dentries and mounts from the leaf to the process's root, leaf first.
//!
//! Works alike in every program type and on every kernel, where `bpf_d_path` is refused in some, loses names over
//! 4096 bytes, and reports a bind mount's alias only.

use aya_ebpf::helpers;
use mcp_monitor_common::{
    limits::{PATH_MAX_BYTES, PATH_MAX_COMPONENTS, TAIL_USED_MAX_BYTES},
    record::{
        PATH_AS_GIVEN, PATH_DELETED, PATH_OUTSIDE_ROOT, PATH_TRUNCATED, PATH_UNMOUNTED, PATH_UNREADABLE,
        PathSlice, Slice,
    },
};

use crate::{
    kernel,
    kernel::Address,
    record::{Slot, Writer},
};

/// Walks from `dentry` on the mount `vfsmount`.
#[inline(always)]
pub(crate) fn walk<B: Copy + Default>(
    writer: &mut Writer<B>,
    dentry: Address,
    vfsmount: Address,
) -> PathSlice {
    let offset = writer.position();
    let deleted = if is_deleted(dentry) { u64::from(PATH_DELETED) } else { 0 };
    let flags = deleted | walk_into(writer.index, Writer::<B>::TAIL as u32, dentry as u64, vfsmount as u64);
    // SAFETY: the writer owns the slot.
    let components = unsafe { core::ptr::read_volatile(&raw const (*writer.slot).components) };
    PathSlice {
        bytes: Slice { offset: offset as u16, length_bytes: (writer.position() - offset) as u16 },
        flags: flags as u16,
        components: components as u16,
    }
}

/// Walks a `struct path` in kernel memory.
#[inline(always)]
pub(crate) fn walk_path<B: Copy + Default>(writer: &mut Writer<B>, path: Address) -> PathSlice {
    walk(writer, kernel::pointer(path, &kernel::PATH_DENTRY), kernel::pointer(path, &kernel::PATH_MNT))
}

/// Reads a path as user memory gives it; a relative one is followed by the directory it starts from.
#[inline(always)]
pub(crate) fn given<B: Copy + Default>(
    writer: &mut Writer<B>,
    text: Address,
    directory: Address,
) -> PathSlice {
    let offset = writer.position();
    let given = writer.user_text(text);
    if given.length_bytes == 0 {
        return PathSlice { bytes: given, flags: PATH_AS_GIVEN | PATH_UNREADABLE, components: 0 };
    }
    let first: u8 = kernel::read_user(text);
    let mut slice = PathSlice { bytes: given, flags: PATH_AS_GIVEN, components: 0 };
    if first != b'/' && !directory.is_null() {
        let base = walk_path(writer, directory);
        slice.components = base.components;
        slice.flags |= base.flags & (PATH_TRUNCATED | PATH_UNREADABLE);
        slice.bytes.length_bytes = (writer.position() - offset) as u16;
    }
    slice
}

/// True when the name was removed from its directory.
#[inline(always)]
pub(crate) fn is_deleted(dentry: Address) -> bool {
    kernel::has(&kernel::DENTRY_HASH_PPREV)
        && kernel::get::<u64>(dentry, &kernel::DENTRY_HASH_PPREV) == 0
        && kernel::pointer(dentry, &kernel::DENTRY_PARENT) != dentry
}

/// The walk itself. Gives the flags; bytes and components stand in the slot.
///
/// A function with a symbol of its own and only numbers as arguments is verified once for itself and not again at
/// every call (kernel/bpf/verifier.c, do_check_subprogs), without which programs with several walks are too large.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_into(index: u32, tail: u32, dentry: u64, vfsmount: u64) -> u64 {
    let (dentry, vfsmount) = (dentry as Address, vfsmount as Address);
    let Some(slot) = Slot::at(index) else { return u64::from(PATH_UNREADABLE) };
    // SAFETY: the caller owns the slot.
    let start = unsafe {
        core::ptr::write_volatile(&raw mut (*slot).components, 0);
        core::ptr::read_volatile(&raw const (*slot).position)
    };
    if dentry.is_null() || vfsmount.is_null() {
        return u64::from(PATH_UNREADABLE);
    }
    let fs = kernel::pointer(kernel::current_task(), &kernel::TASK_FS);
    let root = kernel::at(fs, &kernel::FS_ROOT);
    let mut room = kernel::Room::uninit();
    let root = kernel::Head::<2>::of(root, &mut room);
    let (root_dentry, root_vfsmount) = (root.pointer(&kernel::PATH_DENTRY), root.pointer(&kernel::PATH_MNT));
    let mut dentry = dentry;
    let mut vfsmount = vfsmount;
    let mut mount_root = kernel::pointer(vfsmount, &kernel::VFSMOUNT_ROOT);
    let mut turn = 0;
    while turn < PATH_MAX_COMPONENTS {
        turn += 1;
        if dentry == root_dentry && vfsmount == root_vfsmount {
            return 0;
        }
        if dentry == mount_root {
            let mount = vfsmount.wrapping_sub(kernel::MOUNT_MNT.load() as usize);
            let parent_mount = kernel::pointer(mount, &kernel::MOUNT_PARENT);
            if parent_mount.is_null() || parent_mount == mount {
                return u64::from(PATH_OUTSIDE_ROOT);
            }
            dentry = kernel::pointer(mount, &kernel::MOUNT_MOUNTPOINT);
            vfsmount = parent_mount.wrapping_add(kernel::MOUNT_MNT.load() as usize);
            mount_root = kernel::pointer(vfsmount, &kernel::VFSMOUNT_ROOT);
            continue;
        }
        let entry = Entry::of(dentry);
        if !append(slot, tail, start, &entry) {
            return u64::from(PATH_TRUNCATED);
        }
        let parent = entry.parent as Address;
        if parent == dentry {
            // A file system without a place in the tree: memfd, pipe, or a mount that was taken away.
            return u64::from(PATH_UNMOUNTED);
        }
        dentry = parent;
    }
    u64::from(PATH_TRUNCATED)
}

/// What a walk needs of a dentry.
pub(crate) struct Entry {
    pub(crate) parent: u64,
    /// Length above 32 bits, hash below.
    pub(crate) hash_length: u64,
    text: u64,
}

impl Entry {
    #[inline(always)]
    pub(crate) fn of(dentry: Address) -> Self {
        let parent = kernel::DENTRY_PARENT.load();
        let name = kernel::DENTRY_NAME.load();
        // `d_parent` and `d_name` lie side by side on every kernel seen: one read instead of three. The verifier
        // prunes the branch that is not this kernel's.
        if name == parent + 8 && kernel::QSTR_HASH_LEN.load() == 0 && kernel::QSTR_NAME.load() == 8 {
            let [parent, hash_length, text] = kernel::read::<[u64; 3]>(dentry.wrapping_add(parent as usize));
            return Self { parent, hash_length, text };
        }
        let name = kernel::at(dentry, &kernel::DENTRY_NAME);
        Self {
            parent: kernel::get::<u64>(dentry, &kernel::DENTRY_PARENT),
            hash_length: kernel::get::<u64>(name, &kernel::QSTR_HASH_LEN),
            text: kernel::get::<u64>(name, &kernel::QSTR_NAME),
        }
    }
}

/// Adds a dentry's name and a NUL. `false` when there is no room.
#[inline(always)]
fn append(slot: *mut Slot, tail: u32, start: u32, entry: &Entry) -> bool {
    let bytes = (entry.hash_length >> 32) as u32 & 0xff;
    let text = entry.text as Address;
    // SAFETY: the caller owns the slot; the masked position plus a name and its NUL stay inside the buffer.
    unsafe {
        let position = core::ptr::read_volatile(&raw const (*slot).position);
        if position.wrapping_sub(start) + bytes + 1 > PATH_MAX_BYTES as u32
            || position + bytes + 1 >= TAIL_USED_MAX_BYTES as u32
        {
            return false;
        }
        let to = Slot::tail(slot, tail, position);
        let bounded = kernel::bounded(bytes, 0xff);
        helpers::generated::bpf_probe_read_kernel(to.cast(), bounded, text.cast());
        *to.add(bounded as usize) = 0;
        core::ptr::write_volatile(&raw mut (*slot).position, position + bytes + 1);
        let components = core::ptr::read_volatile(&raw const (*slot).components);
        core::ptr::write_volatile(&raw mut (*slot).components, components + 1);
    }
    true
}
