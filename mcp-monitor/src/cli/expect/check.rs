//! `expect check`, `list` and `show`.

use super::DirectoryOption;
use crate::{
    cli::{exit_code::Exit, say},
    event::escape,
    expectation::file::{Expectation, Set, read, set::SetError},
};
use clap::Args;
use std::{
    io::{self, Write as _},
    path::PathBuf,
};

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub(super) struct Check {
    /// Files to check, taken together as one set [default: those of the directory]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    directory: DirectoryOption,
}

impl Check {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let set = if self.files.is_empty() {
            Set::load(&self.directory.directory)
        } else {
            Set::of_files(&self.files)
        };
        match set {
            Ok(set) => {
                writeln!(io::stdout(), "{} expectation(s), no mistakes", set.all().len())?;
                Ok(Exit::Ok)
            }
            Err(SetError::Load(mistakes)) => {
                // The mistakes are what was asked for.
                writeln!(io::stdout(), "{mistakes}")?;
                Ok(Exit::Found)
            }
            Err(error @ SetError::Data(_)) => Err(error.into()),
        }
    }
}

/// Options of `list`.
#[derive(Clone, Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    directory: DirectoryOption,
}

impl List {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let Some(set) = loaded(&self.directory)? else { return Ok(Exit::Found) };
        let mut output = io::stdout().lock();
        for expectation in set.all() {
            let Expectation { name, file, line, mode, revision, gaps, .. } = expectation.as_ref();
            let gaps = if gaps.is_empty() { String::new() } else { format!("  {} gap(s)", gaps.len()) };
            let name = escape(name.as_bytes());
            writeln!(output, "{name:<32} {:<8} {}:{line} ({revision}){gaps}", mode.name(), file.display())?;
        }
        if set.all().is_empty() {
            say(&format_args!(
                "no expectations in {}; `mcp-monitor expect learn` makes the first",
                self.directory.directory.display()
            ));
        }
        Ok(Exit::Ok)
    }
}

/// Options of `show`.
#[derive(Clone, Debug, Args)]
pub(super) struct Show {
    /// The workload, as its expectation names it.
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    #[command(flatten)]
    directory: DirectoryOption,
}

impl Show {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let Some(set) = loaded(&self.directory)? else { return Ok(Exit::Found) };
        let found: Vec<_> =
            set.all().iter().filter(|expectation| expectation.name == self.workload).collect();
        if found.is_empty() {
            let names: Vec<_> =
                set.all().iter().map(|expectation| escape(expectation.name.as_bytes())).collect();
            say(&format_args!("no expectation for `{}`; there are: {}", self.workload, names.join(", ")));
            return Ok(Exit::Unknown);
        }
        let mut output = io::stdout().lock();
        for expectation in found {
            let Expectation { file, line, revision, .. } = expectation.as_ref();
            writeln!(output, "# {}:{line}, revision {revision}", file.display())?;
            let next = set.all().iter().filter(|other| other.file == *file && other.line > *line);
            let end = next.map(|other| other.line).min();
            let source = read::files(std::slice::from_ref(file))?;
            let lines = source.iter().flat_map(|source| source.text.lines());
            let from = usize::try_from(*line).unwrap_or(1).saturating_sub(1);
            let count = end.map_or(usize::MAX, |end| usize::try_from(end - line).unwrap_or(usize::MAX));
            for text in lines.skip(from).take(count).filter(|text| text.trim_end() != "---") {
                writeln!(output, "{}", text.split('\t').map(escape_line).collect::<Vec<_>>().join("\t"))?;
            }
        }
        Ok(Exit::Ok)
    }
}

/// A line of a file that root wrote, without what moves a terminal.
fn escape_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// The set in force; `None` when it has mistakes, which are told.
pub(super) fn loaded(directory: &DirectoryOption) -> anyhow::Result<Option<Set>> {
    match Set::load(&directory.directory) {
        Ok(set) => Ok(Some(set)),
        Err(SetError::Load(mistakes)) => {
            say(&mistakes);
            Ok(None)
        }
        Err(error @ SetError::Data(_)) => Err(error.into()),
    }
}
