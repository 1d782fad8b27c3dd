//! Reaching one file by another name: links, mounts, copies.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd, unix::fs::symlink},
};

use anyhow::{Context as _, Result};
use mcp_monitor_tests::{act::Act, world::check};

use crate::{
    case::{Case, Context, case, not_run},
    files::{owned, read_from},
    process::{c_string, in_child},
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("symlink", by_symlink),
    case("symlink-dotdot", symlink_dotdot),
    case("hard-link", hard_link),
    case("bind-mount", bind_mount),
    case("rename-parent", rename_parent),
    case("copy-then-read", copy_then_read),
    case("tmpfile-linkat", tmpfile_linkat),
];

fn by_symlink(context: &Context) -> Result<Vec<Act>> {
    symlink(context.object(), context.at("link"))?;
    read_from(context, File::open(context.at("link"))?)
}

fn symlink_dotdot(context: &Context) -> Result<Vec<Act>> {
    let object = context.object();
    let sub = object.parent().context("no parent")?.join(format!("sub-{}", context.name));
    fs::create_dir_all(&sub)?;
    symlink(&sub, context.at("elsewhere"))?;
    read_from(context, File::open(context.at("elsewhere/..").join(object.file_name().context("no name")?))?)
}

fn hard_link(context: &Context) -> Result<Vec<Act>> {
    fs::hard_link(context.object(), context.at("hard"))?;
    read_from(context, File::open(context.at("hard"))?)
}

fn bind_mount(context: &Context) -> Result<Vec<Act>> {
    let place = context.at("mounted");
    fs::create_dir_all(&place)?;
    in_child(|| {
        let object = context.object();
        let from = c_string(object.parent().context("no parent")?);
        let to = c_string(&place);
        let none = c_string("none");
        // SAFETY: all strings are C strings; the mounts are this child's own.
        unsafe {
            if check(libc::unshare(libc::CLONE_NEWNS)).is_err() {
                return not_run("no mount namespace for us");
            }
            let private = libc::MS_REC | libc::MS_PRIVATE;
            check(libc::mount(none.as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()))?;
            check(libc::mount(
                from.as_ptr(),
                to.as_ptr(),
                std::ptr::null(),
                libc::MS_BIND,
                std::ptr::null(),
            ))?;
        }
        read_from(context, File::open(place.join(object.file_name().context("no name")?))?)
    })
}

fn rename_parent(context: &Context) -> Result<Vec<Act>> {
    // The object moves with its directory, so it is a hard link: the directory of the others' secrets stays.
    fs::create_dir_all(context.at("before"))?;
    fs::hard_link(context.object(), context.at("before/x"))?;
    fs::rename(context.at("before"), context.at("after"))?;
    read_from(context, File::open(context.at("after/x"))?)
}

fn copy_then_read(context: &Context) -> Result<Vec<Act>> {
    fs::copy(context.object(), context.at("copy"))?;
    context.prove(&fs::read(context.at("copy"))?)?;
    // Only the copying can be told from ordinary work, so that is what must be told.
    context.read_it()
}

fn tmpfile_linkat(context: &Context) -> Result<Vec<Act>> {
    let desk = c_string(context.desk());
    // SAFETY: the path is a C string.
    let nameless = unsafe { libc::open(desk.as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600) };
    if nameless < 0 {
        return not_run(format!("O_TMPFILE: {}", std::io::Error::last_os_error()));
    }
    let mut nameless = owned(nameless.into())?;
    let mut object = File::open(context.object())?;
    std::io::copy(&mut object, &mut nameless)?;
    let from = c_string(format!("/proc/self/fd/{}", nameless.as_raw_fd()));
    let to = c_string(context.at("named"));
    // SAFETY: both are C strings.
    check(unsafe {
        libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW)
    })?;
    context.prove(&fs::read(context.at("named"))?)?;
    context.read_it()
}
