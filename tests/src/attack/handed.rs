//! Files that come already open: passed over a socket, taken from another process, inherited across an exec.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    mem::zeroed,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::{Command, Stdio},
};

use anyhow::{Result, bail};
use mcp_monitor_tests::{act::Act, world::check};

use crate::{
    case::{Case, Context, case, not_run},
    files::{inheritable, owned, read_from},
    outside::{adopt, ask, card},
    process::{in_child, pipe, wait},
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("fd-pass-outside", fd_pass_outside),
    case("fd-pass-inside", fd_pass_inside),
    case("pidfd-getfd", pidfd_getfd),
    case("inherited-fd", inherited_fd),
];

/// Reads what came in and reports that it came.
fn received(context: &Context, file: File) -> Result<Vec<Act>> {
    Ok(read_from(context, file)?.into_iter().map(|act| act.kind("receive")).collect())
}

/// A process outside the lineage opens the file; the lineage never does.
fn fd_pass_outside(context: &Context) -> Result<Vec<Act>> {
    let helper = ask(&context.world, &format!("open {}", context.object().display()))?;
    received(context, File::from(receive_descriptor(&helper)?))
}

/// A child opens the file and passes it to its parent: the open is the child's.
fn fd_pass_inside(context: &Context) -> Result<Vec<Act>> {
    let (mine, theirs) = UnixStream::pair()?;
    let acts = in_child(|| {
        let file = File::open(context.object())?;
        send_descriptor(&theirs, file.as_raw_fd())?;
        Ok(vec![Act::mine()?.kind("open").about(&file.metadata()?)])
    })?;
    read_from(context, File::from(receive_descriptor(&mine)?))?;
    Ok(acts)
}

/// The twin takes its own child's descriptor: reaching into a stranger is never harmless, whatever is taken.
fn pidfd_getfd(context: &Context) -> Result<Vec<Act>> {
    if context.benign {
        let file = File::open(context.object())?;
        // The child has the same descriptors and waits until the parent's end of the pipe is gone.
        let (mut waiting, parent) = pipe()?;
        // SAFETY: the child makes only system calls.
        let child = unsafe { check(libc::fork())? };
        if child == 0 {
            drop(parent);
            drop(std::io::Read::read(&mut waiting, &mut [0]));
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        let taken = take_descriptor(child, file.as_raw_fd());
        drop(parent);
        wait(child)?;
        return received(context, taken?);
    }
    let helper = ask(&context.world, &format!("hold {}", context.object().display()))?;
    let mut number = String::new();
    BufReader::new(&helper).read_line(&mut number)?;
    received(context, take_descriptor(card(&context.world)?.process.pid, number.trim().parse()?)?)
}

/// Takes a descriptor out of another process.
fn take_descriptor(pid: i32, number: i32) -> Result<File> {
    // SAFETY: plain calls without memory.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let process = owned(process)?;
        let taken = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        if taken < 0 && *libc::__errno_location() == libc::ENOSYS {
            return not_run("this kernel has no pidfd_getfd");
        }
        owned(taken)
    }
}

/// The shell opens the file and becomes `cat`, which never opens it.
fn inherited_fd(context: &Context) -> Result<Vec<Act>> {
    let descriptor = inheritable(File::open(context.object())?)?;
    // Between fork and exec the child is this very program, so the open belongs to this process.
    let mut cat = Command::new("cat");
    // SAFETY: the descriptor is open and stays so.
    cat.stdin(unsafe { <Stdio as std::os::fd::FromRawFd>::from_raw_fd(descriptor) });
    let Ok(output) = cat.output() else { return not_run("no cat here") };
    context.prove(&output.stdout)?;
    context.read_it()
}

/// Sends one descriptor.
pub(crate) fn send_descriptor(socket: &UnixStream, descriptor: RawFd) -> Result<()> {
    let mut byte = [b'x'];
    let mut control = [0_u64; 4];
    // SAFETY: the message points to live buffers that are as long as it says.
    unsafe {
        let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(descriptor);
        if libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) != 1 {
            bail!("pass a descriptor: {}", std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Receives one descriptor.
pub(crate) fn receive_descriptor(socket: &UnixStream) -> Result<OwnedFd> {
    let mut byte = [0_u8];
    let mut control = [0_u64; 4];
    // SAFETY: as above; a descriptor is taken only from a header that the kernel wrote.
    unsafe {
        let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let received = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        check(i32::try_from(received)?)?;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            bail!("no descriptor came");
        }
        adopt(libc::CMSG_DATA(header).cast::<i32>().read_unaligned())
    }
}
