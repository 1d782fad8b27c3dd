//! Why the sensor could not start or an order could not be carried out, with what to do next.

use thiserror::Error;

/// See the variants; each says what failed, on what, and what to do.
#[derive(Debug, Error)]
pub enum SensorError {
    /// No BTF of the running kernel.
    #[error(
        "this kernel's type information cannot be read from {path}: {source}; mcp-monitor needs a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y (every current distribution kernel is)"
    )]
    NoBtf {
        /// Where it was looked for.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// BTF that cannot be understood.
    #[error("the kernel's type information is not understood: {0}; please report the kernel release")]
    BadBtf(String),
    /// A required field is missing.
    #[error(
        "this kernel ({release}) has no {structure}.{member}, which mcp-monitor needs; please report the kernel release"
    )]
    MissingField {
        /// `uname -r`.
        release: String,
        /// The structure.
        structure: &'static str,
        /// Its member.
        member: &'static str,
    },
    /// The object speaks another wire.
    #[error(
        "the kernel programs in this binary do not belong to it (ABI {found:#x}, expected {expected:#x}); rebuild it"
    )]
    Abi {
        /// In the object.
        found: u64,
        /// In the agent.
        expected: u64,
    },
    /// Loading the object failed.
    #[error(
        "the kernel programs cannot be loaded: {reason}; `mcp-monitor doctor` tells what this host offers"
    )]
    Load {
        /// The loader's words.
        reason: String,
    },
    /// Not permitted.
    #[error(
        "not permitted to load kernel programs: {reason}; run as root (sudo mcp-monitor …) or with CAP_BPF, \
         CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and CAP_NET_ADMIN"
    )]
    NotPermitted {
        /// The refused operation.
        reason: String,
    },
    /// No tier works.
    #[error(
        "no way of observing works on this host{forced}:\n{reasons}\n`mcp-monitor doctor` tells how to repair it"
    )]
    NoTier {
        /// ` (only the tier … was tried)` or empty.
        forced: String,
        /// One line per tier.
        reasons: String,
    },
    /// A map operation failed.
    #[error("an order to the kernel programs failed ({what}): {reason}")]
    Order {
        /// Which.
        what: &'static str,
        /// Why.
        reason: String,
    },
}
