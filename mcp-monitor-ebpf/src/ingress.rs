//! Connections that come in, listeners, and how connections end.

use aya_ebpf::{
    macros::{kprobe, lsm, raw_tracepoint},
    programs::{LsmContext, ProbeContext, RawTracePointContext},
};
use mcp_monitor_common::{
    map::SocketOwner,
    mechanism,
    mechanism::Tier,
    record::{Direction, RecordKind},
};

use crate::{
    address,
    address::{AF_INET, AF_INET6, AF_UNIX},
    change::lsm,
    egress,
    egress::{SOCKETS, Said},
    file::argument,
    kernel,
    kernel::Address,
    lineage,
    lineage::Process,
    unix,
};

/// States of `include/net/tcp_states.h`.
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const CLOSE: i32 = 7;
const LISTEN: i32 = 10;
/// `sock_flag(sk, SOCK_DONE)`: the peer's FIN was received (tcp_fin, net/ipv4/tcp_input.c).
const SOCK_DONE: u64 = 1 << 1;
/// A connection that ended before it came about without an error of its own: closed by ourselves.
const ABORTED: i32 = -103;

/// Reports an accepted socket.
#[inline(always)]
pub(crate) fn accepted(process: &Process, sock: Address, mechanism: u32) {
    let family = kernel::get::<u16>(sock, &kernel::SOCK_FAMILY);
    if family == AF_UNIX {
        unix::accepted(process, sock, mechanism);
    } else if family == AF_INET || family == AF_INET6 {
        let remote = address::remote(sock);
        egress::own(process, sock, &remote, Direction::In);
        let said = Said::new(RecordKind::Accept, mechanism, Direction::In, 0);
        egress::emit(process, sock, &remote, said, 0);
    }
}

/// [`accepted`] for programs that have much else to do: verified once for itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn report_accepted(sock: u64, mechanism: u64) -> u64 {
    if let Some(process) = lineage::current() {
        accepted(&process, sock as Address, mechanism as u32);
    }
    0
}

/// Calls [`report_accepted`], unless there is no socket.
#[inline(always)]
pub(crate) fn accepted_apart(sock: Address, mechanism: u32) {
    if !sock.is_null() {
        report_accepted(sock as u64, u64::from(mechanism));
    }
}

#[inline(always)]
fn grafted(sock: Address, mechanism: u32) -> Option<()> {
    let process = lineage::current()?;
    accepted(&process, sock, mechanism);
    Some(())
}

/// match-proto: include/linux/lsm_hook_defs.h:LSM_HOOK(void, LSM_RET_VOID, sock_graft, struct sock *sk,
/// struct socket *parent)
#[lsm(hook = "sock_graft")]
pub fn lsm_sock_graft(context: LsmContext) -> i32 {
    grafted(lsm(&context, 0), mechanism::LSM_SOCK_GRAFT);
    0
}

/// match-proto: security/security.c:void security_sock_graft(struct sock *sk, struct socket *parent)
#[kprobe]
pub fn probe_sock_graft(context: ProbeContext) -> u32 {
    grafted(argument(&context, 0), mechanism::PROBE_SOCK_GRAFT);
    0
}

/// match-proto: include/trace/events/sock.h:TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn socket_state(context: RawTracePointContext) -> i32 {
    let sock = context.arg::<u64>(0) as Address;
    let old = context.arg::<u64>(1) as i32;
    let new = context.arg::<u64>(2) as i32;
    match new {
        LISTEN => listens(sock),
        SYN_SENT => asks(sock),
        ESTABLISHED if old == SYN_SENT => established(sock),
        CLOSE => closed(sock, old),
        _ => None,
    };
    0
}

/// In the context of the process that listens.
#[inline(always)]
fn listens(sock: Address) -> Option<()> {
    let process = lineage::current()?;
    let said = Said::new(RecordKind::Listen, mechanism::SOCKET_STATE, Direction::In, 0);
    egress::emit(&process, sock, &address::Internet::default(), said, 0);
    Some(())
}

/// In the context of the process that connects. Whoever is no lineage's takes an old owner of the same memory away.
#[inline(always)]
fn asks(sock: Address) -> Option<()> {
    let Some(process) = lineage::current() else {
        if SOCKETS.get_ptr(&(sock as u64)).is_some() {
            let _ = SOCKETS.remove(&(sock as u64));
        }
        return None;
    };
    let remote = address::remote(sock);
    if kernel::TIER.load() == Tier::Tracepoint as u32 {
        egress::stream(&process, sock, &remote, mechanism::SOCKET_STATE, 0);
    } else if SOCKETS.get_ptr(&(sock as u64)).is_none() {
        // Asked for by a way that passes no security hook, e.g. the subflow of an MPTCP socket.
        egress::own(&process, sock, &remote, Direction::Out);
    }
    Some(())
}

#[inline(always)]
fn owner(sock: Address) -> Option<(Process, u16)> {
    // SAFETY: the value is copied at once.
    let owner: SocketOwner = unsafe { *SOCKETS.get(&(sock as u64))? };
    Some((Process::owning(&owner), owner.direction))
}

/// Mostly in a soft interrupt: the process is known from the socket.
#[inline(always)]
fn established(sock: Address) -> Option<()> {
    let (process, _) = owner(sock)?;
    let said = Said::new(RecordKind::Connect, mechanism::SOCKET_STATE, Direction::Out, 0);
    egress::emit(&process, sock, &address::remote(sock), said, 0);
    Some(())
}

#[inline(always)]
fn closed(sock: Address, old: i32) -> Option<()> {
    let (process, direction) = owner(sock)?;
    let _ = SOCKETS.remove(&(sock as u64));
    let direction = if direction == Direction::In as u16 { Direction::In } else { Direction::Out };
    let mut said = Said::new(RecordKind::Close, mechanism::SOCKET_STATE, direction, 0);
    if old == SYN_SENT {
        let error = kernel::get::<i32>(sock, &kernel::SOCK_ERROR);
        said.kind = RecordKind::Connect;
        said.result = if error == 0 { ABORTED } else { -error };
    } else {
        // bytes_sent counts what was sent again once more; bytes_received counts the peer's FIN as a byte.
        let sent = kernel::get::<u64>(sock, &kernel::TCP_BYTES_SENT)
            .wrapping_sub(kernel::get::<u64>(sock, &kernel::TCP_BYTES_RETRANSMITTED));
        let received = kernel::get::<u64>(sock, &kernel::TCP_BYTES_RECEIVED);
        let fin = kernel::get::<u64>(sock, &kernel::SOCK_FLAGS) & SOCK_DONE != 0 && received > 0;
        said.bytes = (sent, if fin { received - 1 } else { received });
    }
    egress::emit(&process, sock, &address::remote(sock), said, 0);
    Some(())
}
