//! Drowning one act in many: processes, opens, connections.

use std::{
    fs::{self, File},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use mcp_monitor_tests::{act::Act, identity::Identity, world::check};

use crate::{
    case::{Case, Context, case},
    files::read_whole,
    process::in_child,
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[case("fork-bomb", fork_bomb), case("flood", flood)];

const CHILDREN: usize = 2000;
const OPENS: usize = 200_000;

/// Many children at once, each of which opens the object and ends: every one must be told of.
fn fork_bomb(context: &Context) -> Result<Vec<Act>> {
    let object = context.object();
    let path = crate::process::c_string(&object);
    let template = Act::mine()?.about_path(&object)?.kind("open");
    let (mut acts, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..CHILDREN {
        // SAFETY: the child makes only system calls.
        let child = unsafe {
            let child = libc::fork();
            if child == 0 {
                let opened = libc::open(path.as_ptr(), libc::O_RDONLY);
                libc::_exit(i32::from(opened < 0));
            }
            check(child)?
        };
        // A dead child that nobody waited for still has its entry in /proc.
        acts.push(Act { process: Identity::of(child)?, ..template.clone() });
        waiting.push(child);
        if waiting.len() == 64 {
            reap(&mut waiting)?;
        }
    }
    reap(&mut waiting)?;
    Ok(acts)
}

fn reap(children: &mut Vec<i32>) -> Result<()> {
    for child in children.drain(..) {
        let mut status = 0;
        // SAFETY: the status is ours to write to.
        check(unsafe { libc::waitpid(child, &raw mut status, 0) })?;
        if status != 0 {
            bail!("a child could not open the object");
        }
    }
    Ok(())
}

/// One process opens very many names as fast as it can while another reads the object fifty times, each time as a new
/// process: nothing of the quiet ones may be lost.
fn flood(context: &Context) -> Result<Vec<Act>> {
    let noise = context.at("noise");
    fs::create_dir_all(&noise)?;
    for number in 0..1000 {
        File::create(noise.join(format!("there-{number}")))?;
    }
    // SAFETY: the child only opens files and ends.
    let flooder = unsafe { check(libc::fork())? };
    if flooder == 0 {
        for number in 0..OPENS {
            let name =
                if number % 2 == 0 { format!("there-{}", number % 1000) } else { format!("absent-{number}") };
            drop(File::open(noise.join(name)));
        }
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    let mut acts = Vec::new();
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(10));
        acts.extend(in_child(|| Ok(vec![read_whole(&context.object())?.kind("open")]))?);
    }
    crate::process::wait(flooder)?;
    Ok(acts)
}
