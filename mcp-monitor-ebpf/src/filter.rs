//! What is not sent: repeats that are counted instead, and bulk of a segment that has used up its share of a ring
//! that is filling up. And what is sent before all else: records of published secrets.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers,
    macros::map,
    maps::{Array, HashMap},
};
use mcp_monitor_common::{
    limits::{RELIEF_MAX, SECRETS_MAX, SEGMENT_TOKENS_MAX, SEGMENT_TOKENS_PER_SECOND},
    map::{HINTS_PER_ELEMENT, ReliefKey, SECRET_HINTS as HINTS, SecretMark, SecretName, secret_hint},
    record::FileIdentity,
};

use crate::{atomic, kernel, kernel::Address, lineage::SEGMENTS};

/// Secrets by object. The generation of a key is 0: user space cannot read it from stat(2).
#[map]
static SECRET_OBJECTS: HashMap<FileIdentity, SecretMark> = HashMap::with_max_entries(SECRETS_MAX, 0);
/// Secrets by directory and name, so that a replaced secret is one from its first moment.
#[map]
static SECRET_NAMES: HashMap<SecretName, SecretMark> = HashMap::with_max_entries(SECRETS_MAX, 0);
/// Which places are worth a look-up: a byte that is 0 says that no object and no directory of a secret has it. Set by
/// user space before it publishes, and never taken back.
#[map]
static SECRET_HINTS: Array<[u8; HINTS_PER_ELEMENT]> =
    Array::with_max_entries((HINTS / HINTS_PER_ELEMENT) as u32, BPF_F_MMAPABLE);
/// Repeats that were counted, read and emptied by user space.
#[map]
static RELIEF: HashMap<ReliefKey, u64> = HashMap::with_max_entries(RELIEF_MAX, 0);

/// What to do with an occurrence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Send it; repeats will be sent too.
    Send,
    /// Send it; repeats will be counted.
    First,
    /// Counted.
    Counted,
}

/// Counts an occurrence of `key`, or says that it is the first.
#[inline(always)]
pub(crate) fn repeat(key: &ReliefKey) -> Repeat {
    if kernel::RELIEF_ENABLED.load() == 0 {
        return Repeat::Send;
    }
    if let Some(count) = RELIEF.get_ptr_mut(key) {
        // SAFETY: points to a value of the map.
        unsafe { atomic::add(count, 1) };
        return Repeat::Counted;
    }
    // 1 is BPF_NOEXIST: of two that are first at once one is sent and the other counted.
    if RELIEF.insert(key, &0, 1).is_ok() { Repeat::First } else { Repeat::Send }
}

/// Undoes [`Repeat::First`] when the record could not be sent, so that the next occurrence is the first.
#[inline(always)]
pub(crate) fn forget(key: &ReliefKey) {
    let _ = RELIEF.remove(key);
}

/// The published mark of an object, if it is a secret by identity or by directory and name.
#[inline(always)]
pub(crate) fn secret(file: &FileIdentity, parent_inode: u64, dentry: Address) -> Option<SecretMark> {
    mark(found(file, parent_inode, dentry))
}

/// The same as a number: the entry's plus one, and the action above 32 bits; 0 when there is no mark.
#[inline(always)]
pub(crate) fn found(file: &FileIdentity, parent_inode: u64, dentry: Address) -> u64 {
    if !hinted(file.inode, file.device) && !hinted(parent_inode, file.device) {
        return 0;
    }
    secret_of(file.inode, u64::from(file.device), parent_inode, dentry as u64)
}

/// What [`found`] gave.
#[inline(always)]
pub(crate) fn mark(found: u64) -> Option<SecretMark> {
    if found == 0 {
        return None;
    }
    Some(SecretMark { entry: found as u32 - 1, action: (found >> 32) as u32 })
}

/// False when no secret is this object or lies in this directory, for sure.
#[inline(always)]
fn hinted(inode: u64, device: u32) -> bool {
    let place = secret_hint(inode, device);
    match SECRET_HINTS.get_ptr((place / HINTS_PER_ELEMENT) as u32) {
        // SAFETY: the mask keeps the place within the element; volatile, since user space writes it.
        Some(element) => unsafe {
            element.cast::<u8>().add(place & (HINTS_PER_ELEMENT - 1)).read_volatile() != 0
        },
        None => true,
    }
}

/// A function of its own for the sake of the stack: its keys take place only while it runs. Gives what [`found`] does.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn secret_of(inode: u64, device: u64, parent_inode: u64, dentry: u64) -> u64 {
    let key = FileIdentity { inode, device: device as u32, generation: 0 };
    // SAFETY: the value is copied at once.
    if let Some(mark) = unsafe { SECRET_OBJECTS.get(&key) } {
        return (u64::from(mark.action) << 32) | (u64::from(mark.entry) + 1);
    }
    let name = kernel::at(dentry as Address, &kernel::DENTRY_NAME);
    let name_bytes = (kernel::get::<u64>(name, &kernel::QSTR_HASH_LEN) >> 32) as u32;
    let mut key = MaybeUninit::<SecretName>::uninit();
    let to = key.as_mut_ptr();
    let kept = if name_bytes > 64 { 64 } else { name_bytes };
    // SAFETY: every field is written, and in place. The name is cleared word by word (it is aligned behind 16 bytes): the
    // compiler would call a function for it, whose stack frame is one too many on 5.10. At most 64 bytes are read into
    // an array of 64, and the value that is found is copied at once.
    unsafe {
        (*to).parent_inode = parent_inode;
        (*to).device = device as u32;
        (*to).name_bytes = name_bytes;
        let words = (&raw mut (*to).name).cast::<u64>();
        let mut word = 0;
        while word < 8 {
            core::ptr::write_volatile(words.add(word), 0);
            word += 1;
        }
        helpers::generated::bpf_probe_read_kernel(
            words.cast(),
            kernel::bounded(kept.wrapping_sub(1), 63) + 1,
            kernel::pointer(name, &kernel::QSTR_NAME).cast(),
        );
        match SECRET_NAMES.get(&*to) {
            Some(mark) => (u64::from(mark.action) << 32) | (u64::from(mark.entry) + 1),
            None => 0,
        }
    }
}

/// Takes a token of the segment's bucket. A segment that is not known shares the host's bucket, segment 0.
#[inline(always)]
pub(crate) fn take_token(segment: u64, now: u64) -> bool {
    let Some(state) = SEGMENTS.get_ptr_mut(&segment) else { return false };
    // SAFETY: points to a value of the map. CPUs race here: a bucket may give a few tokens too many or too few,
    // which shifts the share a little and loses no count.
    unsafe {
        let elapsed = now.wrapping_sub((*state).refilled_ns);
        if elapsed > 1_000_000 && elapsed < u64::MAX / 2 {
            let seconds_1024 = if elapsed > 8_000_000_000 { 8 * 1024 } else { elapsed / 976_563 };
            let tokens = (*state).tokens + seconds_1024 * SEGMENT_TOKENS_PER_SECOND / 1024;
            (*state).tokens = if tokens > SEGMENT_TOKENS_MAX { SEGMENT_TOKENS_MAX } else { tokens };
            (*state).refilled_ns = now;
        }
        if (*state).tokens == 0 {
            return false;
        }
        (*state).tokens -= 1;
    }
    true
}
