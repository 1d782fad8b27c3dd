//! A digest of the wire, so that an object built from another table is refused before it is loaded.

use crate::{
    kernel_fields::FIELDS,
    map::{LineageEntry, LossKey, ProgramName, ReliefKey, SecretMark, SecretName, SegmentState, SocketOwner},
    mechanism::PROGRAMS,
    record::{RecordHeader, RecordKind},
};

/// The symbol in the object that holds [`ABI_DIGEST`].
pub const ABI_DIGEST_SYMBOL: &str = "ABI_DIGEST";

/// FNV-1a over names and sizes of everything that crosses the wire.
pub const ABI_DIGEST: u64 = digest();

const fn add_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

const fn digest() -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < FIELDS.len() {
        hash = add_bytes(hash, FIELDS[at].symbol.as_bytes());
        at += 1;
    }
    at = 0;
    while at < PROGRAMS.len() {
        hash = add_bytes(hash, PROGRAMS[at].name.as_bytes());
        at += 1;
    }
    at = 0;
    while at < RecordKind::ALL.len() {
        let kind = RecordKind::ALL[at];
        hash = add_bytes(hash, &(kind as u16).to_le_bytes());
        hash = add_bytes(hash, &kind.body_bytes().to_le_bytes());
        at += 1;
    }
    let sizes = [
        size_of::<RecordHeader>(),
        size_of::<LineageEntry>(),
        size_of::<SegmentState>(),
        size_of::<LossKey>(),
        size_of::<ProgramName>(),
        size_of::<SecretName>(),
        size_of::<SecretMark>(),
        size_of::<ReliefKey>(),
        size_of::<SocketOwner>(),
    ];
    at = 0;
    while at < sizes.len() {
        hash = add_bytes(hash, &sizes[at].to_le_bytes());
        at += 1;
    }
    hash
}
