//! The DNS witness: answers to questions that a process of a lineage asked over UDP.
//!
//! The question's socket is remembered by its cookie at the cgroup's connect and sendmsg programs; the answer is
//! copied where packets come in. Only packets from port 53 are looked at.

use aya_ebpf::{
    helpers,
    macros::{cgroup_skb, map},
    maps::LruHashMap,
    programs::{SkBuffContext, SockAddrContext},
};
use mcp_monitor_common::{
    limits::DNS_MAX_BYTES,
    map::SocketOwner,
    mechanism,
    record::{Direction, DnsBody, RecordKind},
};

use crate::{
    address,
    address::Internet,
    egress, kernel,
    lineage::Process,
    record::{Weight, Writer},
};

/// The port of DNS.
pub(crate) const PORT: u16 = 53;
const UDP: u8 = 17;
const UDP_HEADER_BYTES: u32 = 8;

/// Who asks, by socket cookie. LRU: an old question's answer may go unseen, and the name with it.
#[map]
static DNS_SOCKETS: LruHashMap<u64, SocketOwner> = LruHashMap::with_max_entries(8192, 0);

/// A process sends to a resolver.
#[inline(always)]
pub(crate) fn asks(context: &SockAddrContext, process: &Process, remote: Internet) {
    let owner = process.owner_of(&remote, Direction::Out);
    let _ = DNS_SOCKETS.insert(&egress::cookie(context), &owner, 0);
}

/// A packet comes in. 1 lets it pass.
#[cgroup_skb]
pub fn dns_answer(context: SkBuffContext) -> i32 {
    answer(&context);
    1
}

#[inline(always)]
fn answer(context: &SkBuffContext) -> Option<()> {
    let first = context.load::<u8>(0).ok()?;
    let (server_address, header_bytes) = if first >> 4 == 4 {
        if context.load::<u8>(9).ok()? != UDP {
            return None;
        }
        (address::mapped(context.load::<u32>(12).ok()?), u32::from(first & 0xf) * 4)
    } else {
        // Extension headers before UDP are not followed; resolvers send none.
        if context.load::<u8>(6).ok()? != UDP {
            return None;
        }
        (context.load::<[u8; 16]>(8).ok()?, 40)
    };
    if u16::from_be(context.load::<u16>(header_bytes as usize).ok()?) != PORT {
        return None;
    }
    // SAFETY: the context is what this program type's form of the helper takes.
    let cookie = unsafe { helpers::bpf_get_socket_cookie(context.skb.skb.cast()) };
    // SAFETY: the value is copied at once.
    let owner = unsafe { *DNS_SOCKETS.get(&cookie)? };
    let process = Process::owning(&owner);
    let start = header_bytes + UDP_HEADER_BYTES;
    let whole = context.len();
    if whole <= start {
        return None;
    }
    let answer_bytes = whole - start;
    let kept = if answer_bytes > DNS_MAX_BYTES as u32 { DNS_MAX_BYTES as u32 } else { answer_bytes };
    let mut writer = Writer::<DnsBody>::new(&process, RecordKind::Dns)?;
    // The mask restates the bound, and that it is not zero, for the verifier.
    let kept = kernel::bounded(kept - 1, DNS_MAX_BYTES as u32 - 1) + 1;
    // SAFETY: `room` has place for 4096 bytes.
    let failed = unsafe {
        helpers::generated::bpf_skb_load_bytes(context.skb.skb.cast(), start, writer.room().cast(), kept)
    };
    if failed != 0 {
        writer.discard();
        return None;
    }
    let answer = writer.filled(kept);
    writer.set(DnsBody {
        server_address,
        answer_bytes,
        server_port: PORT,
        reserved: 0,
        answer,
        reserved_tail: 0,
    });
    writer.send(&process, RecordKind::Dns, mechanism::DNS_ANSWER, 0, Weight::Bulk);
    Some(())
}
