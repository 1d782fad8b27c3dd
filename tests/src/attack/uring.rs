//! Files and connections by `io_uring`, which makes no system call that names them.

use std::{fs::File, os::fd::FromRawFd};

use anyhow::{Context as _, Result};
use io_uring::{IoUring, opcode, squeue, types};
use mcp_monitor_tests::{act::Act, world::PORT};

use crate::{
    case::{Case, Context, NotRun, case, sent_to},
    files::read_from,
    process::c_string,
    sockets::{self, Address},
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("io-uring-open", |context| open(context, &ring(false)?, squeue::Flags::empty())),
    case("io-uring-open-async", |context| open(context, &ring(false)?, squeue::Flags::ASYNC)),
    case("io-uring-open-sqpoll", |context| open(context, &ring(true)?, squeue::Flags::empty())),
    case("io-uring-open-direct", open_direct),
    case("io-uring-connect", connect),
];

fn ring(polled: bool) -> Result<Ring> {
    let mut builder = IoUring::builder();
    if polled {
        builder.setup_sqpoll(100);
    }
    let ring = builder.build(8).map_err(|error| NotRun(format!("io_uring: {error}")))?;
    Ok(Ring(std::cell::RefCell::new(ring)))
}

struct Ring(std::cell::RefCell<IoUring>);

impl Ring {
    /// Submits one request, waits for it and returns its result.
    fn do_one(&self, entry: &squeue::Entry) -> Result<i32> {
        let mut ring = self.0.borrow_mut();
        // SAFETY: what the entry points to outlives this call, which waits for its completion.
        unsafe { ring.submission().push(entry).context("the ring is full")? };
        ring.submit_and_wait(1)?;
        let result = ring.completion().next().context("no completion")?.result();
        if result < 0 { Err(std::io::Error::from_raw_os_error(-result).into()) } else { Ok(result) }
    }
}

fn open(context: &Context, ring: &Ring, flags: squeue::Flags) -> Result<Vec<Act>> {
    let path = c_string(context.object());
    let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build().flags(flags);
    // SAFETY: the completion gave us the descriptor.
    read_from(context, unsafe { File::from_raw_fd(ring.do_one(&entry)?) })
}

/// The opened file never gets a descriptor: it lives in the ring's own table.
fn open_direct(context: &Context) -> Result<Vec<Act>> {
    let ring = ring(false)?;
    let registered = ring.0.borrow().submitter().register_files(&[-1, -1]);
    registered.map_err(|error| NotRun(format!("no fixed files: {error}")))?;
    let path = c_string(context.object());
    let slot = types::DestinationSlot::try_from_slot_target(0).ok().context("slot")?;
    let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).file_index(Some(slot)).build();
    ring.do_one(&open).map_err(|error| NotRun(format!("no direct descriptors: {error}")))?;
    let mut bytes = [0_u8; 256];
    let read = opcode::Read::new(types::Fixed(0), bytes.as_mut_ptr(), 256).build();
    ring.do_one(&read)?;
    context.prove(&bytes)?;
    context.read_it()
}

fn connect(context: &Context) -> Result<Vec<Act>> {
    let socket = sockets::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let address = Address::from((context.four(), PORT));
    let entry =
        opcode::Connect::new(types::Fd(sockets::number(&socket)), address.pointer(), address.length())
            .build();
    ring(false)?.do_one(&entry)?;
    sockets::echo(&socket)?;
    sent_to("tcp", context.four(), PORT)
}
