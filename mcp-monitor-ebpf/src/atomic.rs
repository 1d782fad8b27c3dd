//! The one atomic that every supported kernel has: addition without a result.

/// Adds to `*target`.
///
/// # Safety
/// `target` points into a map value and is aligned.
#[inline(always)]
pub(crate) unsafe fn add(target: *mut u64, value: u64) {
    // SAFETY: the caller's promise. The result is not used, so that LLVM emits BPF_XADD, known since 3.18, and not
    // the fetching form that 5.10 refuses.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
            target, value,
        )
    };
}
