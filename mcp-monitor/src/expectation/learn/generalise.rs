//! From paths to patterns: parts that change from run to run become wildcards, directories open up after enough
//! distinct children, and places that belong to everybody never do.

use std::collections::{BTreeMap, BTreeSet};

use super::observe::{Evidence, Seen};
use crate::{event::escape, expectation::file::compile::escaped};

/// Distinct children after which a directory stands for all of them.
const CHILDREN_ENOUGH: usize = 8;
/// Directories that hold everybody's things: their children are listed one by one, however many there are. `~` is a
/// home.
const SHARED: [&str; 31] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/run/user",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/tmp",
    "~",
    "~/.cache",
    "~/.config",
    "~/.local",
    "~/.local/share",
    "~/.local/state",
];

/// What the variables stand for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `${workspace}`.
    pub workspaces: BTreeSet<Vec<u8>>,
    /// Folders that the workload was given in its arguments: their own stand for all of them.
    pub roots: BTreeSet<Vec<u8>>,
}

/// A pattern with what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// As an expectation writes it.
    pub text: String,
    /// Distinct paths.
    pub paths: usize,
    /// How often and by whom.
    pub evidence: Evidence,
    /// Why it is wider than what was seen.
    pub why: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<Vec<u8>, Node>,
    /// The path itself was used.
    own: Option<Evidence>,
    paths: usize,
}

/// The patterns of `seen`, in the order of their text.
#[must_use]
pub fn patterns(seen: &Seen, places: &Places) -> Vec<Pattern> {
    let mut found: BTreeMap<String, Pattern> = BTreeMap::new();
    let mut keep = |text: String, paths: usize, evidence: &Evidence, why: Option<&'static str>| {
        let pattern = found.entry(text.clone()).or_insert_with(|| Pattern {
            text,
            paths: 0,
            evidence: Evidence::default(),
            why,
        });
        pattern.paths += paths;
        pattern.evidence.add(evidence);
    };
    let mut tree = Node::default();
    for (path, evidence) in seen {
        match places.roots.iter().filter(|root| is_root(root)).find(|root| is_in(path, root)) {
            Some(root) => {
                let text = format!("{}/**", with_variable(&literal(root), places));
                keep(text, 1, evidence, Some("given in its arguments"));
            }
            None => tree.insert(path, evidence),
        }
    }
    let mut names = Vec::new();
    tree.walk(&mut names, &mut |names, paths, evidence, ending, why| {
        let mut text = joined(names);
        text.push_str(ending);
        if !text.is_empty() {
            keep(with_variable(&text, places), paths, evidence, why);
        }
    });
    found.into_values().collect()
}

impl Node {
    fn insert(&mut self, path: &[u8], evidence: &Evidence) {
        let mut node = self;
        node.paths += 1;
        let mut before: &[u8] = b"";
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            let key = changing(name, before)
                .map(str::to_owned)
                .or_else(|| with_made_up(name))
                .map_or_else(|| escaped_bytes(name), String::into_bytes);
            node = node.children.entry(key).or_default();
            node.paths += 1;
            before = name;
        }
        node.own.get_or_insert_default().add(evidence);
    }

    fn evidence(&self) -> Evidence {
        let mut all = self.own.clone().unwrap_or_default();
        for child in self.children.values() {
            all.add(&child.evidence());
        }
        all
    }

    fn walk(
        &self,
        names: &mut Vec<String>,
        keep: &mut impl FnMut(&[String], usize, &Evidence, &str, Option<&'static str>),
    ) {
        if self.children.len() >= CHILDREN_ENOUGH && !is_shared(names) {
            let deep = self.children.values().any(|child| !child.children.is_empty());
            let ending = if deep { "/**" } else { "/*" };
            keep(names, self.paths, &self.evidence(), ending, Some("many different ones"));
            if deep || self.own.is_none() {
                return;
            }
        }
        if let Some(own) = &self.own {
            let why = names.iter().any(|name| name.contains('*')).then_some("changes from run to run");
            keep(names, if self.children.is_empty() { self.paths } else { 1 }, own, "", why);
        }
        if self.children.len() >= CHILDREN_ENOUGH && !is_shared(names) {
            return;
        }
        for (name, child) in &self.children {
            names.push(String::from_utf8_lossy(name).into_owned());
            child.walk(names, keep);
            names.pop();
        }
    }
}

/// The wildcard of a name that changes from run to run: pids, hashes, versions, random names of temporary files.
fn changing(name: &[u8], parent: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(name).ok()?;
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits == text.len() && (parent == b"proc" || digits >= 4) {
        return Some("*");
    }
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal && digits > 0 && text.len() >= 8 || is_uuid(text) {
        return Some("*");
    }
    let version = text.strip_prefix('v').unwrap_or(text);
    let mut parts = version.split('.');
    if parts.clone().count() >= 3
        && parts.all(|part| part.bytes().next().is_some_and(|byte| byte.is_ascii_digit()))
    {
        return Some("*");
    }
    if matches!(parent, b"tmp" | b"shm") {
        if text.starts_with("tmp") && text.len() >= 9 {
            return Some("tmp*");
        }
        if let Some((before, random)) = text.rsplit_once(['.', '-', '_'])
            && random.len() >= 6
            && !before.is_empty()
            && random.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        {
            return Some("*");
        }
    }
    None
}

/// A name of several parts of which some are made up: `memory.json.3fc588ff….tmp`, `2d515988d50291a8.msgpack`, `.tmpYw3QUR`.
fn with_made_up(name: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(name).ok()?;
    let mut found = false;
    let parts: Vec<String> = text
        .split('.')
        .map(|part| {
            if let Some(random) = part.strip_prefix("tmp")
                && is_random(random, 6)
            {
                found = true;
                return String::from("tmp*");
            }
            if is_hash(part) || is_uuid(part) || is_random(part, 16) {
                found = true;
                return String::from("*");
            }
            escaped(part)
        })
        .collect();
    found.then(|| parts.join("."))
}

/// Hexadecimal digits that nobody wrote.
fn is_hash(text: &str) -> bool {
    text.len() >= 8
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Letters and digits as a generator of names makes them: at least so many, of all kinds, or with capitals within.
fn is_random(text: &str, least: usize) -> bool {
    let count = |kind: fn(&u8) -> bool| text.bytes().filter(kind).count();
    let (digits, capitals, small) =
        (count(u8::is_ascii_digit), count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let only = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let all_kinds = digits > 0 && capitals > 0 && small > 0;
    let mixed = least < 16 && (capitals > 0 && small > 0 || digits > 0 && (capitals > 0 || small > 0));
    only && text.len() >= least && text.len() <= 64 && (all_kinds || mixed)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

fn is_shared(names: &[String]) -> bool {
    let path: String = if names.is_empty() { "/".into() } else { joined(names) };
    let home = in_home(&path).map(|rest| if rest.is_empty() { "~".to_owned() } else { format!("~/{rest}") });
    SHARED.iter().any(|shared| *shared == path || home.as_deref() == Some(*shared))
}

fn joined(names: &[String]) -> String {
    names.iter().fold(String::new(), |mut path, name| {
        path.push('/');
        path.push_str(name);
        path
    })
}

/// What follows the home that a path lies in.
pub(super) fn in_home(path: &str) -> Option<&str> {
    if let Some(rest) = path.strip_prefix("/root") {
        return rest.strip_prefix('/').or_else(|| rest.is_empty().then_some(rest));
    }
    let rest = path.strip_prefix("/home/")?;
    Some(rest.split_once('/').map_or("", |(_, rest)| rest))
}

/// A folder that may stand for all it holds: not one of everybody's.
fn is_root(path: &[u8]) -> bool {
    let names: Vec<String> =
        String::from_utf8_lossy(path).split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    !names.is_empty() && !is_shared(&names)
}

fn is_in(path: &[u8], root: &[u8]) -> bool {
    crate::expectation::glob::is_below(path, root)
}

fn literal(path: &[u8]) -> String {
    String::from_utf8_lossy(&escaped_bytes(path)).into_owned()
}

/// A pattern for these bytes. What is not UTF-8 cannot be written down, and any character stands for it.
fn escaped_bytes(name: &[u8]) -> Vec<u8> {
    let mut pattern = String::new();
    for chunk in name.utf8_chunks() {
        pattern.push_str(&escaped(chunk.valid()));
        if !chunk.invalid().is_empty() {
            pattern.push('*');
        }
    }
    pattern.into_bytes()
}

/// With `${workspace}` or `${home}` in place of the directory, when that is narrower than what it replaces.
fn with_variable(text: &str, places: &Places) -> String {
    let longest = places
        .workspaces
        .iter()
        .filter(|place| is_root(place))
        .map(|place| literal(place))
        .filter(|place| {
            text.strip_prefix(place.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .max_by_key(String::len);
    if let Some(place) = longest {
        return format!("${{workspace}}{}", text.strip_prefix(place.as_str()).unwrap_or_default());
    }
    match in_home(text) {
        Some(rest) if !rest.is_empty() && !matches!(rest, "*" | "**") => format!("${{home}}/{rest}"),
        _ => text.to_owned(),
    }
}

/// A path for people.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    escape(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_wrote_become_wildcards_and_others_stay() {
        let of = |name: &str| with_made_up(name.as_bytes());
        for (name, pattern) in [
            ("memory.json.3fc588ffae1ac4d9adbf85af2ae4b543.tmp", "memory.json.*.tmp"),
            ("2d515988d50291a8.msgpack", "*.msgpack"),
            (".tmpYw3QUR", ".tmp*"),
            ("umWCwqP8iKBMSODa", "*"),
            ("fvFJqRi-Zzu2xNBz", "*"),
        ] {
            assert_eq!(of(name).as_deref(), Some(pattern), "{name}");
        }
        for name in [
            "server-filesystem",
            "template",
            "README.md",
            "node_modules",
            "tmpfiles",
            "tmp",
            "deadbeef",
            "2026",
            "MyComponentFactory.tsx",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
