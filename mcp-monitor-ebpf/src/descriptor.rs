//! File descriptors of the current process, through the kernel's own table.

use mcp_monitor_common::record::DescriptorIdentity;

use crate::{identity, kernel, kernel::Address};

/// `S_IFMT` and `S_IFSOCK` of `include/uapi/linux/stat.h`.
const TYPE_MASK: u32 = 0o170_000;
const SOCKET: u32 = 0o140_000;

/// The open file behind a descriptor; null if there is none.
#[inline(always)]
pub(crate) fn file(descriptor: u32) -> Address {
    let files = kernel::pointer(kernel::current_task(), &kernel::TASK_FILES);
    let table = kernel::pointer(files, &kernel::FILES_FDT);
    let mut room = kernel::Room::uninit();
    let table = kernel::Head::<2>::of(table, &mut room);
    if descriptor >= table.get::<u32>(&kernel::FDTABLE_MAX_FDS) {
        return core::ptr::null();
    }
    let array = table.pointer(&kernel::FDTABLE_FD);
    kernel::read::<u64>(array.wrapping_add(descriptor as usize * 8)) as Address
}

/// The `struct sock` behind an open file that is a socket; null otherwise.
#[inline(always)]
pub(crate) fn sock_of_file(file: Address) -> Address {
    let inode = kernel::pointer(file, &kernel::FILE_INODE);
    if u32::from(kernel::get::<u16>(inode, &kernel::INODE_MODE)) & TYPE_MASK != SOCKET {
        return core::ptr::null();
    }
    let socket = kernel::pointer(file, &kernel::FILE_PRIVATE_DATA);
    kernel::pointer(socket, &kernel::SOCKET_SOCK)
}

/// The number that `/proc/PID/fd` shows for a socket: the inode that lies beside `struct socket`.
#[inline(always)]
pub(crate) fn inode_of_socket(socket: Address) -> u64 {
    if socket.is_null() {
        return 0;
    }
    let allocation = socket.wrapping_sub(kernel::SOCKET_ALLOC_SOCKET.load() as usize);
    kernel::get::<u64>(kernel::at(allocation, &kernel::SOCKET_ALLOC_INODE), &kernel::INODE_NUMBER)
}

/// What a descriptor is, and for a local socket who is at its other end.
#[inline(always)]
pub(crate) fn describe(descriptor: u32) -> DescriptorIdentity {
    let file = file(descriptor);
    let mut description = DescriptorIdentity::default();
    if file.is_null() {
        return description;
    }
    let inode = kernel::pointer(file, &kernel::FILE_INODE);
    let of_inode = identity::of_inode(inode);
    description.inode = of_inode.inode;
    description.device = of_inode.device;
    description.mode = u32::from(kernel::get::<u16>(inode, &kernel::INODE_MODE));
    let sock = sock_of_file(file);
    if !sock.is_null() && kernel::get::<u16>(sock, &kernel::SOCK_FAMILY) == crate::address::AF_UNIX {
        let peer = kernel::pointer(sock, &kernel::UNIX_PEER);
        if !peer.is_null() {
            description.peer_inode = inode_of_socket(kernel::pointer(peer, &kernel::SOCK_SOCKET));
        }
    }
    description
}
