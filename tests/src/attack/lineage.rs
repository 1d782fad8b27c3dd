//! Leaving the lineage behind: every way to become a process, a thread or an orphan.

use std::{fs, thread, time::Duration};

use anyhow::{Result, bail};
use mcp_monitor_tests::{act::Act, identity::Identity, world::check};

use crate::{
    case::{Case, Context, case, not_run},
    files::read_whole,
    process::{acts_of, in_child, myself, pipe, receive, report_and_exit, wait},
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("double-fork-setsid", double_fork_setsid),
    case("vfork", vfork),
    case("thread", in_thread),
    case("clone-parent", |context| cloned(context, libc::CLONE_PARENT | libc::SIGCHLD)),
    case("clone-vm", |context| cloned(context, libc::SIGCHLD)),
    case("leader-exit", leader_exit),
    case("new-pid-namespace", new_pid_namespace),
    case("pid-reuse", pid_reuse),
];

/// The classic daemon: its parent ends, it has a session of its own and pid 1 for a parent.
fn double_fork_setsid(context: &Context) -> Result<Vec<Act>> {
    let (mut reader, writer) = pipe()?;
    // SAFETY: forks without memory; the children only make system calls and report.
    unsafe {
        let first = check(libc::fork())?;
        if first == 0 {
            libc::setsid();
            if libc::fork() == 0 {
                drop(reader);
                while libc::getppid() == first {}
                thread::sleep(Duration::from_millis(50));
                report_and_exit(writer, || Ok(vec![read_whole(&context.object())?]));
            }
            libc::_exit(0);
        }
        drop(writer);
        wait(first)?;
    }
    receive(&mut reader)
}

fn vfork(context: &Context) -> Result<Vec<Act>> {
    // The standard library spawns with CLONE_VFORK | CLONE_VM, which is what vfork(2) is.
    acts_of(std::process::Command::new(myself()?).arg("read").arg(context.object()))
}

fn in_thread(context: &Context) -> Result<Vec<Act>> {
    let object = context.object();
    let act = thread::spawn(move || read_whole(&object)).join();
    let Ok(act) = act else { bail!("the thread panicked") };
    Ok(vec![act?])
}

/// A raw clone: `CLONE_PARENT` makes a sibling, whose parent is not who made it.
fn cloned(context: &Context, flags: libc::c_int) -> Result<Vec<Act>> {
    let (mut reader, writer) = pipe()?;
    // SAFETY: without a stack and without CLONE_VM this is a fork with other flags.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match check(i32::try_from(child)?)? {
        0 => report_and_exit(writer, || Ok(vec![read_whole(&context.object())?])),
        child => {
            drop(writer);
            let acts = receive(&mut reader);
            if flags & libc::CLONE_PARENT == 0 {
                wait(child)?;
            }
            acts
        }
    }
}

/// The first thread ends; the process goes on and reads.
fn leader_exit(context: &Context) -> Result<Vec<Act>> {
    let (mut reader, writer) = pipe()?;
    // SAFETY: the child's leader ends by the raw call, so that its other thread goes on.
    unsafe {
        let child = check(libc::fork())?;
        if child == 0 {
            let object = context.object();
            let me = Identity::mine()?;
            drop(thread::spawn(move || {
                thread::sleep(Duration::from_millis(100));
                report_and_exit(writer, move || {
                    // /proc/self/stat of a dead leader is still there: the process is.
                    let act = read_whole(&object)?;
                    Ok(vec![Act { process: me, ..act }])
                });
            }));
            libc::syscall(libc::SYS_exit, 0);
            unreachable!("the thread has ended");
        }
        drop(writer);
        let acts = receive(&mut reader);
        wait(child)?;
        acts
    }
}

fn new_pid_namespace(context: &Context) -> Result<Vec<Act>> {
    in_child(|| {
        // SAFETY: a plain call.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } < 0 {
            return not_run("no pid namespace for us");
        }
        in_child(|| {
            // SAFETY: a plain call.
            if unsafe { libc::getpid() } != 1 {
                bail!("this is not the first process of a pid namespace");
            }
            Ok(vec![read_whole(&context.object())?])
        })
    })
}

/// A process gets the pid that an earlier one of the lineage had: both must be told apart.
fn pid_reuse(context: &Context) -> Result<Vec<Act>> {
    let first = in_child(|| Ok(vec![read_whole(&context.object())?]))?;
    let [first] = first.as_slice() else { bail!("no first process") };
    // Start times are compared in ticks of 10 ms.
    thread::sleep(Duration::from_millis(30));
    for _ in 0..20 {
        if fs::write("/proc/sys/kernel/ns_last_pid", (first.process.pid - 1).to_string()).is_err() {
            return not_run("ns_last_pid cannot be set here");
        }
        let second = in_child(|| Ok(vec![read_whole(&context.object())?]))?;
        if second.iter().any(|act| act.process.pid == first.process.pid) {
            return Ok(second.into_iter().chain([first.clone()]).collect());
        }
    }
    not_run("somebody else always took the pid")
}
