//! Reading kernel structures: every look-up goes through [`get`], with offsets that user space patched into
//! `.rodata` from the running kernel's BTF. What cannot be read is zero.

use core::mem::MaybeUninit;

use aya_ebpf::{Global, helpers};
use mcp_monitor_common::{digest::ABI_DIGEST as DIGEST, kernel_fields, kernel_fields::ABSENT};

/// An address in the kernel. Only ever read through [`get`].
pub(crate) type Address = *const u8;

macro_rules! globals {
    ($($symbol:ident $structure:literal [$($spelling:literal),+] $size:literal $need:ident;)+) => {
        $(
            #[unsafe(no_mangle)]
            pub(crate) static $symbol: Global<u32> = Global::new(ABSENT);
        )+
    };
}
kernel_fields!(globals);

/// Checked by the loader before anything is loaded.
#[unsafe(no_mangle)]
static ABI_DIGEST: Global<u64> = Global::new(DIGEST);
/// 1 when repeats are counted instead of sent.
#[unsafe(no_mangle)]
pub(crate) static RELIEF_ENABLED: Global<u32> = Global::new(1);
/// 1 when opens of published secrets are told of processes outside every lineage, too.
#[unsafe(no_mangle)]
pub(crate) static BYSTANDERS_ENABLED: Global<u32> = Global::new(0);
/// Bytes of the ring buffer.
#[unsafe(no_mangle)]
pub(crate) static RING_CAPACITY: Global<u32> = Global::new(mcp_monitor_common::limits::RING_BYTES);
/// `mechanism::Tier` in use.
#[unsafe(no_mangle)]
pub(crate) static TIER: Global<u32> = Global::new(0);
/// `map::io_uring_shape`.
#[unsafe(no_mangle)]
pub(crate) static IO_URING_SHAPE: Global<u32> = Global::new(0);
/// Index of the `pids` controller in `css_set.subsys`.
#[unsafe(no_mangle)]
pub(crate) static CGROUP_V1_SUBSYSTEM: Global<u32> = Global::new(ABSENT);

/// True when this kernel has the field.
#[inline(always)]
pub(crate) fn has(field: &Global<u32>) -> bool {
    field.load() != ABSENT
}

/// The member's address; null when the field is absent. Of a null base it is a small number, which cannot be read.
#[inline(always)]
pub(crate) fn at(base: Address, field: &Global<u32>) -> Address {
    let offset = field.load();
    if offset == ABSENT {
        return core::ptr::null();
    }
    base.wrapping_add(offset as usize)
}

/// Reads a value at an address; zero when that fails.
///
/// Without a branch on the helper's result: a branch at each of dozens of reads multiplies the states that the
/// verifier walks through.
#[inline(always)]
pub(crate) fn read<T: Plain>(address: Address) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address, and fills the value with zeros when it cannot be read
    // (kernel/trace/bpf_trace.c, bpf_probe_read_kernel_common). `Plain` types are valid for every bit pattern.
    unsafe {
        helpers::generated::bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address.cast(),
        );
        value.assume_init()
    }
}

/// Reads a value of user memory; zero when that fails.
#[inline(always)]
pub(crate) fn read_user<T: Plain>(address: Address) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `read`.
    unsafe {
        helpers::generated::bpf_probe_read_user(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address.cast(),
        );
        value.assume_init()
    }
}

/// Where a head is read to. One room serves several heads in turn: the compiler would give each a place of its own on a
/// stack of 512 bytes.
pub(crate) type Room<const WORDS: usize> = MaybeUninit<[u64; WORDS]>;

/// The first `WORDS` words of a structure, read at once: a call of the helper costs more than what it copies.
pub(crate) struct Head<'room, const WORDS: usize> {
    base: Address,
    words: &'room Room<WORDS>,
}

impl<'room, const WORDS: usize> Head<'room, WORDS> {
    #[inline(always)]
    pub(crate) fn of(base: Address, room: &'room mut Room<WORDS>) -> Self {
        // SAFETY: as in `read`.
        unsafe {
            helpers::generated::bpf_probe_read_kernel(
                room.as_mut_ptr().cast(),
                (WORDS * 8) as u32,
                base.cast(),
            );
        }
        Self { base, words: room }
    }

    /// A member; one that lies further back on this kernel is read by itself. The verifier prunes what is not this
    /// kernel's.
    #[inline(always)]
    pub(crate) fn get<T: Plain>(&self, field: &Global<u32>) -> T {
        if field.load() == ABSENT {
            return T::default();
        }
        self.read(field.load())
    }

    /// A pointer member.
    #[inline(always)]
    pub(crate) fn pointer(&self, field: &Global<u32>) -> Address {
        self.get::<u64>(field) as Address
    }

    /// A member of the structure that is the member `outer`.
    #[inline(always)]
    pub(crate) fn inner<T: Plain>(&self, outer: &Global<u32>, field: &Global<u32>) -> T {
        if outer.load() == ABSENT || field.load() == ABSENT {
            return T::default();
        }
        self.read(outer.load() + field.load())
    }

    #[inline(always)]
    fn read<T: Plain>(&self, offset: u32) -> T {
        if offset as usize + size_of::<T>() > WORDS * 8 {
            return read(self.base.wrapping_add(offset as usize));
        }
        // SAFETY: the member lies within the words, which were filled by the helper; volatile, since the offset is known
        // to the verifier only.
        unsafe { self.words.as_ptr().cast::<u8>().add(offset as usize).cast::<T>().read_volatile() }
    }
}

/// Integers and arrays of them: valid for every bit pattern.
pub(crate) trait Plain: Copy + Default {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for i32 {}
impl Plain for u64 {}
impl Plain for [u8; 16] {}
impl Plain for [u32; 4] {}
impl Plain for [u64; 2] {}
impl Plain for [u64; 3] {}

/// Reads a member; zero when the kernel lacks it or reading fails.
#[inline(always)]
pub(crate) fn get<T: Plain>(base: Address, field: &Global<u32>) -> T {
    let offset = field.load();
    if offset == ABSENT {
        return T::default();
    }
    read(base.wrapping_add(offset as usize))
}

/// Reads a pointer member; null when that fails.
#[inline(always)]
pub(crate) fn pointer(base: Address, field: &Global<u32>) -> Address {
    get::<u64>(base, field) as Address
}

/// The current `task_struct`.
#[inline(always)]
pub(crate) fn current_task() -> Address {
    // SAFETY: no argument; always available.
    unsafe { helpers::bpf_get_current_task() as Address }
}

/// `value & mask`, in a way that the compiler cannot find needless: it often knows the bound from comparisons that
/// the verifier does not connect with the register at hand.
#[inline(always)]
pub(crate) fn bounded(value: u32, mask: u32) -> u32 {
    core::hint::black_box(value) & mask
}
