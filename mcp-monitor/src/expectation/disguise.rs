//! Names that a program takes to be overlooked, and programs that become root by their mode. Data:
//! `mcp-monitor/data/masquerade.yaml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    commands::last_name,
    data::{DataError, parse},
    glob::Globs,
};
use crate::event::{Bytes, ExecObject};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DisguiseFile {
    kernel_threads: Vec<String>,
    daemons: BTreeMap<String, Vec<String>>,
    multicall: Vec<String>,
    setuid: SetuidText,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetuidText {
    known: Vec<String>,
    harmless: Vec<String>,
}

/// What a program that became root is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setuid {
    /// Nobody gains a shell by it.
    Harmless,
    /// Made for becoming somebody else.
    Known,
    /// Nobody knows it.
    Unknown,
}

/// The names.
#[derive(Debug)]
pub struct Disguises {
    kernel_threads: Globs,
    daemons: BTreeMap<Vec<u8>, Globs>,
    multicall: Globs,
    known: Globs,
    harmless: Globs,
}

impl Disguises {
    /// The names of `masquerade.yaml`.
    pub fn embedded() -> Result<Self, DataError> {
        let file: DisguiseFile = parse("masquerade.yaml", include_str!("../../data/masquerade.yaml"))?;
        let globs = |texts: &[String]| Globs::new(texts.iter().map(|text| (text.as_str(), 0)));
        let daemons =
            file.daemons.iter().map(|(name, places)| Ok((name.clone().into_bytes(), globs(places)?)));
        Ok(Self {
            kernel_threads: globs(&file.kernel_threads)?,
            daemons: daemons.collect::<Result<_, DataError>>()?,
            multicall: globs(&file.multicall)?,
            known: globs(&file.setuid.known)?,
            harmless: globs(&file.setuid.harmless)?,
        })
    }

    /// Programs that go by many names.
    #[must_use]
    pub fn multicall(&self) -> Globs {
        self.multicall.clone()
    }

    /// In words what an exec pretends to be, if it does.
    #[must_use]
    pub fn pretence(&self, exec: &ExecObject) -> Option<String> {
        let path = exec.executable.path.bytes.as_slice();
        if path.is_empty() || exec.executable.path.truncated {
            return None;
        }
        let called = exec.arguments.first().map(Bytes::as_slice);
        // A login shell is called by its name behind a dash.
        let called = called.map(|called| called.strip_prefix(b"-").unwrap_or(called));
        let own = last_name(path);
        self.pretends(own, path).map(|what| format!("a program named like {what}")).or_else(|| {
            let called = called.filter(|called| !self.multicall.is_match(own) && last_name(called) != own)?;
            let what = self.pretends_by(called, path)?;
            Some(format!("a program that calls itself {what}"))
        })
    }

    /// A name that a process chose may have words behind it, or stand in brackets as in a process list.
    fn pretends_by(&self, called: &[u8], path: &[u8]) -> Option<String> {
        let first =
            called.split(|byte| byte.is_ascii_whitespace() || *byte == b':').next().unwrap_or_default();
        if let Some(thread) =
            called.strip_prefix(b"[").and_then(|rest| rest.split(|&byte| byte == b']').next())
        {
            return Some(format!("a kernel thread (`[{}]`)", crate::event::escape(thread)));
        }
        self.pretends(first, path).or_else(|| self.pretends(last_name(first), path))
    }

    fn pretends(&self, name: &[u8], path: &[u8]) -> Option<String> {
        let shown = || crate::event::escape(name);
        if self.kernel_threads.is_match(name) {
            return Some(format!("a kernel thread (`{}`)", shown()));
        }
        let places = self.daemons.get(name)?;
        (!places.is_match(path)).then(|| format!("a daemon of the system (`{}`)", shown()))
    }

    /// What a program that became root is known for, by its resolved path.
    #[must_use]
    pub fn setuid(&self, path: &[u8]) -> Setuid {
        if self.harmless.is_match(path) {
            Setuid::Harmless
        } else if self.known.is_match(path) {
            Setuid::Known
        } else {
            Setuid::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FileObject, FilePath};

    fn pretence(path: &str, called: &str) -> Option<String> {
        let executable = FileObject {
            path: FilePath { bytes: Bytes::from(path), ..FilePath::default() },
            ..FileObject::default()
        };
        let exec = ExecObject { executable, arguments: vec![Bytes::from(called)], ..ExecObject::default() };
        Disguises::embedded().unwrap().pretence(&exec)
    }

    #[test]
    fn names_of_kernel_threads_and_daemons_on_other_programs() {
        for (path, called) in [
            ("/home/u/x", "[kworker/0:1]"),
            ("/usr/bin/python3", "kworker/u8:2"),
            ("/home/u/sshd", "sshd"),
            ("/usr/bin/bash", "/usr/sbin/sshd"),
            ("/usr/bin/node", "sshd: u [priv]"),
            ("/home/u/.x/systemd-logind", "x"),
            ("/home/u/kswapd0", "./kswapd0"),
        ] {
            assert!(pretence(path, called).is_some(), "{path} as {called}");
        }
        for (path, called) in [
            ("/usr/sbin/sshd", "sshd"),
            ("/usr/bin/bash", "-bash"),
            ("/usr/lib/systemd/systemd", "/sbin/init"),
            ("/usr/bin/busybox", "crond"),
            ("/usr/bin/git", "git"),
            ("/home/u/work/target/debug/cron-parser", "cron-parser"),
            ("/usr/bin/dash", "sh"),
        ] {
            assert_eq!(pretence(path, called), None, "{path} as {called}");
        }
    }

    #[test]
    fn programs_that_become_root() {
        let disguises = Disguises::embedded().unwrap();
        assert_eq!(disguises.setuid(b"/usr/bin/sudo"), Setuid::Known);
        assert_eq!(disguises.setuid(b"/bin/ping"), Setuid::Harmless);
        assert_eq!(disguises.setuid(b"/home/u/sudo"), Setuid::Unknown);
    }
}
