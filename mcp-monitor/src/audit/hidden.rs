//! Programs in hidden and temporary places that came there lately. No package puts anything there: package managers keep
//! to known stores, which are left out.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{Problem, configuration::below};
use crate::{
    event::Severity,
    expectation::{
        data::DataError,
        glob::Homes,
        places::{OddPlace, Places},
        program::Programs,
    },
    inventory::declared::Sources,
};

/// How long ago counts as lately.
const LATELY: Duration = Duration::from_hours(14 * 24);
/// Folders below each other that are looked at.
const DEPTH_MAX: usize = 4;
/// Entries that one look passes over.
const ENTRIES_MAX: usize = 200_000;
/// Places for temporary files.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Looks into hidden folders of homes, and into places for temporary files.
pub(super) fn check(sources: &Sources, keep: &mut impl FnMut(Problem)) -> Result<(), DataError> {
    let places = Places::embedded(&Programs::embedded()?)?;
    let homes: Vec<PathBuf> = sources.homes.iter().map(|home| home.path.clone()).collect();
    let mut search = Search { places, homes: Homes::new(&homes), left: ENTRIES_MAX, now: SystemTime::now() };
    for home in &homes {
        let root = below(&sources.root, home);
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().starts_with(b".") {
                search.go(&entry.path(), DEPTH_MAX, keep);
            }
        }
    }
    for place in TEMPORARY {
        search.go(&below(&sources.root, Path::new(place)), DEPTH_MAX - 1, keep);
    }
    Ok(())
}

struct Search {
    places: Places,
    homes: Homes,
    left: usize,
    now: SystemTime,
}

impl Search {
    fn go(&mut self, path: &Path, depth: usize, keep: &mut impl FnMut(Problem)) {
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        // Links are not followed: what they mean lies elsewhere.
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        if metadata.is_dir() {
            let Some(depth) = depth.checked_sub(1) else { return };
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                self.go(&entry.path(), depth, keep);
            }
            return;
        }
        let executable = metadata.is_file() && metadata.mode() & 0o111 != 0;
        let lately = metadata
            .modified()
            .is_ok_and(|time| self.now.duration_since(time).is_ok_and(|age| age <= LATELY));
        if !executable || !lately {
            return;
        }
        let bytes = path.as_os_str().as_bytes();
        let Some(place) = self.places.odd_place(bytes, &self.homes) else { return };
        if !is_program(path) {
            return;
        }
        let (severity, what) = match place {
            OddPlace::Hidden => (
                Severity::Medium,
                "a program came into a hidden folder lately, and no package puts one there",
            ),
            OddPlace::Temporary => (Severity::Low, "a program came into a place for temporary files lately"),
        };
        keep(Problem {
            check: "hidden-program",
            severity,
            path: path.to_owned(),
            line: None,
            key: None,
            what: what.to_owned(),
            fix: String::from("See where it came from and what runs it; take it away if nobody knows it"),
        });
    }
}

/// The first bytes of what the kernel executes; a mode alone says little.
fn is_program(path: &Path) -> bool {
    use std::{io::Read as _, os::unix::fs::OpenOptionsExt as _};
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let Ok(mut file) = fs::OpenOptions::new().read(true).custom_flags(flags).open(path) else { return false };
    let mut begin = [0; 4];
    file.read_exact(&mut begin).is_ok() && (begin == *b"\x7fELF" || begin.starts_with(b"#!"))
}
