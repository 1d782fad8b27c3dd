//! What the kernel programs say of themselves, on standard error: for whoever looks for a mistake in them. Off unless asked
//! for; then they are loaded without a trace of it (`mcp-monitor-ebpf/src/log.rs`).

use std::io::Write as _;

use aya::Ebpf;
use aya_log::EbpfLogger;

use super::SensorError;

/// The symbol that holds the level, and the map that the lines come through; aya-log's own names.
pub(super) const LEVEL_SYMBOL: &str = aya_log::LEVEL;
pub(super) const MAP: &str = "AYA_LOGS";
/// Bytes of that map when nothing comes through: the least that a ring buffer can have.
pub(super) const SILENT_BYTES: u32 = 4096;
/// Bytes of it otherwise. What finds no room is not said.
pub(super) const BYTES: u32 = 1024 * 1024;

/// How much they say; each level says what those before it say, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Diagnostics {
    /// Records that are lost.
    Warn = 2,
    /// Segments that are opened.
    Info = 3,
    /// Labels at fork, exec and exit.
    Debug = 4,
}

/// The reading end.
pub struct Reader {
    logger: EbpfLogger<Talk>,
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, SensorError> {
        let logger = EbpfLogger::init_with_logger(ebpf, Talk).map_err(|error| SensorError::Order {
            what: "open the diagnostics of the kernel programs",
            reason: error.to_string(),
        })?;
        Ok(Self { logger })
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        self.logger.flush();
    }
}

/// Standard error, one line for each message. The kernel programs put numbers into them and nothing else.
#[derive(Clone, Copy, Debug)]
struct Talk;

impl log::Log for Talk {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Nobody to tell when standard error is closed.
        let _ = writeln!(
            std::io::stderr(),
            "mcp-monitor: kernel: {}: {}",
            record.level().as_str().to_lowercase(),
            record.args()
        );
    }

    fn flush(&self) {}
}
