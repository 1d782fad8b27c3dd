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

/// What is told of an inode, in few reads.
pub(crate) struct Inode {
    pub(crate) identity: FileIdentity,
    pub(crate) superblock: Address,
    pub(crate) mode: u32,
    pub(crate) links: u32,
}

/// Words of a file or an inode that hold all that is read of them at once, on every kernel seen.
pub(crate) const HEAD_WORDS: usize = 10;

/// Reads an inode; `known` is one whose device is known already. All zero for null.
#[inline(always)]
pub(crate) fn read(
    inode: Address,
    known: Option<(Address, u32)>,
    room: &mut kernel::Room<HEAD_WORDS>,
) -> Inode {
    let head = kernel::Head::of(inode, room);
    let superblock = head.pointer(&kernel::INODE_SUPERBLOCK);
    let device = match known {
        Some((at, device)) if at == superblock => device,
        _ => kernel::get::<u32>(superblock, &kernel::SUPERBLOCK_DEVICE),
    };
    Inode {
        identity: FileIdentity {
            inode: head.get::<u64>(&kernel::INODE_NUMBER),
            device,
            generation: kernel::get::<u32>(inode, &kernel::INODE_GENERATION),
        },
        superblock,
        mode: u32::from(head.get::<u16>(&kernel::INODE_MODE)),
        links: head.get::<u32>(&kernel::INODE_LINKS),
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
