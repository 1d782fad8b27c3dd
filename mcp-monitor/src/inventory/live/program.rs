//! What is really run: a command line with its wrappers, shells and launchers taken off.
//!
//! The outermost program is known by its resolved path. What it starts is read out of its arguments, which is what it
//! *will* start, not what it did: good enough to name a workload, and checked against what is executed later.

use std::borrow::Cow;

use super::{
    options::{Walk, command_of},
    package::{Package, last_name, plain},
    tools::{Runtime, Tool, ToolKind, Tools, without_version},
};
use crate::{event::Bytes, expectation::glob::normalise};

/// Programs within programs that are looked through.
const DEPTH_MAX: usize = 16;
/// Words of a rewritten command line that are looked at.
const WORDS_MAX: usize = 4096;

/// A program as it was executed.
#[derive(Clone, Copy, Debug)]
pub struct Execution<'event> {
    /// Resolved path of the executable.
    pub executable: &'event [u8],
    /// The script that the kernel gave to an interpreter, resolved where the mechanism tells it.
    pub script: Option<&'event [u8]>,
    /// Masked arguments, the program's name for itself first.
    pub arguments: &'event [Bytes],
    /// Working directory.
    pub working_directory: &'event [u8],
}

/// What `docker run` and the like are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRun {
    /// `--name`.
    pub name: Option<Bytes>,
    /// `--cidfile`.
    pub id_file: Option<Bytes>,
    /// `--label`, as given.
    pub labels: Vec<Bytes>,
    /// Names of the variables that are passed in; never their values.
    pub environment_names: Vec<Bytes>,
    /// Standard input stays open: what talks over it is the program that asked.
    pub interactive: bool,
    /// An existing container instead of a new one.
    pub running: bool,
}

/// What is run in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// What executes it.
    pub runtime: Runtime,
    /// What fetched or started it, outermost first, as the table names them.
    pub passed: Vec<String>,
    /// The launcher that fetches the package.
    pub launcher: Option<String>,
    /// The package, if a launcher or the folder names it.
    pub package: Option<Package>,
    /// The program's path or name.
    pub executable: Bytes,
    /// The script or archive, absolute unless it was given so and nothing is known of where.
    pub script: Option<Bytes>,
    /// The module.
    pub module: Option<Bytes>,
    /// Code in an argument: there is no script.
    pub code: bool,
    /// The address that a remote server is reached at, for programs that only pass on.
    pub address: Option<Bytes>,
    /// A container.
    pub container: Option<ContainerRun>,
    /// What follows, masked.
    pub arguments: Vec<Bytes>,
    /// Nothing is known yet of what it starts: a shell with a script, `npm start`.
    pub passes_on: bool,
    /// A command for a shell that is more than one simple command.
    pub shell_text: bool,
    /// Each command line that was looked through, outermost first: the name and the words that follow it.
    pub levels: Vec<(Bytes, Vec<Bytes>)>,
}

impl Program {
    /// The last name of the executable.
    #[must_use]
    pub fn executable_name(&self) -> &[u8] {
        last_name(self.executable.as_slice())
    }

    /// The last name of the script.
    #[must_use]
    pub fn script_name(&self) -> Option<&[u8]> {
        self.script.as_ref().map(|script| last_name(script.as_slice()))
    }
}

/// Reads `execution`.
#[must_use]
pub fn identify(tools: &Tools, execution: &Execution<'_>) -> Program {
    let arguments = as_executed(execution);
    let mut reader = Reader {
        tools,
        working_directory: Cow::Borrowed(execution.working_directory),
        program: Program::default(),
    };
    reader.program.executable = Bytes::new(execution.executable);
    let name = own_name(execution.executable, &arguments);
    reader.read(name, execution.script, arguments.get(1..).unwrap_or_default(), DEPTH_MAX);
    let mut program = reader.program;
    forward(&mut program);
    program
}

/// The name that decides what a program does: its file's, except for the few files that are many programs, which go
/// by the name that they were called by.
fn own_name<'a>(executable: &'a [u8], arguments: &'a [Bytes]) -> &'a [u8] {
    let name = last_name(executable);
    let called = arguments.first().map(|word| last_name(word.as_slice()));
    match (name, called) {
        (b"busybox" | b"toybox" | b"coreutils" | b"bunx.exe" | b"bun.exe" | b"bun", Some(called))
            if !called.is_empty() =>
        {
            called
        }
        _ => name,
    }
}

/// Arguments; those of a process that wrote its title over them (`npm exec pkg ARG` in one word) taken apart again.
fn as_executed<'a>(execution: &Execution<'a>) -> Cow<'a, [Bytes]> {
    let mut words = execution.arguments.iter().filter(|word| !word.is_empty());
    let (Some(first), None) = (words.next(), words.next()) else { return Cow::Borrowed(execution.arguments) };
    let is_node = without_version(last_name(execution.executable)) == b"node";
    let text = first.as_slice();
    if !is_node
        || !(text.starts_with(b"npm ")
            || text.starts_with(b"npx ")
            || text.starts_with(b"yarn ")
            || text.starts_with(b"pnpm "))
    {
        return Cow::Borrowed(execution.arguments);
    }
    let mut all = vec![Bytes::from("node")];
    all.extend(
        text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).take(WORDS_MAX).map(Bytes::new),
    );
    Cow::Owned(all)
}

struct Reader<'tools> {
    tools: &'tools Tools,
    working_directory: Cow<'tools, [u8]>,
    program: Program,
}

impl Reader<'_> {
    /// A program called `name` with the words that follow its name.
    fn read(&mut self, name: &[u8], script: Option<&[u8]>, words: &[Bytes], depth: usize) {
        self.program.levels.push((Bytes::new(name), words.to_vec()));
        let tools = self.tools;
        let found = tools.of(name).find_map(|tool| applied(tool, words).map(|walk| (tool, walk)));
        let (Some((tool, walk)), Some(depth)) = (found, depth.checked_sub(1)) else {
            self.rest(words);
            return;
        };
        match tool.kind {
            ToolKind::Wrapper => self.wrapper(tool, walk, script, depth),
            ToolKind::Project => {
                self.pass(tool);
                self.program.runtime = tool.runtime;
                self.program.passes_on = true;
                self.program.script = walk.value(&tool.scripts).map(|path| self.absolute(path));
                self.program.arguments = walk.rest.to_vec();
            }
            ToolKind::Shell => self.shell(tool, walk, script, depth),
            ToolKind::Interpreter => self.interpreter(tool, walk, script, depth),
            ToolKind::Launcher => self.launcher(tool, walk, depth),
            ToolKind::Container => self.container(tool, walk, false),
            ToolKind::ContainerExec => self.container(tool, walk, true),
            ToolKind::Remote => {
                self.pass(tool);
                let mut walk = walk;
                self.program.address = walk.take().cloned();
                let text: Vec<&[u8]> = walk.rest.iter().map(Bytes::as_slice).collect();
                match command_of(&text.join(&b' ')) {
                    Some(words) => self.command(&words, depth),
                    None => self.program.shell_text = !text.is_empty(),
                }
            }
        }
    }

    /// A command that starts with its program's name.
    fn command(&mut self, words: &[Bytes], depth: usize) {
        self.command_of_script(words, None, depth);
    }

    fn command_of_script(&mut self, words: &[Bytes], script: Option<&[u8]>, depth: usize) {
        let Some((first, rest)) = words.split_first() else { return };
        let is_path = first.as_slice().contains(&b'/');
        self.program.executable = if is_path { self.absolute(first.as_slice()) } else { first.clone() };
        let name = last_name(first.as_slice()).to_vec();
        self.read(&name, script, rest, depth);
    }

    fn pass(&mut self, tool: &Tool) {
        self.program.passed.push(tool.name.clone());
    }

    fn rest(&mut self, words: &[Bytes]) {
        self.program.arguments = words.to_vec();
        // A script below node_modules/.bin or in a virtual environment is started by its name.
        self.program.package = self
            .program
            .package
            .take()
            .or_else(|| Package::of_node_script(self.program.executable.as_slice()));
    }

    fn wrapper(&mut self, tool: &Tool, mut walk: Walk<'_>, script: Option<&[u8]>, depth: usize) {
        self.pass(tool);
        if let Some(directory) = directory(&walk) {
            self.working_directory = Cow::Owned(normalise(directory, &self.working_directory));
        }
        if tool.runtime == Runtime::Python
            && (walk.value(&tool.modules).is_some() || walk.value(&tool.scripts).is_some())
        {
            self.program.executable = "python".into();
            self.program.runtime = Runtime::Python;
            self.program.module = walk.value(&tool.modules).map(Bytes::new);
            self.program.script = walk.value(&tool.scripts).map(|path| self.absolute(path));
            self.program.arguments = walk.rest.to_vec();
            return;
        }
        let is_direct = !tool.direct.is_empty() && walk.has(&tool.direct);
        if let Some(text) = walk.value(&tool.shell) {
            self.shell_command(text, depth);
            return;
        }
        for _ in 0..tool.skip {
            walk.take();
        }
        // `flock FILE -c COMMAND`, `su user -c COMMAND`.
        walk.go_on(tool);
        if let Some(text) = walk.value(&tool.shell) {
            self.shell_command(text, depth);
        } else if tool.only_shell && !is_direct {
            // A login shell: a person's.
            self.program.passes_on = true;
            self.program.runtime = Runtime::Shell;
            // `su -c COMMAND user`, `runuser user -c COMMAND`.
            let mut rest = walk.rest.iter();
            if let Some(text) = rest
                .by_ref()
                .find(|word| tool.shell.iter().any(|one| one.as_bytes() == word.as_slice()))
                .and_then(|_| rest.next())
            {
                let text = text.clone();
                self.program.passes_on = false;
                self.shell_command(text.as_slice(), depth);
            }
        } else if tool.runtime == Runtime::Python && walk.rest.first().is_some_and(is_python_script) {
            let script = walk.take().map(|word| self.absolute(word.as_slice()));
            self.program.executable = "python".into();
            self.program.runtime = Runtime::Python;
            self.program.script = script;
            self.program.arguments = walk.rest.to_vec();
        } else {
            let rest = walk.rest;
            // `#!/usr/bin/env node`: the kernel gave the script to env, which hands it on.
            self.command_of_script(rest, script, depth);
        }
    }

    fn shell_command(&mut self, text: &[u8], depth: usize) {
        if let Some(words) = command_of(text) {
            self.command(&words, depth);
        } else {
            self.program.runtime = Runtime::Shell;
            self.program.shell_text = true;
            self.program.passes_on = true;
        }
    }

    fn shell(&mut self, tool: &Tool, mut walk: Walk<'_>, script: Option<&[u8]>, depth: usize) {
        self.program.runtime = tool.runtime;
        if let Some(text) = walk.value(&tool.shell) {
            self.pass(tool);
            // npm hands the arguments over as words of the text, and others as parameters, which no command uses.
            self.shell_command(text, depth);
            return;
        }
        let given = walk.take();
        let script = script.map(Bytes::new).or_else(|| given.map(|word| self.absolute(word.as_slice())));
        self.program.script = script;
        self.program.arguments = walk.rest.to_vec();
        self.program.passes_on = true;
    }

    fn interpreter(&mut self, tool: &Tool, mut walk: Walk<'_>, script: Option<&[u8]>, depth: usize) {
        self.program.runtime = tool.runtime;
        if let Some(module) = walk.value(&tool.modules) {
            self.program.module = Some(Bytes::new(module));
            self.program.arguments = walk.rest.to_vec();
            let module = module.split(|byte| *byte == b'.').next().unwrap_or(module).to_vec();
            self.module_as_tool(&module, walk.rest, depth);
            return;
        }
        if walk.has(&tool.code) {
            self.program.code = true;
            self.program.arguments = walk.rest.to_vec();
            return;
        }
        let by_option = walk.value(&tool.scripts).map(Bytes::new);
        let Some(given) = by_option.or_else(|| walk.take().cloned()) else { return };
        let text = given.as_slice();
        if let Some(registry) = registry_of(text) {
            self.program.launcher = Some(tool.name.clone());
            self.pass(tool);
            self.program.package = Package::parse(registry, text);
            self.program.arguments = walk.rest.to_vec();
            return;
        }
        // What the kernel was given is behind links and not to be argued with.
        let resolved = script.map_or_else(|| self.absolute(text), Bytes::new);
        let names = [last_name(text), last_name(resolved.as_slice())].map(<[u8]>::to_vec);
        let rest = walk.rest;
        for name in names {
            let is_tool = self.tools.of(&name).any(|tool| {
                matches!(
                    tool.kind,
                    ToolKind::Launcher | ToolKind::Wrapper | ToolKind::Interpreter | ToolKind::Project
                ) && applied(tool, rest).is_some()
            });
            if is_tool {
                self.program.executable = resolved;
                self.read(&name, None, rest, depth);
                return;
            }
        }
        if tool.runtime == Runtime::Node || tool.runtime == Runtime::Bun {
            self.program.package =
                Package::of_node_script(resolved.as_slice()).or_else(|| Package::of_node_script(text));
        }
        self.program.script = Some(resolved);
        self.program.arguments = rest.to_vec();
    }

    /// `python -m uv run …`, `python -m pipx run …`.
    fn module_as_tool(&mut self, module: &[u8], rest: &[Bytes], depth: usize) {
        let is_launcher = self.tools.of(module).any(|tool| {
            matches!(tool.kind, ToolKind::Launcher | ToolKind::Wrapper) && applied(tool, rest).is_some()
        });
        if is_launcher {
            self.program.module = None;
            self.program.executable = Bytes::new(module);
            self.read(module, None, rest, depth);
        }
    }

    fn launcher(&mut self, tool: &Tool, mut walk: Walk<'_>, depth: usize) {
        self.pass(tool);
        self.program.launcher = Some(tool.name.clone());
        self.program.runtime = tool.runtime;
        let registry = tool.registry.as_deref().unwrap_or_default();
        let by_option = walk.value(&tool.packages).and_then(|spec| Package::parse(registry, spec));
        if let Some(text) = walk.value(&tool.shell) {
            // `npx -p package -c "command"`.
            self.program.package = by_option;
            if let Some(words) = command_of(text) {
                self.program.arguments = words.get(1..).unwrap_or_default().to_vec();
                self.program.executable = words.first().cloned().unwrap_or_default();
            }
            return;
        }
        let Some(first) = walk.take().and_then(plain) else {
            self.program.package = by_option;
            return;
        };
        if by_option.is_some() {
            self.program.package = by_option;
            self.program.executable = Bytes::new(first);
        } else {
            // `uvx python -m x` runs a module with an interpreter of its own.
            let is_python = registry == "pypi"
                && without_version(first.split(|byte| *byte == b'@').next().unwrap_or(first)) == b"python";
            if is_python {
                self.read(b"python", None, walk.rest, depth);
                return;
            }
            self.program.package = Package::parse(registry, first);
            if registry == "go" && !first.contains(&b'.') {
                self.program.package = None;
            }
            if matches!(&self.program.package, Some(package) if package.registry == "file") {
                self.program.script = Some(self.absolute(first));
                self.program.package = None;
            }
        }
        // `deno x`, `npm exec pkg -- ARG`.
        if walk.rest.first().is_some_and(|word| word.as_slice() == b"--") {
            walk.take();
        }
        self.program.arguments = walk.rest.to_vec();
    }

    fn container(&mut self, tool: &Tool, mut walk: Walk<'_>, running: bool) {
        self.pass(tool);
        self.program.launcher = Some(tool.name.clone());
        self.program.runtime = Runtime::Container;
        let last = |names: [&str; 2]| {
            let names: Vec<String> = names.map(str::to_owned).to_vec();
            walk.values(&names).last().map(Bytes::new)
        };
        let many = |names: [&str; 2]| -> Vec<Bytes> {
            names.iter().flat_map(|name| walk.values_of(name)).map(Bytes::new).collect()
        };
        let mut container = ContainerRun {
            name: last(["--name", "--name"]),
            id_file: last(["--cidfile", "--cidfile"]),
            labels: many(["-l", "--label"]),
            environment_names: many(["-e", "--env"])
                .iter()
                .map(|word| {
                    Bytes::new(word.as_slice().split(|byte| *byte == b'=').next().unwrap_or_default())
                })
                .collect(),
            interactive: walk.interactive(),
            running,
        };
        let first = walk.take();
        if running {
            container.name = first.cloned();
        } else {
            self.program.package = first.and_then(|image| Package::parse("oci", image.as_slice()));
        }
        container.id_file = container.id_file.map(|path| self.absolute(path.as_slice()));
        self.program.container = Some(container);
        self.program.arguments = walk.rest.to_vec();
    }

    fn absolute(&self, path: &[u8]) -> Bytes {
        if path.first() == Some(&b'/') || self.working_directory.is_empty() {
            return Bytes::new(path);
        }
        Bytes(normalise(path, &self.working_directory).into())
    }
}

impl Walk<'_> {
    /// `-i`, `--interactive`, `-it`.
    fn interactive(&self) -> bool {
        self.flags().any(|flag| {
            flag == b"--interactive"
                || (flag.starts_with(b"-") && !flag.starts_with(b"--") && flag.contains(&b'i'))
        })
    }
}

/// The tool's options and subcommands, if it applies to these words.
fn applied<'words>(tool: &Tool, words: &'words [Bytes]) -> Option<Walk<'words>> {
    let mut walk = Walk::new(tool, words);
    if !tool.subcommands.is_empty() {
        let matched = tool.subcommands.iter().find(|words| {
            walk.rest.len() >= words.len()
                && words.iter().zip(walk.rest).all(|(wanted, word)| wanted.as_bytes() == word.as_slice())
        })?;
        for _ in matched {
            walk.take();
        }
        walk.go_on(tool);
        return Some(walk);
    }
    let is_optional =
        |word: &Bytes| tool.optional.iter().any(|optional| optional.as_bytes() == word.as_slice());
    if walk.rest.first().is_some_and(is_optional) {
        walk.take();
        walk.go_on(tool);
    }
    Some(walk)
}

/// Where `uv run --directory D` and the like go first.
fn directory<'words>(walk: &Walk<'words>) -> Option<&'words [u8]> {
    ["--directory", "--project", "--chdir", "-C", "--cwd"].iter().find_map(|name| walk.values_of(name).last())
}

/// `npm:`, `jsr:` in front of a package.
fn registry_of(text: &[u8]) -> Option<&'static str> {
    [("npm", &b"npm:"[..]), ("jsr", b"jsr:")]
        .into_iter()
        .find(|(_, prefix)| text.starts_with(prefix))
        .map(|(registry, _)| registry)
}

fn is_python_script(word: &Bytes) -> bool {
    let text = word.as_slice();
    text.ends_with(b".py")
        || text.ends_with(b".pyw")
        || text.starts_with(b"http://")
        || text.starts_with(b"https://")
}

/// Programs that only pass on to a server elsewhere say its address.
fn forward(program: &mut Program) {
    let named = |name: &[u8]| {
        let name = name.strip_suffix(b".js").unwrap_or(name);
        matches!(name, b"mcp-remote" | b"supergateway" | b"mcp-proxy" | b"mcp-remote-client")
    };
    let is_forwarder = program.package.as_ref().is_some_and(|package| named(package.short_name().as_bytes()))
        || program.script_name().is_some_and(named)
        || named(program.executable_name());
    if is_forwarder {
        let is_address = |word: &&Bytes| {
            word.as_slice().starts_with(b"http://") || word.as_slice().starts_with(b"https://")
        };
        program.address = program.arguments.iter().find(is_address).cloned();
    }
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
