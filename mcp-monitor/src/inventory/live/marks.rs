//! Signs that a program is an MCP server, and that it is not: `data/servers.yaml`.

use serde::Deserialize;

use super::{agents::begins_with, package::last_name, program::Program, tools::without_version};
use crate::expectation::{
    data::{DataError, parse},
    glob::Globs,
};

/// Folders above a script that are looked at for a telling name.
const FOLDERS_MAX: usize = 4;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkFile {
    words: Vec<String>,
    servers: Vec<String>,
    programs: Vec<String>,
    arguments: Vec<Vec<String>>,
    not: Vec<String>,
    tools: Vec<String>,
    leaves: Vec<String>,
}

/// What speaks for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// A folder above the script, or an argument.
    Hint,
    /// The name of package, script, module or program, or a list of known servers.
    Name,
}

/// Everything that is known of names.
#[derive(Debug)]
pub struct Marks {
    words: Vec<String>,
    servers: Globs,
    programs: Globs,
    arguments: Vec<Vec<String>>,
    not: Globs,
    tools: Globs,
    leaves: Vec<String>,
    plain_programs: Vec<String>,
}

impl Marks {
    /// The embedded lists.
    pub fn embedded() -> Result<Self, DataError> {
        let file: MarkFile = parse("servers.yaml", include_str!("../../../data/servers.yaml"))?;
        let globs = |patterns: &[String]| Globs::new(patterns.iter().map(|pattern| (pattern.as_str(), 0)));
        Ok(Self {
            servers: globs(&file.servers)?,
            programs: globs(&file.programs)?,
            not: globs(&file.not)?,
            tools: globs(&file.tools)?,
            plain_programs: file
                .programs
                .into_iter()
                .filter(|name| !name.contains(['*', '?', '[', '{']))
                .collect(),
            words: file.words,
            arguments: file.arguments,
            leaves: file.leaves,
        })
    }

    /// What speaks for `program` being a server.
    #[must_use]
    pub fn of(&self, program: &Program) -> Option<Mark> {
        let key = program.package.as_ref().map(super::package::Package::key);
        let name = Self::program_name(program);
        let is_excluded = key.as_ref().is_some_and(|key| self.not.is_match(key.as_bytes()))
            || self.not.is_match(&[b"program:", name].concat());
        if is_excluded || program.code {
            return None;
        }
        let by_package = key
            .as_ref()
            .is_some_and(|key| self.servers.is_match(key.as_bytes()) || self.has_word(key.as_bytes()));
        let by_module = program.module.as_ref().is_some_and(|module| self.has_word(module.as_slice()));
        if by_package || by_module || self.programs.is_match(name) || self.has_word(name) {
            return Some(Mark::Name);
        }
        let by_folder = program.script.as_ref().is_some_and(|script| {
            let folders = script.as_slice().rsplit(|byte| *byte == b'/').skip(1).take(FOLDERS_MAX);
            folders.into_iter().any(|folder| self.has_word(folder))
        });
        let by_argument = self.arguments.iter().any(|words| begins_with(&program.arguments, words));
        (by_folder || by_argument).then_some(Mark::Hint)
    }

    /// Last names of known servers, as far as they are literal.
    pub fn programs(&self) -> impl Iterator<Item = &[u8]> {
        self.plain_programs.iter().map(String::as_bytes)
    }

    /// True for a program that is known and no server.
    #[must_use]
    pub fn is_tool(&self, program: &Program) -> bool {
        self.tools.is_match(Self::program_name(program)) || self.tools.is_match(program.executable_name())
    }

    /// The name that tells most of a program: of package, module, script, executable; of a script whose own name says
    /// nothing the folder's.
    #[must_use]
    pub fn telling_name<'program>(&self, program: &'program Program) -> &'program [u8] {
        if let Some(package) = &program.package {
            return package.short_name().as_bytes();
        }
        if let Some(module) = &program.module {
            return module.as_slice();
        }
        let Some(script) = &program.script else { return program.executable_name() };
        let mut names = script.as_slice().rsplit(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let own = names.next().unwrap_or_default();
        if !self.is_leaf(stem(own)) {
            return own;
        }
        names.find(|folder| !self.is_leaf(folder)).unwrap_or(own)
    }

    fn is_leaf(&self, name: &[u8]) -> bool {
        self.leaves.iter().any(|leaf| leaf.as_bytes() == name)
    }

    fn program_name(program: &Program) -> &[u8] {
        program.script_name().unwrap_or_else(|| without_version(program.executable_name()))
    }

    /// Any of the words, set off by anything that is no letter or digit: `mcp-server`, `server_mcp`, `MCP.Server`.
    fn has_word(&self, text: &[u8]) -> bool {
        text.split(|byte| !byte.is_ascii_alphanumeric())
            .any(|part| self.words.iter().any(|word| part.eq_ignore_ascii_case(word.as_bytes())))
    }
}

/// A file name without its extension.
fn stem(name: &[u8]) -> &[u8] {
    let name = last_name(name);
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > 0 => name.get(..dot).unwrap_or(name),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Bytes,
        inventory::live::{
            program::{Execution, identify},
            tools::Tools,
        },
    };

    fn program(executable: &str, arguments: &[&str]) -> Program {
        let arguments: Vec<Bytes> = arguments.iter().map(|word| Bytes::from(*word)).collect();
        let execution = Execution {
            executable: executable.as_bytes(),
            script: None,
            arguments: &arguments,
            working_directory: b"/work",
        };
        identify(&Tools::embedded().unwrap(), &execution)
    }

    #[test]
    fn servers_are_told_by_their_names() {
        let marks = Marks::embedded().unwrap();
        for (executable, arguments, mark, name) in [
            ("/usr/bin/npx", &["npx", "-y", "@playwright/mcp@latest"][..], Some(Mark::Name), "mcp"),
            (
                "/usr/bin/npx",
                &["npx", "@modelcontextprotocol/server-memory"],
                Some(Mark::Name),
                "server-memory",
            ),
            ("/usr/bin/node", &["node", "/srv/github-mcp/dist/index.js"], Some(Mark::Hint), "github-mcp"),
            (
                "/usr/bin/node",
                &["node", "/srv/x/node_modules/chrome-devtools-mcp/build/index.js"],
                Some(Mark::Name),
                "chrome-devtools-mcp",
            ),
            ("/usr/bin/python3", &["python3", "-m", "mcp_server_git"], Some(Mark::Name), "mcp_server_git"),
            ("/usr/bin/python3", &["python3", "weather_mcp.py"], Some(Mark::Name), "weather_mcp.py"),
            (
                "/usr/local/bin/github-mcp-server",
                &["github-mcp-server", "stdio"],
                Some(Mark::Name),
                "github-mcp-server",
            ),
            ("/usr/bin/docker", &["docker", "run", "-i", "mcp/time"], Some(Mark::Name), "time"),
            (
                "/usr/bin/uvx",
                &["uvx", "--from", "git+https://github.com/oraios/serena", "serena", "start-mcp-server"],
                Some(Mark::Name),
                "serena",
            ),
            ("/usr/bin/gopls", &["gopls", "mcp"], Some(Mark::Hint), "gopls"),
            ("/usr/bin/npx", &["npx", "@modelcontextprotocol/inspector"], None, "inspector"),
            ("/usr/bin/npx", &["npx", "eslint", "."], None, "eslint"),
            ("/usr/bin/python3", &["python3", "server.py"], None, "work"),
            ("/usr/bin/git", &["git", "status"], None, "git"),
            ("/usr/bin/node", &["node", "-e", "mcp"], None, "node"),
            ("/usr/bin/scmcpd", &["scmcpd"], None, "scmcpd"),
        ] {
            let program = program(executable, arguments);
            assert_eq!(marks.of(&program), mark, "{arguments:?}");
            assert_eq!(Bytes::new(marks.telling_name(&program)).escaped(), name, "{arguments:?}");
        }
    }

    #[test]
    fn language_servers_are_tools() {
        let marks = Marks::embedded().unwrap();
        for (executable, arguments) in [
            ("/usr/bin/gopls", &["gopls"][..]),
            ("/usr/bin/node", &["node", "/x/node_modules/typescript/lib/tsserver.js"]),
            ("/usr/bin/node", &["node", "/x/bin/typescript-language-server", "--stdio"]),
            ("/usr/bin/rg", &["rg", "--json", "x"]),
        ] {
            assert!(marks.is_tool(&program(executable, arguments)), "{arguments:?}");
        }
        assert!(!marks.is_tool(&program("/usr/bin/node", &["node", "/srv/thing.js"])));
    }
}
