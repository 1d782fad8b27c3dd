//! What makes a file that file: device, inode number and generation, read in the kernel.

use mcp_monitor_common::record::FileIdentity;

use crate::{kernel, kernel::Address};

/// Identity of an inode; all zero for null.
#[inline(always)]
pub(crate) fn of_inode(inode: Address) -> FileIdentity {
    if inode.is_null() {
        return FileIdentity { inode: 0, device: 0, generation: 0 };
    }
    let superblock = kernel::pointer(inode, &kernel::INODE_SUPERBLOCK);
    FileIdentity {
        inode: kernel::get::<u64>(inode, &kernel::INODE_NUMBER),
        device: kernel::get::<u32>(superblock, &kernel::SUPERBLOCK_DEVICE),
        generation: kernel::get::<u32>(inode, &kernel::INODE_GENERATION),
    }
}

/// Identity of what a dentry names; all zero for a negative one.
#[inline(always)]
pub(crate) fn of_dentry(dentry: Address) -> FileIdentity {
    of_inode(kernel::pointer(dentry, &kernel::DENTRY_INODE))
}

/// Identity of the directory that holds a dentry.
#[inline(always)]
pub(crate) fn of_parent(dentry: Address) -> FileIdentity {
    of_dentry(kernel::pointer(dentry, &kernel::DENTRY_PARENT))
}

/// `s_magic` of the file system of an inode.
#[inline(always)]
pub(crate) fn filesystem_magic(inode: Address) -> u64 {
    kernel::get::<u64>(kernel::pointer(inode, &kernel::INODE_SUPERBLOCK), &kernel::SUPERBLOCK_MAGIC)
}
