//! mcp-monitor's kernel programs: classify → decide → emit.
//!
//! One file per concept. Programs never block, keep no state on behalf of processes outside a lineage, and cost
//! such a process one look-up. The same functions serve the `lsm` and `probe` tiers: a hook file has the logic and,
//! at its end, the thin entries that take arguments from either kind of context.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "5.10 knows no atomic but the addition without result, see atomic.rs")]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "the next aya-ebpf takes keys and values by reference only; both compile today"
)]

mod address;
mod atomic;
mod change;
mod decide;
mod descriptor;
mod dns;
mod egress;
mod enter;
mod exec;
mod file;
mod filter;
mod hint;
mod identity;
mod ingress;
mod io_uring;
mod kernel;
mod lineage;
mod log;
mod loss;
mod path;
mod record;
mod snoop;
mod syscall;
mod unix;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // A reachable panic is a loop without end, which the verifier refuses at load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
