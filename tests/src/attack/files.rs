//! Reading one file by every call that can open it.

use std::{
    fs::File,
    io::Read,
    os::{
        fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use mcp_monitor_tests::{act::Act, world::check};

use crate::{
    case::{Case, Context, case, not_run},
    int80,
    process::c_string,
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("plain", plain),
    case("o-path-reopen", o_path_reopen),
    case("openat2", openat2),
    case("open-by-handle", open_by_handle),
    case("creat", creat),
    case("truncate", truncate),
    case("int80-open", int80_open),
    case("shell-builtin", shell_builtin),
    case("mmap-read", mmap_read),
    case("proc-self-root", proc_self_root),
];

/// Reads a file whole and reports that this process did.
pub(crate) fn read_whole(file: &Path) -> Result<Act> {
    let mut file = File::open(file).with_context(|| format!("open {}", file.display()))?;
    std::io::copy(&mut file, &mut std::io::sink())?;
    Ok(Act::mine()?.kind("open").about(&file.metadata()?))
}

/// Takes over a descriptor that a raw call returned.
pub(crate) fn owned(descriptor: i64) -> Result<File> {
    let descriptor = i32::try_from(descriptor)?;
    check(descriptor)?;
    // SAFETY: the kernel just returned it to us.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Reads what is behind a descriptor, proves it and reports.
pub(crate) fn read_from(context: &Context, mut file: File) -> Result<Vec<Act>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    context.prove(&bytes)?;
    Ok(vec![Act::mine()?.kind("open").about(&file.metadata()?)])
}

fn plain(context: &Context) -> Result<Vec<Act>> {
    let path = context.object();
    let acts = read_from(context, File::open(&path)?)?;
    Ok(acts.into_iter().map(|act| act.with("file.path", path.to_string_lossy())).collect())
}

fn o_path_reopen(context: &Context) -> Result<Vec<Act>> {
    let path = c_string(context.object());
    // SAFETY: the path is a C string.
    let place = owned(unsafe { libc::open(path.as_ptr(), libc::O_PATH) }.into())?;
    read_from(context, File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))?)
}

fn openat2(context: &Context) -> Result<Vec<Act>> {
    let path = c_string(context.object());
    let how = [0_u64; 3];
    // SAFETY: path and open_how are valid for the call.
    let result = unsafe {
        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how.as_ptr(), size_of_val(&how))
    };
    read_from(context, owned(result)?)
}

fn open_by_handle(context: &Context) -> Result<Vec<Act>> {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        data: [u8; 128],
    }
    let path = c_string(context.object());
    let mut handle = Handle { bytes: 128, kind: 0, data: [0; 128] };
    let mut mount = 0_i32;
    // SAFETY: the handle says its own size; the mount id is ours to write to.
    let named = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0,
        )
    };
    if named < 0 {
        return not_run(format!("this file system has no handles: {}", std::io::Error::last_os_error()));
    }
    let directory = File::open(context.desk())?;
    // SAFETY: the handle is as the kernel filled it.
    let result = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, directory.as_raw_fd(), &raw mut handle, libc::O_RDONLY)
    };
    read_from(context, owned(result)?)
}

fn creat(context: &Context) -> Result<Vec<Act>> {
    let path = c_string(context.object());
    // SAFETY: the path is a C string.
    let file = owned(unsafe { libc::creat(path.as_ptr(), 0o600) }.into())?;
    if file.metadata()?.len() != 0 {
        bail!("the object was not emptied");
    }
    Ok(vec![Act::mine()?.kind("open").about(&file.metadata()?)])
}

fn truncate(context: &Context) -> Result<Vec<Act>> {
    let path = c_string(context.object());
    // SAFETY: the path is a C string.
    check(unsafe { libc::truncate(path.as_ptr(), 0) })?;
    if std::fs::metadata(context.object())?.len() != 0 {
        bail!("the object was not emptied");
    }
    Ok(vec![Act::mine()?.kind("truncate").about_path(&context.object())?])
}

fn int80_open(context: &Context) -> Result<Vec<Act>> {
    let path = context.object();
    let Some(low) = int80::Low::new(path.as_os_str().as_bytes()) else {
        return not_run("no memory below 4 GiB");
    };
    let descriptor = int80::call(int80::OPEN, [low.address(), 0, 0]);
    if descriptor == -libc::ENOSYS {
        return not_run("this kernel has no 32-bit calls");
    }
    if descriptor < 0 {
        return Err(std::io::Error::from_raw_os_error(-descriptor).into());
    }
    read_from(context, owned(descriptor.into())?)
}

fn shell_builtin(context: &Context) -> Result<Vec<Act>> {
    // The shell reads by itself, says who it is and what it read, and executes nothing.
    let script =
        "while read -r line; do echo \"$line\"; done <\"$1\"; read -r stat </proc/self/stat; echo \"$stat\"";
    let shell = ["/bin/bash", "/bin/sh"].into_iter().find(|shell| Path::new(shell).exists());
    let Some(shell) = shell else { return not_run("no shell here") };
    let output = Command::new(shell).args(["-c", script, "shell"]).arg(context.object()).output()?;
    context.prove(&output.stdout)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let stat = text.lines().last().context("the shell said nothing")?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("no stat line")?.1.split_whitespace().collect();
    let mut act = Act::mine()?.kind("open").about_path(&context.object())?;
    act.process.pid = stat.split(' ').next().context("no pid")?.parse()?;
    act.process.start = fields.get(19).context("no start time")?.parse()?;
    Ok(vec![act])
}

fn mmap_read(context: &Context) -> Result<Vec<Act>> {
    let file = File::open(context.object())?;
    let length = usize::try_from(file.metadata()?.len())?;
    // SAFETY: a private read-only mapping of a file that nobody shortens meanwhile.
    let bytes = unsafe {
        let start =
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
        if start == libc::MAP_FAILED {
            bail!("mmap: {}", std::io::Error::last_os_error());
        }
        std::slice::from_raw_parts(start.cast::<u8>(), length)
    };
    context.prove(bytes)?;
    Ok(vec![Act::mine()?.kind("open").about(&file.metadata()?)])
}

fn proc_self_root(context: &Context) -> Result<Vec<Act>> {
    read_from(context, File::open(format!("/proc/self/root{}", context.object().display()))?)
}

/// A descriptor that survives an exec, as a number.
pub(crate) fn inheritable(file: File) -> Result<i32> {
    let descriptor = OwnedFd::from(file).into_raw_fd();
    // SAFETY: our own descriptor.
    check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) })?;
    Ok(descriptor)
}
