//! Allow or refuse. Only published identities and names are refusable in the kernel; what is published is an order
//! of user space.

use mcp_monitor_common::map::{ACTION_DENY, SecretMark};
use mcp_monitor_common::record::{HEADER_DENIED, HEADER_SECRET};

/// `-EPERM`.
pub(crate) const REFUSED: i32 = -1;

/// What a hook does, and what its record says about that.
#[derive(Clone, Copy)]
pub(crate) struct Decision {
    /// The hook's result: 0 or a negative errno.
    pub(crate) result: i32,
    /// Header flags.
    pub(crate) flags: u16,
}

/// Decides on an access to an object with this mark. `can_refuse` says whether the mechanism can.
#[inline(always)]
pub(crate) fn access(mark: Option<SecretMark>, can_refuse: bool) -> Decision {
    match mark {
        None => Decision { result: 0, flags: 0 },
        Some(mark) if mark.action == ACTION_DENY && can_refuse => {
            Decision { result: REFUSED, flags: HEADER_SECRET | HEADER_DENIED }
        }
        Some(_) => Decision { result: 0, flags: HEADER_SECRET },
    }
}
