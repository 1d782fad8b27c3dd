//! Internet addresses: out of `sockaddr` and `sock`, always as 16 bytes with IPv4 mapped into IPv6.

use crate::{
    kernel,
    kernel::{Address, Plain},
};

pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
pub(crate) const AF_NETLINK: u16 = 16;

/// An address and a port in host byte order.
#[derive(Clone, Copy, Default)]
pub(crate) struct Internet {
    pub(crate) address: [u8; 16],
    pub(crate) port: u16,
}

/// IPv4 (as it lies in memory, i.e. in network byte order) mapped into IPv6.
#[inline(always)]
pub(crate) fn mapped(ipv4: u32) -> [u8; 16] {
    let bytes = ipv4.to_ne_bytes();
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, bytes[0], bytes[1], bytes[2], bytes[3]]
}

/// Where a `sockaddr` lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Kernel,
    User,
}

#[inline(always)]
fn read<T: Plain>(from: Address, memory: Memory) -> T {
    match memory {
        Memory::Kernel => kernel::read(from),
        Memory::User => kernel::read_user(from),
    }
}

/// The family of a `sockaddr`.
#[inline(always)]
pub(crate) fn family(sockaddr: Address, memory: Memory) -> u16 {
    read(sockaddr, memory)
}

/// Address and port of a `sockaddr_in` or `sockaddr_in6`; `None` for other families.
#[inline(always)]
pub(crate) fn of_sockaddr(sockaddr: Address, memory: Memory) -> Option<Internet> {
    match family(sockaddr, memory) {
        AF_INET => Some(Internet {
            address: mapped(read::<u32>(sockaddr.wrapping_add(4), memory)),
            port: u16::from_be(read::<u16>(sockaddr.wrapping_add(2), memory)),
        }),
        AF_INET6 => Some(Internet {
            address: read::<[u8; 16]>(sockaddr.wrapping_add(8), memory),
            port: u16::from_be(read::<u16>(sockaddr.wrapping_add(2), memory)),
        }),
        _ => None,
    }
}

/// The peer of a socket.
#[inline(always)]
pub(crate) fn remote(sock: Address) -> Internet {
    let port = u16::from_be(kernel::get::<u16>(sock, &kernel::SOCK_REMOTE_PORT));
    let address = if kernel::get::<u16>(sock, &kernel::SOCK_FAMILY) == AF_INET6 {
        kernel::get::<[u8; 16]>(sock, &kernel::SOCK_REMOTE_IPV6)
    } else {
        mapped(kernel::get::<u32>(sock, &kernel::SOCK_REMOTE_IPV4))
    };
    Internet { address, port }
}

/// Our address of a socket.
#[inline(always)]
pub(crate) fn local_address(sock: Address) -> [u8; 16] {
    if kernel::get::<u16>(sock, &kernel::SOCK_FAMILY) == AF_INET6 {
        kernel::get::<[u8; 16]>(sock, &kernel::SOCK_LOCAL_IPV6)
    } else {
        mapped(kernel::get::<u32>(sock, &kernel::SOCK_LOCAL_IPV4))
    }
}
