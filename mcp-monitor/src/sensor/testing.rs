//! Records as the kernel writes them, for tests.

use mcp_monitor_common::record::{PathSlice, RecordHeader, RecordKind, Slice};

/// Builds the bytes of one record.
pub(crate) struct RecordBuilder {
    pub(crate) header: RecordHeader,
    tail: Vec<u8>,
}

impl RecordBuilder {
    pub(crate) fn new(kind: RecordKind) -> Self {
        let header = RecordHeader {
            size_bytes: 0,
            kind: kind as u16,
            flags: 0,
            lane: 0,
            mechanism: 0,
            sequence: 1,
            boot_ns: 1_000_000_000,
            segment: 7,
            start_boottime_ns: 500_000_000,
            tgid: 100,
            tid: 100,
            exec_id: 1,
            count: 1,
        };
        Self { header, tail: Vec::new() }
    }

    #[allow(dead_code, reason = "for the tests of other rooms")]
    pub(crate) fn process(mut self, tgid: u32, start_boottime_ns: u64, exec_id: u32) -> Self {
        (self.header.tgid, self.header.tid) = (tgid, tgid);
        (self.header.start_boottime_ns, self.header.exec_id) = (start_boottime_ns, exec_id);
        self
    }

    pub(crate) fn slice(&mut self, bytes: &[u8]) -> Slice {
        let slice = Slice {
            offset: u16::try_from(self.tail.len()).unwrap(),
            length_bytes: u16::try_from(bytes.len()).unwrap(),
        };
        self.tail.extend_from_slice(bytes);
        slice
    }

    /// A walked path, from its usual notation.
    pub(crate) fn path(&mut self, path: &str) -> PathSlice {
        let mut bytes = Vec::new();
        let mut components = 0;
        for part in path.rsplit('/').filter(|part| !part.is_empty()) {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0);
            components += 1;
        }
        PathSlice { bytes: self.slice(&bytes), flags: 0, components }
    }

    pub(crate) fn raw_path(&mut self, bytes: &[u8], flags: u16) -> PathSlice {
        PathSlice { bytes: self.slice(bytes), flags, components: 0 }
    }

    pub(crate) fn finish<Body: Copy>(mut self, body: &Body) -> Vec<u8> {
        let size = size_of::<RecordHeader>() + size_of::<Body>() + self.tail.len();
        self.header.size_bytes = u32::try_from(size).unwrap();
        let mut record = plain_bytes(&self.header).to_vec();
        record.extend_from_slice(plain_bytes(body));
        record.extend_from_slice(&self.tail);
        record
    }
}

fn plain_bytes<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: used with the wire's types only, which have explicit padding, so that every byte is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}
