//! Programs that the data files name, told by the resolved path of executable and script, never by a name that a
//! process gave itself.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    data::{DataError, parse},
    glob::{Globs, Homes, PathGlobs},
};
use crate::event::Bytes;

/// What a script pattern below the interpreter's prefix begins with.
const PREFIX: &str = "${prefix}/";

/// How a program bears on the launch phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramKind {
    /// Fetches and starts a server.
    Launcher,
    /// Only passes on.
    Shell,
    /// Everything else.
    #[default]
    Tool,
}

/// What a program installs: what runs below it does so unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Installs {
    /// Packages of a language, with scripts of their own.
    Packages,
    /// Packages of the system, which belong into its directories.
    System,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramFile {
    programs: BTreeMap<String, ProgramText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramText {
    #[serde(default)]
    kind: ProgramKind,
    #[serde(default)]
    executables: Vec<String>,
    #[serde(default)]
    interpreters: Vec<String>,
    #[serde(default)]
    scripts: Vec<String>,
    installs: Option<Installs>,
    #[serde(default)]
    install_words: Vec<String>,
}

/// Index of a program.
pub type ProgramIndex = u32;

/// Every program that a data file names.
#[derive(Debug)]
pub struct Programs {
    names: Vec<String>,
    kinds: Vec<ProgramKind>,
    installs: Vec<Option<(Installs, Vec<String>)>>,
    executables: PathGlobs,
    interpreters: PathGlobs,
    scripts: PathGlobs,
    scripts_in_prefix: Globs,
}

impl Programs {
    /// The programs of `programs.yaml`.
    pub fn embedded() -> Result<Self, DataError> {
        Self::parse(include_str!("../../data/programs.yaml"))
    }

    fn parse(text: &str) -> Result<Self, DataError> {
        let file: ProgramFile = parse("programs.yaml", text)?;
        let numbered = || file.programs.values().zip(0_u32..);
        let executables = numbered().flat_map(|(text, index)| patterns(&text.executables, index));
        let interpreters = numbered().flat_map(|(text, index)| patterns(&text.interpreters, index));
        let scripts = numbered().flat_map(|(text, index)| patterns(&text.scripts, index));
        let (in_prefix, elsewhere): (Vec<_>, Vec<_>) =
            scripts.partition(|(pattern, _)| pattern.starts_with(PREFIX));
        let in_prefix = in_prefix.into_iter().map(|(text, index)| (text.trim_start_matches(PREFIX), index));
        Ok(Self {
            executables: PathGlobs::new(executables)?,
            interpreters: PathGlobs::new(interpreters)?,
            scripts: PathGlobs::new(elsewhere)?,
            scripts_in_prefix: Globs::new(in_prefix)?,
            kinds: file.programs.values().map(|text| text.kind).collect(),
            installs: file
                .programs
                .values()
                .map(|text| text.installs.map(|installs| (installs, text.install_words.clone())))
                .collect(),
            names: file.programs.into_keys().collect(),
        })
    }

    /// The program named `name`; `file` is who asks.
    pub fn index(&self, name: &str, file: &'static str) -> Result<ProgramIndex, DataError> {
        let position = self.names.iter().position(|known| known == name);
        position.and_then(|position| u32::try_from(position).ok()).ok_or_else(|| DataError::Undefined {
            file,
            what: "program",
            name: name.to_owned(),
        })
    }

    /// Every one of `names`.
    pub fn indices(&self, names: &[String], file: &'static str) -> Result<Vec<ProgramIndex>, DataError> {
        names.iter().map(|name| self.index(name, file)).collect()
    }

    /// The name of a program.
    #[must_use]
    pub fn name(&self, index: ProgramIndex) -> &str {
        self.names.get(index as usize).map_or("?", String::as_str)
    }

    /// Which programs an executable with a script is. Several data entries may describe one program.
    #[must_use]
    pub fn identify(&self, executable: &[u8], script: Option<&[u8]>, homes: &Homes) -> Vec<ProgramIndex> {
        let mut found = self.executables.matches(executable, homes);
        if let Some(script) = script {
            let interpreters = self.interpreters.matches(executable, homes);
            let mut scripts = self.scripts.matches(script, homes);
            if let Some(rest) = prefix(executable).and_then(|prefix| script.strip_prefix(prefix)) {
                self.scripts_in_prefix.collect(rest, &mut scripts);
            }
            found.extend(interpreters.into_iter().filter(|index| scripts.contains(index)));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What `programs` install when they are called with `arguments`.
    #[must_use]
    pub fn installs(&self, programs: &[ProgramIndex], arguments: &[Bytes]) -> Option<Installs> {
        let asked = |words: &[String]| {
            words.is_empty()
                || words.iter().any(|word| arguments.iter().any(|given| given.as_slice() == word.as_bytes()))
        };
        let known = programs.iter().filter_map(|&index| self.installs.get(index as usize)?.as_ref());
        known.filter(|(_, words)| asked(words)).map(|(installs, _)| *installs).max()
    }

    /// How `programs` bear on the launch phase.
    #[must_use]
    pub fn kind(&self, programs: &[ProgramIndex]) -> ProgramKind {
        let kinds = || programs.iter().filter_map(|&index| self.kinds.get(index as usize)).copied();
        if kinds().any(|kind| kind == ProgramKind::Launcher) {
            ProgramKind::Launcher
        } else if kinds().any(|kind| kind == ProgramKind::Shell) {
            ProgramKind::Shell
        } else {
            ProgramKind::Tool
        }
    }
}

fn patterns(texts: &[String], index: u32) -> impl Iterator<Item = (&str, u32)> {
    texts.iter().map(move |text| (text.as_str(), index))
}

/// `/usr/` of `/usr/bin/node`.
fn prefix(executable: &[u8]) -> Option<&[u8]> {
    let directory = executable.iter().rposition(|&byte| byte == b'/')?;
    let above = executable.get(..directory)?.iter().rposition(|&byte| byte == b'/')?;
    executable.get(..=above)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(executable: &str, script: Option<&str>) -> Vec<String> {
        let programs = Programs::embedded().unwrap();
        let homes = Homes::new::<&str>(&[]);
        let found = programs.identify(executable.as_bytes(), script.map(str::as_bytes), &homes);
        found.into_iter().map(|index| programs.name(index).to_owned()).collect()
    }

    #[test]
    fn a_script_counts_only_beside_its_interpreter() {
        let npm = "/usr/lib/node_modules/npm/bin/npm-cli.js";
        assert!(names("/usr/bin/node", Some(npm)).contains(&"npm".to_owned()));
        assert!(!names("/tmp/x/bin/node", Some(npm)).contains(&"npm".to_owned()));
        let own = "/home/u/w/lib/node_modules/npm/bin/npm-cli.js";
        assert!(!names("/usr/bin/node", Some(own)).contains(&"npm".to_owned()));
    }

    #[test]
    fn an_executable_counts_only_in_its_place() {
        assert_eq!(names("/usr/bin/ssh", None), ["ssh"]);
        assert!(names("/home/u/ssh", None).is_empty());
        assert!(names("/tmp/usr/bin/ssh", None).is_empty());
        assert_eq!(names("/home/u/.local/bin/uvx", None), ["uv"]);
    }
}
