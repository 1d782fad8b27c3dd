//! The script that an interpreter was started for.
//!
//! Where the kernel reports the stages of an exec, the file accepted just before the interpreter is what the
//! interpreter is given, whatever names say: identity and path are the kernel's. Otherwise the name as it was given,
//! or the first argument that an interpreter would take for its script; both are text and marked `unresolved`.

use crate::{
    event::{Access, Bytes, ExecObject, FileObject, FilePath, Process, ThreadId},
    sensor::decode::join,
};

/// A file that was accepted on the way to an exec.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Whose exec it was.
    pub thread: ThreadId,
    /// What was accepted.
    pub file: FileObject,
}

/// The script behind `exec`, given the stages that preceded it and the image it replaces.
#[must_use]
pub fn find(
    exec: &ExecObject,
    interpreter: &Bytes,
    stages: &[Stage],
    previous: Option<&Process>,
) -> Option<FileObject> {
    if !interpreter.is_empty() {
        if let Some(script) = by_stages(exec, stages) {
            return Some(script);
        }
        if exec.given_name != exec.executable.path.bytes && !exec.given_name.is_empty() {
            return Some(as_given(exec, &exec.given_name));
        }
    }
    let argument = script_argument(exec)?;
    Some(handed_over(argument, previous).unwrap_or_else(|| as_given(exec, argument)))
}

/// The last other file before the program among the stages of the thread that executed it. Earlier ones may stem
/// from an exec that failed.
fn by_stages(exec: &ExecObject, stages: &[Stage]) -> Option<FileObject> {
    let is_program =
        |stage: &Stage| stage.file.identity.is_some() && stage.file.identity == exec.executable.identity;
    let program = stages.iter().rposition(is_program)?;
    let thread = stages.get(program)?.thread;
    let script = stages
        .get(..program)?
        .iter()
        .rev()
        .find(|stage| stage.thread == thread && stage.file.identity != exec.executable.identity)?;
    Some(script.file.clone())
}

/// `#!/usr/bin/env node`: env was the interpreter of a script that the kernel identified, and hands the same name
/// to the program that replaces it.
fn handed_over(argument: &Bytes, previous: Option<&Process>) -> Option<FileObject> {
    let previous = previous?;
    let is_env =
        matches!(previous.executable.as_slice(), b"/usr/bin/env" | b"/bin/env" | b"/usr/bin/coreutils");
    let script = previous.script.as_ref()?;
    let identity = previous.script_identity?;
    (is_env && previous.arguments.iter().skip(1).any(|given| given == argument)).then(|| FileObject {
        path: FilePath { bytes: script.clone(), ..FilePath::default() },
        identity: Some(identity),
        access: Access { read: true, ..Access::default() },
        ..FileObject::default()
    })
}

fn as_given(exec: &ExecObject, name: &Bytes) -> FileObject {
    let directory = &exec.working_directory;
    let absolute = name.as_slice().first() == Some(&b'/');
    FileObject {
        path: FilePath {
            bytes: Bytes(join(directory.bytes.as_slice(), name.as_slice()).into()),
            unresolved: true,
            truncated: !absolute && directory.truncated,
            ..FilePath::default()
        },
        access: Access { read: true, ..Access::default() },
        ..FileObject::default()
    }
}

/// Options after which there is no script, and options that take the next argument.
struct Interpreter {
    names: &'static [&'static [u8]],
    without_script: &'static [&'static [u8]],
    with_value: &'static [&'static [u8]],
    commands: &'static [&'static [u8]],
}

const INTERPRETERS: [Interpreter; 6] = [
    Interpreter {
        names: &[b"node", b"nodejs"],
        without_script: &[
            b"-e",
            b"--eval",
            b"-p",
            b"--print",
            b"-pe",
            b"-i",
            b"--interactive",
            b"-v",
            b"--version",
        ],
        with_value: &[
            b"-r",
            b"--require",
            b"--import",
            b"--loader",
            b"--experimental-loader",
            b"-C",
            b"--conditions",
        ],
        commands: &[],
    },
    Interpreter {
        names: &[b"python", b"pypy"],
        without_script: &[b"-c", b"-m", b"-V", b"--version"],
        with_value: &[b"-W", b"-X", b"--check-hash-based-pycs"],
        commands: &[],
    },
    Interpreter {
        names: &[b"bun", b"deno"],
        without_script: &[
            b"-e", b"--eval", b"-p", b"--print", b"x", b"install", b"add", b"eval", b"repl", b"test",
        ],
        with_value: &[b"-r", b"--preload", b"-c", b"--config", b"--import-map", b"--cwd"],
        commands: &[b"run"],
    },
    Interpreter {
        names: &[b"sh", b"bash", b"dash", b"zsh", b"ash", b"ksh"],
        without_script: &[b"-c", b"-lc", b"-ic", b"-ec", b"-xc", b"-s"],
        with_value: &[b"-o", b"-O", b"--rcfile", b"--init-file"],
        commands: &[],
    },
    Interpreter {
        names: &[b"perl", b"ruby"],
        without_script: &[b"-e", b"-v", b"--version"],
        with_value: &[b"-I", b"-r"],
        commands: &[],
    },
    Interpreter {
        names: &[b"php"],
        without_script: &[b"-r", b"-S", b"-v", b"-a"],
        with_value: &[b"-d", b"-c"],
        commands: &[],
    },
];

/// The argument that an interpreter would run.
fn script_argument(exec: &ExecObject) -> Option<&Bytes> {
    let path = exec.executable.path.bytes.as_slice();
    let base = path.rsplit(|byte| *byte == b'/').next()?;
    // `python3.12` is a python.
    let end = base.iter().rposition(|byte| !byte.is_ascii_digit() && *byte != b'.').map_or(0, |at| at + 1);
    let name = base.get(..end)?;
    let interpreter = INTERPRETERS.iter().find(|one| one.names.contains(&name))?;
    let mut arguments = exec.arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let text = argument.as_slice();
        if interpreter.without_script.contains(&text) || text.is_empty() || text == b"-" {
            return None;
        }
        if interpreter.with_value.contains(&text) {
            arguments.next();
        } else if text == b"--" {
            return arguments.next().filter(|next| is_file(next.as_slice()));
        } else if text.first() != Some(&b'-') && !interpreter.commands.contains(&text) {
            return is_file(text).then_some(argument);
        }
    }
    None
}

/// `npm:package` and addresses are no files; neither is what masking left.
fn is_file(text: &[u8]) -> bool {
    let scheme = text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let has_scheme = scheme > 1 && text.get(scheme) == Some(&b':');
    !has_scheme
        && !text.windows(crate::sensor::mask::MASKED.len()).any(|part| part == crate::sensor::mask::MASKED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FileIdentity;

    fn identity(inode: u64) -> FileIdentity {
        FileIdentity { inode, device: 1, generation: 1 }
    }

    fn file(path: &str, inode: u64) -> FileObject {
        FileObject {
            path: FilePath { bytes: path.into(), ..FilePath::default() },
            identity: Some(identity(inode)),
            ..FileObject::default()
        }
    }

    fn exec(executable: &str, arguments: &[&str], given: &str) -> ExecObject {
        ExecObject {
            executable: file(executable, 1),
            arguments: arguments.iter().map(|argument| Bytes::from(*argument)).collect(),
            given_name: given.into(),
            working_directory: FilePath { bytes: "/work".into(), ..FilePath::default() },
            ..ExecObject::default()
        }
    }

    fn stage(thread: u32, path: &str, inode: u64) -> Stage {
        Stage { thread: ThreadId(thread), file: file(path, inode) }
    }

    #[test]
    fn the_stage_before_the_program_is_the_script() {
        let exec = exec("/usr/bin/node", &["node", "/bin/x"], "/bin/x");
        let stages = [
            stage(5, "/stale", 9),
            stage(5, "/real/x.js", 2),
            stage(6, "/other", 8),
            stage(5, "/usr/bin/node", 1),
        ];
        let script = find(&exec, &"/usr/bin/node".into(), &stages, None).unwrap();
        assert_eq!(
            (script.path.bytes, script.identity, script.path.unresolved),
            ("/real/x.js".into(), Some(identity(2)), false)
        );
    }

    #[test]
    fn no_interpreter_means_that_other_stages_failed() {
        let exec = exec("/usr/bin/ls", &["ls"], "/usr/bin/ls");
        assert_eq!(
            find(&exec, &Bytes::default(), &[stage(5, "/x", 2), stage(5, "/usr/bin/ls", 1)], None),
            None
        );
    }

    #[test]
    fn without_stages_the_given_name_is_taken_as_text() {
        let exec = exec("/usr/bin/python3.12", &["python3", "./run.py"], "./run.py");
        let script = find(&exec, &"/usr/bin/python3".into(), &[], None).unwrap();
        assert_eq!(
            (script.path.bytes, script.path.unresolved, script.identity),
            ("/work/run.py".into(), true, None)
        );
    }

    #[test]
    fn the_argument_that_an_interpreter_runs() {
        for (executable, arguments, expected) in [
            (
                "/usr/bin/node",
                &["node", "--no-warnings", "-r", "x", "dist/index.js", "a"][..],
                Some("/work/dist/index.js"),
            ),
            ("/usr/bin/node", &["node", "-e", "code"], None),
            ("/usr/bin/python3", &["python3", "-m", "server"], None),
            ("/usr/bin/python3", &["python3", "-u", "/s/server.py"], Some("/s/server.py")),
            ("/bin/bash", &["bash", "-c", "ls"], None),
            ("/bin/sh", &["sh", "run.sh"], Some("/work/run.sh")),
            ("/usr/bin/deno", &["deno", "run", "-A", "npm:x"], None),
            ("/usr/bin/bun", &["bun", "run", "x.ts"], Some("/work/x.ts")),
            ("/usr/bin/ls", &["ls", "x"], None),
            ("/usr/bin/node", &["node"], None),
        ] {
            let script = find(&exec(executable, arguments, executable), &Bytes::default(), &[], None);
            assert_eq!(
                script.map(|script| script.path.bytes.escaped()).as_deref(),
                expected,
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn env_hands_its_script_over() {
        let previous = Process {
            executable: "/usr/bin/env".into(),
            script: Some("/lib/npm-cli.js".into()),
            script_identity: Some(identity(7)),
            arguments: ["env", "node", "/usr/bin/npm"].map(Bytes::from).to_vec(),
            ..Process::default()
        };
        let exec = exec("/usr/bin/node", &["node", "/usr/bin/npm", "ci"], "/usr/bin/node");
        let script = find(&exec, &Bytes::default(), &[], Some(&previous)).unwrap();
        assert_eq!((script.path.bytes, script.identity), ("/lib/npm-cli.js".into(), Some(identity(7))));
        let other = Process { executable: "/tmp/env".into(), ..previous };
        assert_eq!(find(&exec, &Bytes::default(), &[], Some(&other)).unwrap().identity, None);
    }
}
