//! Agent runners, and the clients that are no workloads themselves: `data/agents.yaml`.

use std::collections::HashMap;

use serde::Deserialize;

use super::program::Program;
use crate::{
    event::Bytes,
    expectation::{
        data::{DataError, parse},
        glob::Globs,
    },
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentFile {
    agents: Vec<AgentText>,
    clients: Vec<AgentText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentText {
    id: String,
    name: String,
    #[serde(default)]
    executables: Vec<String>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    scripts: Vec<String>,
    owns: Option<String>,
    #[serde(default)]
    serves: Vec<Vec<String>>,
    #[serde(default)]
    watch: Vec<String>,
}

/// An agent runner or a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// As `clients.yaml` has it.
    pub id: String,
    /// For people.
    pub name: String,
    /// Starts servers and is no workload: an editor, a desktop program.
    pub only_client: bool,
    /// The program of `programs.yaml` that it counts as.
    pub owns: Option<String>,
    serves: Vec<Vec<String>>,
}

/// What an agent's program was started as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An agent.
    Runs,
    /// An MCP server.
    Serves,
}

/// Every agent and client that is known.
#[derive(Debug)]
pub struct Agents {
    all: Vec<Agent>,
    executables: Globs,
    scripts: Globs,
    packages: HashMap<String, usize>,
    watch: Vec<String>,
    names: Vec<Vec<u8>>,
}

impl Agents {
    /// The embedded table.
    pub fn embedded() -> Result<Self, DataError> {
        let file: AgentFile = parse("agents.yaml", include_str!("../../../data/agents.yaml"))?;
        let texts: Vec<(AgentText, bool)> = file
            .agents
            .into_iter()
            .map(|text| (text, false))
            .chain(file.clients.into_iter().map(|text| (text, true)))
            .collect();
        let numbered = || texts.iter().map(|(text, _)| text).zip(0_u32..);
        let globs = |list: fn(&AgentText) -> &Vec<String>| {
            Globs::new(numbered().flat_map(move |(text, index)| {
                list(text).iter().map(move |pattern| (pattern.as_str(), index))
            }))
        };
        let packages = texts
            .iter()
            .enumerate()
            .flat_map(|(index, (text, _))| text.packages.iter().map(move |package| (package.clone(), index)))
            .collect();
        let names = texts
            .iter()
            .filter(|(_, only_client)| !only_client)
            .flat_map(|(text, _)| text.executables.iter().flat_map(|pattern| plain_names(pattern)))
            .collect();
        Ok(Self {
            executables: globs(|text| &text.executables)?,
            scripts: globs(|text| &text.scripts)?,
            packages,
            watch: texts.iter().flat_map(|(text, _)| text.watch.iter().cloned()).collect(),
            names,
            all: texts
                .into_iter()
                .map(|(text, only_client)| Agent {
                    id: text.id,
                    name: text.name,
                    only_client,
                    owns: text.owns,
                    serves: text.serves,
                })
                .collect(),
        })
    }

    /// The agent or client that an execution is. `executable` is the resolved path of the file that was executed.
    #[must_use]
    pub fn identify(&self, executable: &[u8], program: &Program) -> Option<(&Agent, Role)> {
        let mut found = Vec::new();
        // What a wrapper will start is not resolved yet and will be seen itself.
        if program.passed.is_empty() {
            self.executables.collect(executable, &mut found);
        }
        if let Some(script) = &program.script {
            self.scripts.collect(script.as_slice(), &mut found);
        }
        let by_package =
            program.package.as_ref().and_then(|package| self.packages.get(&package.key()).copied());
        let index = found.into_iter().min().and_then(|index| usize::try_from(index).ok()).or(by_package)?;
        let agent = self.all.get(index)?;
        let serves = agent.serves.iter().any(|words| begins_with(&program.arguments, words));
        Some((agent, if serves { Role::Serves } else { Role::Runs }))
    }

    /// The agent with this id.
    #[must_use]
    pub fn named(&self, id: &str) -> Option<&Agent> {
        self.all.iter().find(|agent| agent.id == id)
    }

    /// The ids of agents, clients left out.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|agent| !agent.only_client).map(|agent| agent.id.as_str())
    }

    /// Last names of programs that are agents, for the kernel to look out for.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.iter().map(Vec::as_slice)
    }

    /// Globs below home directories of programs whose last name says nothing.
    pub fn watched(&self) -> impl Iterator<Item = &str> {
        self.watch.iter().map(String::as_str)
    }
}

/// The last names that a glob on a path stands for, as far as they are literal.
fn plain_names(pattern: &str) -> Vec<Vec<u8>> {
    // The last name may hold alternatives with commas but no slash.
    let last = pattern.rsplit('/').next().unwrap_or(pattern);
    let alternatives = match (last.find('{'), last.find('}')) {
        (Some(open), Some(close)) if open < close => {
            let (before, after) = (last.get(..open).unwrap_or(""), last.get(close + 1..).unwrap_or(""));
            let inner = last.get(open + 1..close).unwrap_or("");
            inner.split(',').map(|one| format!("{before}{one}{after}")).collect()
        }
        _ => vec![last.to_owned()],
    };
    alternatives
        .into_iter()
        .filter(|name| !name.is_empty() && !name.contains(['*', '?', '[', '{', '}']))
        .map(String::into_bytes)
        .collect()
}

/// `arguments`, options left out, begin with `words`.
pub(super) fn begins_with(arguments: &[Bytes], words: &[String]) -> bool {
    let mut plain = arguments.iter().filter(|word| {
        let text = word.as_slice();
        !text.starts_with(b"-") || words.first().is_some_and(|first| first.as_bytes() == text)
    });
    !words.is_empty()
        && words.iter().all(|wanted| plain.next().is_some_and(|word| word.as_slice() == wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::live::{
        program::{Execution, identify},
        tools::Tools,
    };

    fn agent(executable: &str, script: Option<&str>, arguments: &[&str]) -> Option<(String, Role)> {
        let arguments: Vec<Bytes> = arguments.iter().map(|word| Bytes::from(*word)).collect();
        let execution = Execution {
            executable: executable.as_bytes(),
            script: script.map(str::as_bytes),
            arguments: &arguments,
            working_directory: b"/work",
        };
        let program = identify(&Tools::embedded().unwrap(), &execution);
        let agents = Agents::embedded().unwrap();
        agents.identify(executable.as_bytes(), &program).map(|(agent, role)| (agent.id.clone(), role))
    }

    #[test]
    fn agents_are_known_by_where_they_lie() {
        for (executable, script, arguments, expected) in [
            ("/home/u/.local/share/claude/versions/2.1.328", None, &["claude", "-p", "x"][..], "claude-code"),
            (
                "/usr/lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe",
                None,
                &["claude"],
                "claude-code",
            ),
            (
                "/usr/lib/node_modules/@anthropic-ai/claude-code/node_modules/@anthropic-ai/claude-code-linux-x64/claude",
                None,
                &["claude"],
                "claude-code",
            ),
            (
                "/usr/bin/node",
                Some("/usr/lib/node_modules/@openai/codex/bin/codex.js"),
                &["node", "/usr/bin/codex", "exec"],
                "codex",
            ),
            (
                "/usr/lib/node_modules/@openai/codex/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
                None,
                &["codex", "exec"],
                "codex",
            ),
            (
                "/usr/bin/node",
                None,
                &[
                    "node",
                    "--max-old-space-size=8",
                    "/usr/lib/node_modules/@google/gemini-cli/bundle/gemini.js",
                    "-p",
                    "x",
                ],
                "gemini-cli",
            ),
            ("/usr/lib/node_modules/opencode-ai/bin/opencode.exe", None, &["opencode"], "opencode"),
            (
                "/home/u/.local/share/cursor-agent/versions/1/node",
                Some("/home/u/.local/share/cursor-agent/versions/1/index.js"),
                &["agent", "/home/u/.local/share/cursor-agent/versions/1/index.js"],
                "cursor",
            ),
            (
                "/usr/bin/node",
                None,
                &["node", "/usr/bin/npx", "@anthropic-ai/claude-code", "-p", "x"],
                "claude-code",
            ),
            (
                "/usr/bin/python3",
                Some("/home/u/.local/bin/aider"),
                &["python", "/home/u/.local/bin/aider"],
                "aider",
            ),
        ] {
            assert_eq!(
                agent(executable, script, arguments),
                Some((expected.into(), Role::Runs)),
                "{executable}"
            );
        }
    }

    #[test]
    fn what_agents_own_is_known_to_the_judge() {
        let programs = crate::expectation::program::Programs::embedded().unwrap();
        for agent in &Agents::embedded().unwrap().all {
            let known = agent.owns.as_ref().is_none_or(|name| programs.index(name, "agents.yaml").is_ok());
            assert!(known, "{}", agent.id);
        }
    }

    #[test]
    fn a_name_alone_makes_no_agent() {
        assert_eq!(agent("/usr/bin/cat", None, &["claude"]), None);
        assert_eq!(agent("/usr/bin/sudo", None, &["sudo", "-u", "x", "claude"]), None);
        assert_eq!(agent("/usr/bin/node", Some("/work/gemini.js"), &["node", "gemini.js"]), None);
    }

    #[test]
    fn an_agent_may_be_a_server() {
        let claude = "/home/u/.local/share/claude/versions/2.1.328";
        assert_eq!(
            agent(claude, None, &["claude", "mcp", "serve"]),
            Some(("claude-code".into(), Role::Serves))
        );
        assert_eq!(agent(claude, None, &["claude", "mcp", "list"]), Some(("claude-code".into(), Role::Runs)));
    }

    #[test]
    fn the_kernel_is_told_names() {
        let agents = Agents::embedded().unwrap();
        let names: Vec<&[u8]> = agents.names().collect();
        for name in ["claude", "claude.exe", "codex", "goose", "opencode", "qchat"] {
            assert!(names.contains(&name.as_bytes()), "{name}");
        }
        assert!(!names.contains(&&b"node_modules"[..]));
    }
}
