//! Reading records out of the ring buffer.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::SensorError;

/// The ring's reading end.
pub struct Ring {
    ring: RingBuf<MapData>,
}

/// Tells when records wait, through a descriptor of its own, so that waiting and reading do not borrow each other.
pub struct Readiness {
    descriptor: AsyncFd<OwnedFd>,
}

impl Ring {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, SensorError> {
        let failed = |reason: String| SensorError::Order { what: "open the ring buffer", reason };
        let map = ebpf.take_map("RING").ok_or_else(|| failed("it is not in the object".to_owned()))?;
        Ok(Self { ring: RingBuf::try_from(map).map_err(|error| failed(error.to_string()))? })
    }

    /// Hands up to `limit` waiting records to `take`; gives how many there were.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(item) = self.ring.next() else { break };
            take(&item);
            count += 1;
        }
        count
    }

    /// Readiness of this ring within a tokio runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be registered.
    pub fn readiness(&self) -> Result<Readiness, SensorError> {
        let failed = |reason: String| SensorError::Order { what: "wait for the ring buffer", reason };
        let own = self.ring.as_fd().try_clone_to_owned().map_err(|error| failed(error.to_string()))?;
        // SAFETY: the descriptor is owned by the AsyncFd that is made here and is closed with it, never before.
        let descriptor = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }
            .map_err(|error| failed(error.to_string()))?;
        Ok(Readiness { descriptor })
    }
}

impl Readiness {
    /// Waits until the kernel programs ask for attention. Bulk records do not: look every 10 ms as well.
    pub async fn wait(&self) {
        if let Ok(mut guard) = self.descriptor.readable().await {
            guard.clear_ready();
        }
    }
}
