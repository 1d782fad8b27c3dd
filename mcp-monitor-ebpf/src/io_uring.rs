//! The `tracepoint` tier's view of `io_uring`: completed opens and accepts, resolved through the file table. A
//! completion runs in the submitter's process, worker threads included. Direct descriptors have no number and are
//! not seen, which a coverage record says when the ring is set up.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use mcp_monitor_common::{map::io_uring_shape, mechanism, record::RecordKind};

use crate::{
    descriptor,
    file::{Use, report_apart},
    ingress, kernel,
    kernel::Address,
    lineage,
};

/// Operations of `include/uapi/linux/io_uring.h`.
const OP_ACCEPT: u8 = 13;
const OP_OPENAT: u8 = 18;
const OP_OPENAT2: u8 = 28;

/// match-proto: include/trace/events/io_uring.h:TP_PROTO(void *ctx, void *req, …), see `map::io_uring_shape`
#[raw_tracepoint(tracepoint = "io_uring_complete")]
pub fn io_uring_complete(context: RawTracePointContext) -> i32 {
    completed(&context);
    0
}

#[inline(always)]
fn completed(context: &RawTracePointContext) -> Option<()> {
    let shape = kernel::IO_URING_SHAPE.load();
    if shape == io_uring_shape::ABSENT || shape == io_uring_shape::USER_DATA {
        return None;
    }
    lineage::current()?;
    let request = context.arg::<u64>(1) as Address;
    // The branch that is not this kernel's shape is pruned, and with it the read of an argument that is not there.
    let result = if shape == io_uring_shape::REQUEST_CQE {
        kernel::get::<i32>(context.arg::<u64>(2) as Address, &kernel::IO_URING_CQE_RESULT)
    } else {
        context.arg::<u64>(3) as i32
    };
    // 0 is what a direct descriptor gives; a process that opens a file as its standard input through io_uring is
    // so rare that a wrong record would be worse.
    if result <= 0 {
        return None;
    }
    let file = descriptor::file(result as u32);
    match kernel::get::<u8>(request, &kernel::IO_KIOCB_OPCODE) {
        OP_OPENAT | OP_OPENAT2 => {
            let how = Use {
                kind: RecordKind::Open,
                mechanism: mechanism::IO_URING_COMPLETE,
                result: 0,
                flags: 0,
                access: 0,
                can_refuse: false,
            };
            if !file.is_null() {
                report_apart(file, how);
            }
        }
        OP_ACCEPT => {
            ingress::accepted_apart(descriptor::sock_of_file(file), mechanism::IO_URING_COMPLETE);
        }
        _ => {}
    }
    Some(())
}
