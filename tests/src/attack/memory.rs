//! Looking into other processes: their memory, their environment.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use anyhow::{Result, bail};
use mcp_monitor_tests::{
    act::Act,
    world::{MARKER, ORDINARY, check},
};

use crate::{
    case::{Case, Context, case, not_run},
    outside::card,
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("process-vm-readv", process_vm_readv),
    case("proc-mem", proc_mem),
    case("ptrace", ptrace),
    case("proc-environ", proc_environ),
];

/// Whose memory: the outside victim's, or for the twin our own.
struct Target {
    pid: i32,
    address: u64,
    length: usize,
    proof: &'static str,
}

fn target(context: &Context) -> Result<Target> {
    if context.benign {
        let text = ORDINARY.as_bytes();
        let pid = i32::try_from(std::process::id())?;
        return Ok(Target { pid, address: text.as_ptr().addr() as u64, length: text.len(), proof: ORDINARY });
    }
    let card = card(&context.world)?;
    Ok(Target { pid: card.process.pid, address: card.address, length: card.length, proof: MARKER })
}

impl Target {
    fn prove(&self, bytes: &[u8]) -> Result<Act> {
        if !String::from_utf8_lossy(bytes).contains(self.proof) {
            bail!("the memory of {} was not read", self.pid);
        }
        Act::mine()
    }
}

fn process_vm_readv(context: &Context) -> Result<Vec<Act>> {
    let target = target(context)?;
    let mut bytes = vec![0_u8; target.length];
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let there = libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(usize::try_from(target.address)?),
        iov_len: bytes.len(),
    };
    // SAFETY: the local buffer is ours; the remote address is only looked up in the other process.
    let read = unsafe { libc::process_vm_readv(target.pid, &raw const here, 1, &raw const there, 1, 0) };
    check(i32::try_from(read)?)?;
    Ok(vec![target.prove(&bytes)?.kind("snoop").with("target_process.pid", target.pid)])
}

fn proc_mem(context: &Context) -> Result<Vec<Act>> {
    let target = target(context)?;
    let mut bytes = vec![0_u8; target.length];
    let path = format!("/proc/{}/mem", target.pid);
    File::open(&path)?.read_exact_at(&mut bytes, target.address)?;
    Ok(vec![target.prove(&bytes)?.kind("open").with("file.path", path)])
}

fn ptrace(context: &Context) -> Result<Vec<Act>> {
    if context.benign {
        // Tracing oneself cannot be done; asking to be traced by one's parent reads nobody's memory.
        return Ok(vec![Act::mine()?]);
    }
    let target = target(context)?;
    let null = std::ptr::null_mut::<libc::c_void>();
    let mut bytes = Vec::new();
    // SAFETY: SEIZE, INTERRUPT, PEEKDATA and DETACH touch no memory of ours.
    unsafe {
        if libc::ptrace(libc::PTRACE_SEIZE, target.pid, null, null) < 0 {
            return not_run(format!("ptrace: {}", std::io::Error::last_os_error()));
        }
        libc::ptrace(libc::PTRACE_INTERRUPT, target.pid, null, null);
        libc::waitpid(target.pid, std::ptr::null_mut(), libc::__WALL);
        for offset in (0..target.length).step_by(8) {
            let address = std::ptr::with_exposed_provenance_mut::<libc::c_void>(
                usize::try_from(target.address)? + offset,
            );
            bytes.extend(libc::ptrace(libc::PTRACE_PEEKDATA, target.pid, address, null).to_ne_bytes());
        }
        libc::ptrace(libc::PTRACE_DETACH, target.pid, null, null);
    }
    Ok(vec![target.prove(&bytes)?.kind("snoop").with("target_process.pid", target.pid)])
}

fn proc_environ(context: &Context) -> Result<Vec<Act>> {
    let target = target(context)?;
    let path = format!("/proc/{}/environ", target.pid);
    let environment = fs::read(&path)?;
    if !context.benign && !String::from_utf8_lossy(&environment).contains(MARKER) {
        bail!("the environment of {} was not read", target.pid);
    }
    Ok(vec![Act::mine()?.kind("open").with("file.path", path)])
}
