//! Globs on paths as raw bytes, many at once, with home directories taken off first.
//!
//! `*`, `?` and `[…]` stay within one name, `**` crosses directories, `{a,b}` chooses. A pattern that begins with
//! `${home}/` is matched against what follows a home directory, so the number of homes costs nothing per pattern.

use std::{collections::HashSet, ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use super::data::DataError;

/// What a pattern below a home directory begins with.
pub const HOME: &str = "${home}/";

/// Homes that are kept.
const HOMES_MAX: usize = 64 * 1024;

/// Home directories: given ones, and every directory in `/home`.
#[derive(Clone, Debug, Default)]
pub struct Homes {
    exact: HashSet<Vec<u8>>,
    parents: HashSet<Vec<u8>>,
    deepest: usize,
}

impl Homes {
    /// The homes of a host: `/root`, everything in `/home`, and `given` as far as it is a home that a person or
    /// service may own (`/`, `/bin`, `/proc` and the like in `/etc/passwd` are not).
    #[must_use]
    pub fn new<P: AsRef<Path>>(given: &[P]) -> Self {
        let mut homes = Self { deepest: 2, ..Self::default() };
        homes.exact.insert(b"/root".to_vec());
        homes.parents.insert(b"/home".to_vec());
        for home in given {
            homes.add(home.as_ref());
        }
        homes
    }

    /// One more home, if a person or service may own it and there are not too many.
    pub fn add(&mut self, home: &Path) {
        const NOBODYS: [&[u8]; 9] =
            [b"/bin", b"/sbin", b"/dev", b"/proc", b"/sys", b"/etc", b"/usr", b"/nonexistent", b"/run"];
        let bytes = trim_slashes(home.as_os_str().as_bytes());
        let nobodys = bytes.len() < 2 || NOBODYS.iter().any(|place| is_below(bytes, place));
        if bytes.first() == Some(&b'/') && !nobodys && self.exact.len() < HOMES_MAX {
            self.deepest = self.deepest.max(bytes.split(|&byte| byte == b'/').count());
            self.exact.insert(bytes.to_vec());
        }
    }

    /// What follows each home directory that `path` lies in.
    pub fn remainders<'path>(&self, path: &'path [u8]) -> impl Iterator<Item = &'path [u8]> + use<'path, '_> {
        let slashes =
            path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(position, _)| position);
        slashes.skip(1).take(self.deepest).filter_map(|position| {
            let home = path.get(..position)?;
            let is_home = self.exact.contains(home)
                || home.iter().rposition(|&byte| byte == b'/').is_some_and(|slash| {
                    slash + 1 < home.len()
                        && home.get(..slash).is_some_and(|parent| self.parents.contains(parent))
                });
            if is_home { path.get(position + 1..) } else { None }
        })
    }

    /// The directories to look for homes in, given ones and those in `/home`, that exist.
    #[must_use]
    pub fn existing(&self) -> Vec<std::path::PathBuf> {
        let mut all: Vec<_> =
            self.exact.iter().map(|home| Path::new(OsStr::from_bytes(home)).to_owned()).collect();
        for parent in &self.parents {
            let Ok(entries) = std::fs::read_dir(OsStr::from_bytes(parent)) else { continue };
            all.extend(entries.flatten().map(|entry| entry.path()));
        }
        all.sort();
        all.dedup();
        all.retain(|home| home.is_dir());
        all
    }
}

/// `path` without slashes at its end.
pub(super) fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    path.get(..end).unwrap_or_default()
}

/// `path` is `place` or lies below it.
#[must_use]
pub fn is_below(path: &[u8], place: &[u8]) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

/// Patterns without homes, each with a number of the caller's choice.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    set: GlobSet,
    values: Vec<u32>,
}

impl Globs {
    /// Compiles `patterns`.
    pub fn new<'text>(patterns: impl IntoIterator<Item = (&'text str, u32)>) -> Result<Self, DataError> {
        let mut builder = GlobSetBuilder::new();
        let mut values = Vec::new();
        for (pattern, value) in patterns {
            let failed = |error: globset::Error| DataError::Pattern {
                pattern: pattern.to_owned(),
                message: error.kind().to_string(),
            };
            let glob = GlobBuilder::new(pattern)
                .literal_separator(true)
                .backslash_escape(true)
                .empty_alternates(true)
                .build()
                .map_err(failed)?;
            builder.add(glob);
            values.push(value);
        }
        let set = builder.build().map_err(|error| DataError::Pattern {
            pattern: String::from("(all)"),
            message: error.to_string(),
        })?;
        Ok(Self { set, values })
    }

    /// True when any pattern matches.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        !self.values.is_empty() && self.set.is_match_candidate(&Candidate::from_bytes(text))
    }

    /// Adds the numbers of the patterns that match.
    pub fn collect(&self, text: &[u8], numbers: &mut Vec<u32>) {
        if self.values.is_empty() {
            return;
        }
        let matched = self.set.matches_candidate(&Candidate::from_bytes(text));
        numbers.extend(matched.into_iter().filter_map(|index| self.values.get(index)).copied());
    }
}

/// Patterns with and without `${home}/`, each with a number of the caller's choice.
#[derive(Clone, Debug, Default)]
pub struct PathGlobs {
    absolute: Globs,
    in_home: Globs,
}

impl PathGlobs {
    /// Compiles `patterns`.
    pub fn new<'text>(patterns: impl IntoIterator<Item = (&'text str, u32)>) -> Result<Self, DataError> {
        let (mut absolute, mut in_home) = (Vec::new(), Vec::new());
        for (pattern, value) in patterns {
            match pattern.strip_prefix(HOME) {
                Some(rest) => in_home.push((rest, value)),
                None => absolute.push((pattern, value)),
            }
        }
        Ok(Self { absolute: Globs::new(absolute)?, in_home: Globs::new(in_home)? })
    }

    /// True when any pattern matches.
    #[must_use]
    pub fn is_match(&self, path: &[u8], homes: &Homes) -> bool {
        self.absolute.is_match(path) || homes.remainders(path).any(|rest| self.in_home.is_match(rest))
    }

    /// The numbers of the patterns that match, in ascending order, each once.
    #[must_use]
    pub fn matches(&self, path: &[u8], homes: &Homes) -> Vec<u32> {
        let mut numbers = Vec::new();
        self.absolute.collect(path, &mut numbers);
        for rest in homes.remainders(path) {
            self.in_home.collect(rest, &mut numbers);
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

/// `path` without `.`, `..`, doubled slashes and the detour over `/proc/self/root`: what the text says, which is
/// not always where the kernel would arrive.
#[must_use]
pub fn normalise(path: &[u8], working_directory: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    let start = if path.first() == Some(&b'/') { &b""[..] } else { working_directory };
    for name in start.split(|&byte| byte == b'/').chain(path.split(|&byte| byte == b'/')) {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            b"root"
                if matches!(names.as_slice(), [b"proc", process, ..] if is_process(process))
                    && names.len() <= 4 =>
            {
                names.clear();
            }
            name => names.push(name),
        }
    }
    let mut normal = Vec::with_capacity(path.len() + 1);
    for name in names {
        normal.push(b'/');
        normal.extend_from_slice(name);
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    normal
}

/// A directory of `/proc` that stands for a process.
fn is_process(name: &[u8]) -> bool {
    matches!(name, b"self" | b"thread-self") || (!name.is_empty() && name.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A slow matcher that follows the definition: `*`, `?`, `**` as a whole name, `{}` not included.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        if let Some(rest) = pattern.strip_prefix(b"**/") {
            let mut here = text;
            loop {
                if slow(rest, here) {
                    return true;
                }
                match here.iter().position(|&byte| byte == b'/') {
                    Some(slash) => here = &here[slash + 1..],
                    None => return false,
                }
            }
        }
        match pattern.first() {
            None => text.is_empty(),
            Some(b'/') if pattern == b"/**" => text.first() == Some(&b'/') && text.len() > 1,
            Some(b'/') if pattern.starts_with(b"/**/") => {
                text.first() == Some(&b'/') && slow(&pattern[1..], &text[1..])
            }
            Some(b'*') => (0..=text.len())
                .take_while(|&taken| !text[..taken].contains(&b'/'))
                .any(|taken| slow(&pattern[1..], &text[taken..])),
            Some(b'?') => text.first().is_some_and(|&byte| byte != b'/') && slow(&pattern[1..], &text[1..]),
            Some(byte) => text.first() == Some(byte) && slow(&pattern[1..], &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_slow_matcher(
            parts in prop::collection::vec("(a|b|\\.c|a\\*|\\*|\\*\\.c|\\?b|\\*\\*)", 1..5),
            names in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![b'a', b'b', b'.', b'c', b'\n', 0xff]), 1..4), 1..6),
        ) {
            // Two `**` in a row are one in either reading and not written in the data files.
            prop_assume!(parts.windows(2).all(|pair| pair != ["**", "**"]));
            let pattern = format!("/{}", parts.join("/"));
            let mut path = Vec::new();
            for name in &names {
                path.push(b'/');
                path.extend_from_slice(name);
            }
            let globs = Globs::new([(pattern.as_str(), 0)]).unwrap();
            // `?` is one character for globset and one byte for us; only paths without odd bytes tell them apart.
            prop_assert_eq!(globs.is_match(&path), slow(pattern.as_bytes(), &path), "{} {:?}", pattern, crate::event::escape(&path));
        }

        #[test]
        fn normalise_is_stable(path in prop::collection::vec(any::<u8>(), 0..60), cwd in prop::collection::vec(any::<u8>(), 0..20)) {
            let once = normalise(&path, &cwd);
            prop_assert_eq!(once.first(), Some(&b'/'));
            prop_assert!(!once.windows(2).any(|pair| pair == b"//"));
        }
    }

    #[test]
    fn homes() {
        let homes = Homes::new(&["/srv/people/eve/", "/", "/usr/sbin", "/proc"]);
        let rest =
            |path: &'static str| homes.remainders(path.as_bytes()).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(rest("/home/a/.ssh/id"), [b".ssh/id".to_vec()]);
        assert_eq!(rest("/root/.npmrc"), [b".npmrc".to_vec()]);
        assert_eq!(rest("/srv/people/eve/x"), [b"x".to_vec()]);
        assert!(rest("/srv/people/x").is_empty());
        assert!(rest("/home/a").is_empty());
        assert!(rest("/home//a/x").is_empty() || rest("/home//a/x") == [b"x".to_vec()]);
        assert!(rest("/usr/sbin/x").is_empty());
    }

    #[test]
    fn normal_forms() {
        assert_eq!(normalise(b"/proc/self/root/home/u/.ssh/id", b"/"), b"/home/u/.ssh/id");
        assert_eq!(normalise(b"/proc/7/task/8/root/etc/shadow", b"/"), b"/etc/shadow");
        assert_eq!(normalise(b"../a//./b", b"/x/y"), b"/x/a/b");
        assert_eq!(normalise(b"/../..", b""), b"/");
    }
}
