//! Names that trackers cut, mangle or fall over: too deep, not UTF-8, with line breaks and terminal escapes.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
};

use anyhow::{Context as _, Result};
use mcp_monitor_tests::{act::Act, world::check};

use crate::{
    case::{Case, Context, case},
    files::{owned, read_from},
    process::c_string,
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("deep-path", |context| deep(context, 60, 68)),
    case("deep-path-narrow", |context| deep(context, 1200, 6)),
    case("non-utf8-name", |context| by_name(context, b"n\xff\xfe")),
    case("hostile-name", |context| {
        by_name(
            context,
            b"x\n{\"schema\":\"mcp-monitor/event/v1\",\"forged\":true}\n\x1b[2J\x1b]0;forged\x07\r",
        )
    }),
];

/// Reads the object through a hard link that is `levels` directories down, further than any path can say.
fn deep(context: &Context, levels: usize, width: usize) -> Result<Vec<Act>> {
    let name = c_string("d".repeat(width));
    let mut here = File::open(context.desk())?;
    for _ in 0..levels {
        // SAFETY: the name is a C string and the directory open.
        unsafe {
            if libc::mkdirat(here.as_raw_fd(), name.as_ptr(), 0o700) < 0 {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::AlreadyExists {
                    return Err(error.into());
                }
            }
            let flags = libc::O_RDONLY | libc::O_DIRECTORY;
            here = owned(libc::openat(here.as_raw_fd(), name.as_ptr(), flags).into())?;
        }
    }
    let object = c_string(context.object());
    // SAFETY: both are C strings and the directory is open.
    unsafe {
        if libc::linkat(libc::AT_FDCWD, object.as_ptr(), here.as_raw_fd(), c"s".as_ptr(), 0) < 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::AlreadyExists {
                return Err(error.into());
            }
        }
        check(libc::fchdir(here.as_raw_fd()))?;
    }
    let acts = read_from(context, File::open("s")?)?;
    Ok(acts.into_iter().map(|act| act.with("file.truncated", true)).collect())
}

fn by_name(context: &Context, name: &[u8]) -> Result<Vec<Act>> {
    let path = context.desk().join(OsStr::from_bytes(name));
    drop(fs::remove_file(&path));
    // A name with slashes is several: that way it can say anything a line of JSON can.
    fs::create_dir_all(path.parent().context("no parent")?)?;
    fs::hard_link(context.object(), &path)?;
    let shown = escaped(path.as_os_str().as_bytes());
    let acts = read_from(context, File::open(path)?)?;
    Ok(acts.into_iter().map(|act| act.with("file.path", shown.clone())).collect())
}

/// As the JSON contract writes bytes: what is not UTF-8 and what acts on a terminal as `\\xNN`.
fn escaped(name: &[u8]) -> String {
    let as_hex = |byte: &u8| format!("\\x{byte:02x}");
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                _ if character.is_control() => text.push_str(&as_hex(&(character as u8))),
                _ => text.push(character),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&as_hex(byte)));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_is_escaped_without_loss() {
        assert_eq!(super::escaped(b"n\xff\n\\ \xc3\xa4"), "n\\xff\\x0a\\\\ \u{e4}");
    }
}
