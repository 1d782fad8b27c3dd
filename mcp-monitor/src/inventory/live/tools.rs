//! The table of programs that start other programs, `data/launchers.yaml`.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::expectation::data::{DataError, parse};

/// What a tool does with its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolKind {
    /// Runs the command that follows its options.
    Wrapper,
    /// Runs what the project in the working directory says.
    Project,
    /// Runs a script or a command in an option.
    Shell,
    /// Runs a script, a module or code.
    Interpreter,
    /// Fetches a package and runs it.
    Launcher,
    /// Runs an image.
    Container,
    /// Runs a command in a running container.
    ContainerExec,
    /// Runs a command on another machine.
    Remote,
}

/// What executes the program in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Node.js.
    Node,
    /// `CPython` and the like.
    Python,
    /// Bun.
    Bun,
    /// Deno.
    Deno,
    /// A Java virtual machine.
    Java,
    /// .NET.
    Dotnet,
    /// Go, compiled on the way.
    Go,
    /// Ruby.
    Ruby,
    /// PHP.
    Php,
    /// A shell.
    Shell,
    /// A container runtime.
    Container,
    /// The program itself.
    #[default]
    Native,
}

impl Runtime {
    /// The word that people and programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
            Self::Bun => "bun",
            Self::Deno => "deno",
            Self::Java => "java",
            Self::Dotnet => "dotnet",
            Self::Go => "go",
            Self::Ruby => "ruby",
            Self::Php => "php",
            Self::Shell => "shell",
            Self::Container => "container",
            Self::Native => "native",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolFile {
    tools: Vec<ToolText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolText {
    name: String,
    programs: Vec<String>,
    kind: ToolKind,
    #[serde(default)]
    runtime: Runtime,
    registry: Option<String>,
    #[serde(default)]
    values: HashSet<String>,
    #[serde(default)]
    clusters: bool,
    #[serde(default)]
    subcommands: Vec<Vec<String>>,
    #[serde(default)]
    optional: Vec<String>,
    #[serde(default)]
    assignments: bool,
    #[serde(default)]
    skip: usize,
    #[serde(default)]
    shell: Vec<String>,
    #[serde(default)]
    only_shell: bool,
    #[serde(default)]
    direct: Vec<String>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    scripts: Vec<String>,
    #[serde(default)]
    code: Vec<String>,
}

/// One row of the table.
#[derive(Debug)]
pub struct Tool {
    /// For people.
    pub name: String,
    /// What it does.
    pub kind: ToolKind,
    /// What it runs things with.
    pub runtime: Runtime,
    /// Where its packages come from.
    pub registry: Option<String>,
    /// Options that take the next word, whatever they mean.
    pub values: HashSet<String>,
    /// One-letter options may be written together.
    pub clusters: bool,
    /// Alternatives of words that must come first.
    pub subcommands: Vec<Vec<String>>,
    /// Words that may come first.
    pub optional: Vec<String>,
    /// `NAME=value` may come first.
    pub assignments: bool,
    /// Words before the command.
    pub skip: usize,
    /// Options that hold a shell's command.
    pub shell: Vec<String>,
    /// Without such an option there is no command.
    pub only_shell: bool,
    /// Options that make the words a command after all.
    pub direct: Vec<String>,
    /// Options that hold the package.
    pub packages: Vec<String>,
    /// Options that hold a module.
    pub modules: Vec<String>,
    /// Options that hold the script.
    pub scripts: Vec<String>,
    /// Options that hold code.
    pub code: Vec<String>,
}

impl From<ToolText> for Tool {
    fn from(text: ToolText) -> Self {
        let mut values = text.values;
        for more in [&text.shell, &text.packages, &text.modules, &text.scripts, &text.code] {
            values.extend(more.iter().cloned());
        }
        Self {
            name: text.name,
            kind: text.kind,
            runtime: text.runtime,
            registry: text.registry,
            values,
            clusters: text.clusters,
            subcommands: text.subcommands,
            optional: text.optional,
            assignments: text.assignments,
            skip: text.skip,
            shell: text.shell,
            only_shell: text.only_shell,
            direct: text.direct,
            packages: text.packages,
            modules: text.modules,
            scripts: text.scripts,
            code: text.code,
        }
    }
}

/// The whole table.
#[derive(Debug)]
pub struct Tools {
    tools: Vec<Tool>,
    by_program: HashMap<Vec<u8>, Vec<usize>>,
}

impl Tools {
    /// The embedded table.
    pub fn embedded() -> Result<Self, DataError> {
        let file: ToolFile = parse("launchers.yaml", include_str!("../../../data/launchers.yaml"))?;
        let mut by_program: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (index, text) in file.tools.iter().enumerate() {
            for program in &text.programs {
                by_program.entry(program.clone().into_bytes()).or_default().push(index);
            }
        }
        Ok(Self { tools: file.tools.into_iter().map(Tool::from).collect(), by_program })
    }

    /// The rows of a program by its last name, those with subcommands first.
    pub fn of<'table>(&'table self, name: &[u8]) -> impl Iterator<Item = &'table Tool> + use<'table> {
        let rows = self
            .by_program
            .get(name)
            .or_else(|| self.by_program.get(without_version(name)))
            .map_or(&[][..], Vec::as_slice);
        let found: Vec<&Tool> = rows.iter().filter_map(|index| self.tools.get(*index)).collect();
        let (first, last): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|tool| !tool.subcommands.is_empty());
        first.into_iter().chain(last)
    }

    /// Last names of all programs of a kind.
    pub fn programs(&self, kinds: &[ToolKind]) -> impl Iterator<Item = &[u8]> {
        let wanted: HashSet<usize> = self
            .tools
            .iter()
            .enumerate()
            .filter(|(_, tool)| kinds.contains(&tool.kind))
            .map(|(index, _)| index)
            .collect();
        self.by_program
            .iter()
            .filter(move |(_, rows)| rows.iter().any(|row| wanted.contains(row)))
            .map(|(program, _)| program.as_slice())
    }
}

/// `python3.12` is a python, `node20` a node.
#[must_use]
pub fn without_version(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|byte| !byte.is_ascii_digit() && *byte != b'.' && *byte != b'-');
    end.and_then(|last| name.get(..=last)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let tools = Tools::embedded().unwrap();
        assert_eq!(tools.of(b"python3.12").next().map(|tool| tool.runtime), Some(Runtime::Python));
        assert_eq!(tools.of(b"uv").next().map(|tool| tool.kind), Some(ToolKind::Launcher));
        assert!(tools.of(b"ls").next().is_none());
        for tool in &tools.tools {
            let has_package = matches!(tool.kind, ToolKind::Launcher | ToolKind::Container);
            assert_eq!(tool.registry.is_some(), has_package, "{}", tool.name);
        }
    }
}
