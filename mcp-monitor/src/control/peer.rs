//! Who asks, as the kernel tells, and what that may see.
//!
//! Root may do everything; members of the group `mcp-monitor` may read everything; anybody else may read what processes
//! of their own user did. The group counts as the peer had it when it connected (`SO_PEERGROUPS`), so that a process
//! that gave it up does not have it.

use crate::host::users;
use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};
use tokio::net::UnixStream;

/// The group whose members may read everything.
pub const GROUP: &str = "mcp-monitor";
/// Supplementary groups that are looked at.
const GROUPS_MAX: usize = 1024;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Process id, where the kernel tells it.
    pub pid: Option<u32>,
    /// What it may see.
    pub access: Access,
}

/// What may be seen and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    All,
    /// Everything may be read.
    Read,
    /// What this user's processes did may be read.
    Own(u32),
}

impl Access {
    /// What follows from a user and groups; `group` is that of [`GROUP`].
    #[must_use]
    pub fn of(uid: u32, groups: &[u32], group: Option<u32>) -> Self {
        match uid {
            0 => Self::All,
            _ if group.is_some_and(|group| groups.contains(&group)) => Self::Read,
            _ => Self::Own(uid),
        }
    }

    /// True when what a process of `uid` did may be seen.
    #[must_use]
    pub fn sees(self, uid: Option<u32>) -> bool {
        match self {
            Self::All | Self::Read => true,
            Self::Own(own) => uid == Some(own),
        }
    }

    /// True when nothing is hidden.
    #[must_use]
    pub fn sees_all(self) -> bool {
        !matches!(self, Self::Own(_))
    }
}

impl Peer {
    /// The other end of `stream`.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut groups = peer_groups(stream.as_raw_fd())?;
        groups.push(credentials.gid());
        let group = users::group(GROUP);
        Ok(Self {
            uid: credentials.uid(),
            pid: credentials.pid().and_then(|pid| u32::try_from(pid).ok()),
            access: Access::of(credentials.uid(), &groups, group),
        })
    }
}

/// Supplementary groups of the process at the other end, as they were when it connected.
fn peer_groups(socket: RawFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS_MAX];
    let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length describe `groups`, which outlives the call; the kernel writes at most that
    // many bytes and stores how many.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(usize::try_from(bytes).unwrap_or(0) / size_of::<u32>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_group_and_everybody_else() {
        assert_eq!(Access::of(0, &[], None), Access::All);
        assert_eq!(Access::of(1000, &[100, 990], Some(990)), Access::Read);
        assert_eq!(Access::of(1000, &[100], Some(990)), Access::Own(1000));
        assert_eq!(Access::of(1000, &[100], None), Access::Own(1000), "there is no such group");
        assert!(Access::Own(1000).sees(Some(1000)));
        assert!(!Access::Own(1000).sees(Some(0)) && !Access::Own(1000).sees(None));
    }

    #[tokio::test]
    async fn the_kernel_tells_who_asks() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
        assert_eq!(peer.pid, Some(std::process::id()));
    }
}
