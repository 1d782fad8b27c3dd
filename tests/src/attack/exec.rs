//! Running programs by unusual ways in: from memory, through the loader, by descriptor, from another thread.

use std::{
    ffi::CString,
    fs::{self, File},
    io::Write,
    os::fd::AsRawFd,
    path::Path,
    process::Command,
};

use anyhow::Result;
use mcp_monitor_tests::{act::Act, world::check};

use crate::{
    case::{Case, Context, case, not_run},
    files::{inheritable, owned},
    process::{acts_in, acts_of, c_string, myself, pipe, wait},
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("memfd-exec", memfd_exec),
    case("deleted-exec", deleted_exec),
    case("loader", loader),
    case("exec-from-thread", exec_from_thread),
    case("script-exec", script_exec),
];

/// Runs `program` by descriptor in a child that reads the object, and returns its report.
fn run_descriptor(context: &Context, program: i32, name: &str) -> Result<Vec<Act>> {
    let (mut reader, writer) = pipe()?;
    let writer = inheritable(writer)?;
    let object = c_string(context.object());
    let arguments = [c_string(name), c_string("read"), object];
    let arguments: Vec<*const libc::c_char> =
        arguments.iter().map(|argument| argument.as_ptr()).chain([std::ptr::null()]).collect();
    let environment: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: the child makes only system calls; all pointers live until the exec.
    let child = unsafe {
        let child = check(libc::fork())?;
        if child == 0 {
            libc::dup2(writer, 1);
            libc::fexecve(program, arguments.as_ptr(), environment.as_ptr());
            libc::_exit(127);
        }
        libc::close(writer);
        child
    };
    let mut output = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut output)?;
    wait(child)?;
    acts_in(&output)
}

/// The program exists in memory only. The twin fills such a file too, and then runs an ordinary program by descriptor.
fn memfd_exec(context: &Context) -> Result<Vec<Act>> {
    // SAFETY: the name is a C string.
    let mut hidden = owned(unsafe { libc::memfd_create(c"x".as_ptr(), 0) }.into())?;
    let program = myself()?;
    hidden.write_all(&fs::read(&program)?)?;
    let ordinary = File::open(&program)?;
    let run = if context.benign { &ordinary } else { &hidden };
    // An honest program calls itself by its own name; the other way round is a finding of its own.
    let name = if context.benign { "attack" } else { "kworker/0:1" };
    let acts = run_descriptor(context, run.as_raw_fd(), name)?;
    // What must be told is the exec; the file it read is the plain case's matter.
    Ok(acts.into_iter().map(|act| act.only("exec")).collect())
}

/// The program's file is gone when it runs.
fn deleted_exec(context: &Context) -> Result<Vec<Act>> {
    let copy = context.at("helper");
    fs::copy(myself()?, &copy)?;
    let program = File::open(&copy)?;
    if !context.benign {
        fs::remove_file(&copy)?;
    }
    let acts = run_descriptor(context, program.as_raw_fd(), "helper")?;
    Ok(acts.into_iter().map(|act| act.only("exec")).collect())
}

/// The program is data to the loader: no exec of it happens.
fn loader(context: &Context) -> Result<Vec<Act>> {
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    let cat = ["/bin/cat", "/usr/bin/cat"].into_iter().find(|cat| Path::new(cat).exists());
    let (true, Some(cat)) = (loader.exists(), cat) else { return not_run("no loader or no cat here") };
    let mut child = Command::new(loader)
        .arg(cat)
        .arg(context.object())
        .arg("-")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    // It still waits for its standard input, so it can be asked who it is.
    let act = Act::of(i32::try_from(child.id())?)?.kind("open").about_path(&context.object())?;
    drop(child.stdin.take());
    let output = child.wait_with_output()?;
    if !output.status.success() && output.stdout.is_empty() {
        return not_run("the loader runs no cat here");
    }
    context.prove(&output.stdout)?;
    Ok(vec![act])
}

/// A thread that is not the leader executes: it takes the leader's pid.
fn exec_from_thread(context: &Context) -> Result<Vec<Act>> {
    let (mut reader, writer) = pipe()?;
    let writer = inheritable(writer)?;
    let program = c_string(myself()?);
    let arguments: Vec<CString> = vec![c_string("attack"), c_string("read"), c_string(context.object())];
    // SAFETY: the child starts one thread, which executes; every pointer lives until then.
    let child = unsafe {
        let child = check(libc::fork())?;
        if child == 0 {
            libc::dup2(writer, 1);
            let thread = std::thread::spawn(move || {
                let pointers: Vec<_> =
                    arguments.iter().map(|argument| argument.as_ptr()).chain([std::ptr::null()]).collect();
                libc::execv(program.as_ptr(), pointers.as_ptr());
                libc::_exit(127);
            });
            drop(thread.join());
            libc::_exit(126);
        }
        libc::close(writer);
        child
    };
    let mut output = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut output)?;
    wait(child)?;
    acts_in(&output)
}

/// The payload is a script: the interpreter is what runs.
fn script_exec(context: &Context) -> Result<Vec<Act>> {
    let script = context.at("payload.sh");
    let program = myself()?;
    fs::write(&script, format!("#!/bin/sh\nexec '{}' read \"$1\"\n", program.display()))?;
    // SAFETY: the path is a C string.
    check(unsafe { libc::chmod(c_string(&script).as_ptr(), 0o755) })?;
    acts_of(Command::new(&script).arg(context.object()))
}

/// Moves into a mount namespace of its own and becomes the program there. Gives the error that kept it from that.
pub(crate) fn in_new_mount_namespace(command: &[String]) -> anyhow::Error {
    use std::os::unix::process::CommandExt as _;
    let Some((program, arguments)) = command.split_first() else {
        return anyhow::anyhow!("no program is named");
    };
    // SAFETY: a plain call.
    if let Err(error) = check(unsafe { libc::unshare(libc::CLONE_NEWNS) }) {
        return error.into();
    }
    Command::new(program).args(arguments).exec().into()
}
