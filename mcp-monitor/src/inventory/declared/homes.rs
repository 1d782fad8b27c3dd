//! Whose homes there are: on the host, and in containers.

use std::{collections::BTreeSet, path::PathBuf};

use super::{place::Base, scan::Home};
use crate::host::users::{self, Users};

/// Homes that are looked at.
const HOMES_MAX: usize = 4096;
/// Homes of one container.
const CONTAINER_HOMES_MAX: usize = 64;

/// The homes of the host's users. Folders that several users share or that belong to somebody else are none.
pub fn of_host(users: &mut Users) -> Vec<Home> {
    let homes =
        users.all().into_iter().filter(|user| user.home.is_absolute() && user.home.parent().is_some());
    homes.map(|user| Home { path: user.home.clone(), uid: user.uid }).take(HOMES_MAX).collect()
}

/// The homes that the passwd file below `root` names.
pub(super) fn of_container(root: &Base) -> BTreeSet<PathBuf> {
    let found = root.find("etc/passwd".as_ref(), None).ok().flatten();
    let bytes = found.and_then(|file| file.read().ok()).unwrap_or_default();
    let homes = users::homes(&bytes).into_iter().filter(|home| home.is_absolute() && home.parent().is_some());
    homes.take(CONTAINER_HOMES_MAX).collect()
}
