//! Objects that change under a name, and names that change hands: a replaced secret is one at once, a freed inode number
//! no longer is.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
};

use anyhow::{Context as _, Result};
use mcp_monitor_tests::{
    act::Act,
    world::{ORDINARY, secret_text},
};

use crate::{
    case::{Case, Context, case, not_run},
    files::read_from,
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("replace-then-read", replace_then_read),
    case("rename-away-then-read", rename_away_then_read),
    case("inode-reuse", inode_reuse),
];

/// As editors and `ssh-keygen` write: a new file takes the secret's name, and is read within a millisecond.
fn replace_then_read(context: &Context) -> Result<Vec<Act>> {
    let object = context.object();
    // A name that says nothing: only the rename makes it a secret.
    let new = object.with_file_name(format!("tmp-{}", std::process::id()));
    let text = if context.benign { ORDINARY.to_owned() } else { secret_text() };
    fs::write(&new, text)?;
    let alias = context.at("alias");
    fs::rename(&new, &object)?;
    fs::hard_link(&object, &alias)?;
    read_from(context, File::open(alias)?)
}

/// The secret gets an innocent name first.
fn rename_away_then_read(context: &Context) -> Result<Vec<Act>> {
    let innocent = context.at("innocent.txt");
    fs::rename(context.object(), &innocent)?;
    read_from(context, File::open(innocent)?)
}

/// The secret is deleted and a harmless file gets its inode number: reading that must be silent. The twin does the same
/// with a file that never was a secret.
fn inode_reuse(context: &Context) -> Result<Vec<Act>> {
    let number = fs::metadata(context.object())?.ino();
    let directory = context.object();
    let directory = directory.parent().context("no parent")?;
    fs::remove_file(context.object())?;
    // ext4 gives the lowest free number of the directory's group first; others never reuse one.
    for attempt in 0..64 {
        let fresh = directory.join(format!("note-{attempt}.txt"));
        fs::write(&fresh, ORDINARY)?;
        if fs::metadata(&fresh)?.ino() == number {
            let innocent = context.at("note.txt");
            fs::rename(&fresh, &innocent)?;
            fs::read(&innocent)?;
            return Ok(vec![Act::mine()?.kind("open").about_path(&innocent)?]);
        }
    }
    not_run("this file system does not give an inode number again")
}
