//! Commands that are told by what they are called with: what hands out secrets, what hides the code that it runs, what
//! stops the monitor. Data: `mcp-monitor/data/commands.yaml`.

use regex::bytes::RegexSet;
use serde::Deserialize;

use super::{
    catalogue::SeverityText,
    data::{DataError, parse},
    glob::Globs,
};
use crate::event::{Bytes, ExecObject, Rule, Severity};

const FILE: &str = "commands.yaml";
/// Bytes of all arguments that are searched.
const TEXT_MAX_BYTES: usize = 64 * 1024;
/// Bytes that one regular expression may take when compiled.
const REGEX_MAX_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandFile {
    commands: Vec<CommandText>,
    downloaders: Vec<String>,
    decoders: Vec<String>,
    readers: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandText {
    id: String,
    rule: String,
    title: String,
    programs: Vec<String>,
    #[serde(default)]
    words: Vec<Vec<String>>,
    #[serde(default)]
    text: Vec<String>,
    #[serde(default)]
    bare: bool,
    below: Option<Below>,
    severity: Option<SeverityText>,
    agents: Option<AgentsText>,
}

/// Where a command counts only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Below {
    /// Below a package's install script, and below a server beside its own program.
    Install,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AgentsText {
    Recorded,
    Low,
    Medium,
    High,
    Critical,
}

/// What a command is below an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentsCommand {
    /// Written down.
    Recorded,
    /// As elsewhere.
    AsElsewhere,
    /// A finding of this severity.
    Found(Severity),
}

/// A command that is told by what it is called with.
#[derive(Debug)]
pub struct Command {
    /// Stable id.
    pub id: String,
    /// What is broken by it.
    pub rule: Rule,
    /// What it does, in words.
    pub title: String,
    /// Where it counts only.
    pub below: Option<Below>,
    /// Below an agent.
    pub agents: AgentsCommand,
    severity: Option<Severity>,
    words: Vec<Vec<String>>,
    text: RegexSet,
    bare: bool,
}

/// What a program does with what passes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// Fetches it from the network.
    Downloads,
    /// Decodes it.
    Decodes,
    /// Runs it.
    Runs,
}

/// The commands.
#[derive(Debug)]
pub struct Commands {
    all: Vec<Command>,
    programs: Globs,
    multicall: Globs,
    passing: [(Passing, Globs); 3],
}

impl Commands {
    /// The commands of `commands.yaml`; `multicall` are programs that go by many names.
    pub fn embedded(multicall: Globs) -> Result<Self, DataError> {
        let file: CommandFile = parse(FILE, include_str!("../../data/commands.yaml"))?;
        let programs = (0_u32..)
            .zip(&file.commands)
            .flat_map(|(index, command)| command.programs.iter().map(move |name| (name.as_str(), index)));
        let programs = Globs::new(programs)?;
        let globs = |names: &[String]| Globs::new(names.iter().map(|name| (name.as_str(), 0)));
        let passing = [
            (Passing::Downloads, globs(&file.downloaders)?),
            (Passing::Decodes, globs(&file.decoders)?),
            (Passing::Runs, globs(&file.readers)?),
        ];
        let all = file.commands.into_iter().map(command).collect::<Result<_, _>>()?;
        Ok(Self { all, programs, multicall, passing })
    }

    /// The commands that an exec is.
    pub fn find<'commands>(&'commands self, exec: &ExecObject) -> impl Iterator<Item = &'commands Command> {
        let mut numbers = Vec::new();
        for name in self.names(exec) {
            self.programs.collect(&name, &mut numbers);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let arguments = exec.arguments.get(1..).unwrap_or_default().to_vec();
        let mut text = exec.arguments.join_bytes();
        text.truncate(TEXT_MAX_BYTES);
        numbers
            .into_iter()
            .filter_map(|number| self.all.get(number as usize))
            .filter(move |command| command.is_called_so(&arguments, &text))
    }

    /// What the program does with what passes through it.
    #[must_use]
    pub fn passing(&self, exec: &ExecObject) -> Option<Passing> {
        let names = self.names(exec);
        let fits = |globs: &Globs| names.iter().any(|name| globs.is_match(name));
        self.passing.iter().find(|(_, globs)| fits(globs)).map(|(passing, _)| *passing)
    }

    /// The program at `path` fetches from the network.
    #[must_use]
    pub fn is_downloader(&self, path: &[u8]) -> bool {
        let [(_, downloaders), ..] = &self.passing;
        downloaders.is_match(last_name(path))
    }

    /// Last names by which an exec is known: of the executable, of the script, and of a program with many names the
    /// one that it was called by.
    fn names(&self, exec: &ExecObject) -> Vec<Vec<u8>> {
        let executable = last_name(exec.executable.path.bytes.as_slice());
        let mut names = vec![executable.to_vec()];
        if let Some(script) = &exec.script {
            names.push(last_name(script.path.bytes.as_slice()).to_vec());
        }
        if self.multicall.is_match(executable)
            && let Some(first) = exec.arguments.first()
        {
            names.push(last_name(first.as_slice()).to_vec());
        }
        names
    }

    /// Severities by the source of a decision.
    pub fn severities(&self) -> impl Iterator<Item = (String, Severity)> + '_ {
        self.all.iter().flat_map(|command| {
            let agents = match command.agents {
                AgentsCommand::Found(severity) => Some((command.source(true), severity)),
                AgentsCommand::Recorded | AgentsCommand::AsElsewhere => None,
            };
            let elsewhere = command.severity.map(|severity| (command.source(false), severity));
            elsewhere.into_iter().chain(agents)
        })
    }
}

impl Command {
    /// The source of a decision about it.
    #[must_use]
    pub fn source(&self, agent: bool) -> String {
        match self.agents {
            AgentsCommand::Found(_) if agent => format!("agent-command:{}", self.id),
            _ => format!("command:{}", self.id),
        }
    }

    fn is_called_so(&self, arguments: &[Bytes], text: &[u8]) -> bool {
        if self.bare {
            return arguments.iter().all(|argument| argument.as_slice().starts_with(b"-"));
        }
        self.words.iter().any(|row| contains_row(arguments, row)) || self.text.is_match(text)
    }
}

fn command(text: CommandText) -> Result<Command, DataError> {
    let CommandText { id, rule, title, programs: _, words, text, bare, below, severity, agents } = text;
    let rule = Rule::ALL.into_iter().find(|known| known.id() == rule).ok_or(DataError::Undefined {
        file: FILE,
        what: "rule",
        name: rule,
    })?;
    let regexes =
        regex::bytes::RegexSetBuilder::new(&text).unicode(false).size_limit(REGEX_MAX_BYTES).build();
    let text = regexes.map_err(|error| DataError::Pattern {
        pattern: format!("text of `{id}`"),
        message: error.to_string(),
    })?;
    let agents = match agents {
        None => AgentsCommand::AsElsewhere,
        Some(AgentsText::Recorded) => AgentsCommand::Recorded,
        Some(AgentsText::Low) => AgentsCommand::Found(Severity::Low),
        Some(AgentsText::Medium) => AgentsCommand::Found(Severity::Medium),
        Some(AgentsText::High) => AgentsCommand::Found(Severity::High),
        Some(AgentsText::Critical) => AgentsCommand::Found(Severity::Critical),
    };
    Ok(Command { id, rule, title, below, agents, severity: severity.map(Severity::from), words, text, bare })
}

/// The last name of a path.
#[must_use]
pub fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// The words stand among the arguments in this order.
fn contains_row(arguments: &[Bytes], row: &[String]) -> bool {
    let mut rest = arguments.iter();
    row.iter().all(|word| rest.any(|argument| argument.as_slice() == word.as_bytes()))
}

trait JoinBytes {
    fn join_bytes(&self) -> Vec<u8>;
}

impl JoinBytes for [Bytes] {
    fn join_bytes(&self) -> Vec<u8> {
        self.iter().map(Bytes::as_slice).collect::<Vec<_>>().join(&b' ')
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{FileObject, FilePath};

    /// Read once: compiling what the data file says takes longer than all else.
    static COMMANDS: LazyLock<Commands> =
        LazyLock::new(|| Commands::embedded(Globs::new([("busybox", 0)]).unwrap()).unwrap());

    fn exec(path: &str, arguments: &[&str]) -> ExecObject {
        ExecObject {
            executable: FileObject {
                path: FilePath { bytes: Bytes::from(path), ..FilePath::default() },
                ..FileObject::default()
            },
            arguments: arguments.iter().map(|argument| Bytes::from(*argument)).collect(),
            ..ExecObject::default()
        }
    }

    fn found(path: &str, arguments: &[&str]) -> Vec<String> {
        COMMANDS.find(&exec(path, arguments)).map(|command| command.id.clone()).collect()
    }

    #[test]
    fn what_hands_out_secrets_and_its_harmless_twins() {
        for (path, arguments, id) in [
            ("/usr/bin/gh", &["gh", "auth", "token"][..], "github-token"),
            ("/usr/bin/gh", &["gh", "auth", "token", "-h", "github.com"], "github-token"),
            ("/usr/bin/env", &["env"], "environment"),
            ("/usr/bin/printenv", &["printenv", "-0"], "environment"),
            ("/bin/busybox", &["env"], "environment"),
            ("/usr/bin/ps", &["ps", "auxe"], "environment-of-others"),
            ("/usr/bin/aws", &["aws", "--profile", "x", "configure", "get", "k"], "aws-credentials"),
            ("/usr/bin/kubectl", &["kubectl", "-n", "x", "get", "secret", "y"], "kubernetes-secrets"),
            ("/usr/bin/op", &["op", "read", "op://a/b"], "password-manager"),
            ("/usr/bin/git", &["git", "credential", "fill"], "git-credential"),
            ("/usr/bin/grep", &["grep", "-r", "BEGIN OPENSSH PRIVATE KEY", "/home"], "key-hunt"),
            ("/usr/bin/find", &["find", "/", "-name", "id_rsa"], "key-hunt"),
        ] {
            assert_eq!(found(path, arguments), [id], "{arguments:?}");
        }
        for (path, arguments) in [
            ("/usr/bin/gh", &["gh", "pr", "list"][..]),
            ("/usr/bin/gh", &["gh", "auth", "git-credential", "get"]),
            ("/usr/bin/env", &["env", "node", "x.js"]),
            ("/usr/bin/printenv", &["printenv", "HOME"]),
            ("/usr/bin/ps", &["ps", "aux"]),
            ("/usr/bin/ps", &["ps", "-ef"]),
            ("/usr/bin/aws", &["aws", "s3", "ls"]),
            ("/usr/bin/kubectl", &["kubectl", "get", "pods"]),
            ("/usr/bin/git", &["git", "commit", "-m", "credential fill"]),
            ("/usr/bin/grep", &["grep", "-rn", "private", "src"]),
        ] {
            assert!(found(path, arguments).is_empty(), "{arguments:?}: {:?}", found(path, arguments));
        }
    }

    #[test]
    fn code_that_hides_itself_and_its_harmless_twins() {
        for (path, text, id) in [
            ("/usr/bin/bash", "echo aGk= | base64 -d | sh", "decoded-shell"),
            ("/usr/bin/bash", "echo aGk= | base64 --decode | sudo bash", "decoded-shell"),
            ("/usr/bin/dash", "eval \"$(echo aGk= | base64 -d)\"", "decoded-shell"),
            ("/usr/bin/bash", "bash -c \"$(base64 -d x)\"", "decoded-shell"),
            ("/usr/bin/bash", "echo 6869 | xxd -r -p | bash", "decoded-shell"),
            ("/usr/bin/python3.12", "import base64;exec(base64.b64decode('[masked]'))", "decoded-python"),
            ("/usr/bin/python3", "exec(bytes.fromhex('70'))", "decoded-python"),
            ("/usr/bin/node", "eval(Buffer.from('[masked]','base64').toString())", "decoded-javascript"),
            ("/usr/bin/perl", "use MIME::Base64; eval decode_base64('[masked]')", "decoded-script"),
            ("/usr/bin/pwsh", "pwsh -enc [masked]", "encoded-powershell"),
        ] {
            assert_eq!(found(path, &["x", "-c", text]), [id], "{text}");
        }
        for (path, text) in [
            ("/usr/bin/bash", "base64 -d key.b64 > key.bin"),
            ("/usr/bin/bash", "echo hi | base64 | tee x.sh"),
            ("/usr/bin/bash", "cat data.b64 | base64 -d | jq ."),
            ("/usr/bin/python3", "import base64; print(base64.b64decode('aGk='))"),
            ("/usr/bin/python3", "exec(open('setup.py').read())"),
            ("/usr/bin/node", "console.log(Buffer.from('x','base64'))"),
            ("/usr/bin/pwsh", "pwsh -File build.ps1"),
        ] {
            assert!(
                found(path, &["x", "-c", text]).is_empty(),
                "{text}: {:?}",
                found(path, &["x", "-c", text])
            );
        }
    }

    #[test]
    fn what_stops_the_monitor() {
        assert_eq!(found("/usr/bin/systemctl", &["systemctl", "stop", "mcp-monitor"]), ["stop-monitor"]);
        assert_eq!(found("/usr/bin/pkill", &["pkill", "-9", "mcp-monitor"]), ["stop-monitor"]);
        assert!(found("/usr/bin/systemctl", &["systemctl", "status", "mcp-monitor"]).is_empty());
        assert!(found("/usr/bin/pkill", &["pkill", "node"]).is_empty());
    }

    proptest! {
        #[test]
        fn any_arguments_are_survived(path in "\\PC{0,20}", arguments in prop::collection::vec("\\PC{0,60}", 0..6)) {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let _ = found(&path, &arguments);
        }
    }
}
