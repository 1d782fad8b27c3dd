//! From the bytes of the ring buffer to typed records.
//!
//! Checked: whatever the bytes are, the answer is a [`Record`] or a [`DecodeError`], never a panic and never a read
//! outside the record. Arguments are masked here, so that no unmasked argument exists beyond this module. The
//! answer owns its pieces; a file record costs one allocation for its path.

use mcp_monitor_common::record::{
    BlindBody, DnsBody, ExecBody, ExitBody, FileBody, ForkBody, HEADER_BYSTANDER, NetworkBody, RecordHeader,
    RecordKind, SegmentBody, Slice, SnoopBody,
};

use crate::event::{
    BootNs, Bytes, ExecObject, FileObject, NetworkObject, ProcessId, ProcessKey, SegmentId, SnoopObject,
    ThreadId,
};

mod body;
mod path;
pub(crate) use path::join;
#[cfg(test)]
mod tests;

/// Why bytes are not a record. The caller counts it and goes on with the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the header, the body or the header's own size asks for.
    #[error("record of {have} bytes where {need} are needed")]
    TooShort {
        /// Bytes that there are.
        have: usize,
        /// Bytes that should be there.
        need: usize,
    },
    /// A kind that this version does not know.
    #[error("unknown record kind {0}")]
    UnknownKind(u16),
    /// A slice points outside the tail.
    #[error("piece at {offset} of {length_bytes} bytes is outside a tail of {tail_bytes} bytes")]
    OutsideTail {
        /// Begin of the slice.
        offset: u16,
        /// Its length.
        length_bytes: u16,
        /// What there is.
        tail_bytes: usize,
    },
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// As it came.
    pub header: RecordHeader,
    /// What the header's kind says.
    pub kind: RecordKind,
    /// By kind.
    pub body: RecordBody,
}

impl Record {
    /// The process that did it.
    #[must_use]
    pub fn process(&self) -> ProcessKey {
        ProcessKey {
            pid: ProcessId(self.header.tgid),
            start: BootNs(self.header.start_boottime_ns),
            exec_id: self.header.exec_id,
        }
    }

    /// The thread that did it.
    #[must_use]
    pub fn thread(&self) -> ThreadId {
        ThreadId(self.header.tid)
    }

    /// True when the process belongs to no lineage: it opened a published secret or executed a watched file.
    #[must_use]
    pub fn is_bystander(&self) -> bool {
        self.header.flags & HEADER_BYSTANDER != 0
    }

    /// The segment it was done in.
    #[must_use]
    pub fn segment(&self) -> SegmentId {
        SegmentId(self.header.segment)
    }
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordBody {
    /// A child was created.
    Fork(ProcessKey),
    /// [`RecordKind::ExecStage`], [`RecordKind::Open`] and all the other file kinds.
    File(FileRecord),
    /// A program was executed.
    Exec(Box<ExecRecord>),
    /// A process ended with this wait status.
    Exit(u32),
    /// A segment was opened out of this one; segment 0 when out of nothing, by a watched program.
    Segment(SegmentId),
    /// The network kinds.
    Network(NetworkRecord),
    /// A DNS answer.
    Dns(DnsRecord),
    /// Access to another process.
    Snoop(SnoopRecord),
    /// What the mechanisms in use cannot follow from here on, in words.
    Blind(&'static str),
}

/// A file and what was done to it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRecord {
    /// The file.
    pub object: FileObject,
    /// 0, a negative errno or [`mcp_monitor_common::record::RESULT_PERMITTED`].
    pub result: i32,
    /// Length and hash of the name as in the relief key.
    pub name_hash: u64,
}

/// An executed program with what the kernel knows of the process at that moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecRecord {
    /// Program, arguments (masked), descriptors, namespaces. `script` is not filled yet.
    pub object: ExecObject,
    /// The interpreter as the script names it; empty when there is no script.
    pub interpreter_name: Bytes,
    /// Evidence only.
    pub parent: ProcessKey,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Audit login user id.
    pub login_uid: Option<u32>,
    /// Audit session.
    pub session: Option<u32>,
    /// Controlling terminal.
    pub tty: Option<Bytes>,
    /// cgroup path.
    pub cgroup: Bytes,
    /// cgroup v2 id.
    pub cgroup_id: u64,
    /// The process id in its own pid namespace.
    pub namespace_pid: u32,
    /// Segment flags.
    pub lineage_flags: u32,
}

/// A network object and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRecord {
    /// The connection, datagram or listener.
    pub object: NetworkObject,
    /// 0, a negative errno or [`mcp_monitor_common::record::RESULT_PERMITTED`].
    pub result: i32,
    /// The address came from user memory.
    pub as_given: bool,
    /// As it came, for the relief key.
    pub wire: NetworkBody,
}

/// A DNS answer that is not parsed yet.
#[derive(Clone, PartialEq)]
pub struct DnsRecord {
    /// The resolver.
    pub server: (std::net::IpAddr, u16),
    /// The message, not masked: goes to [`crate::host::dns::parse`] and nowhere else.
    pub answer: Vec<u8>,
    /// The message was longer.
    pub truncated: bool,
}

impl std::fmt::Debug for DnsRecord {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DnsRecord")
            .field("server", &self.server)
            .field("answer_bytes", &self.answer.len())
            .field("truncated", &self.truncated)
            .finish()
    }
}

/// Access to another process and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SnoopRecord {
    /// Who and how.
    pub object: SnoopObject,
    /// 0, a negative errno or [`mcp_monitor_common::record::RESULT_PERMITTED`].
    pub result: i32,
    /// The target's id is numbered by the caller's pid namespace.
    pub namespace_pid: bool,
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let header: RecordHeader = read(bytes)?;
    let need = usize::try_from(header.size_bytes).unwrap_or(usize::MAX);
    let record = bytes.get(..need).ok_or(DecodeError::TooShort { have: bytes.len(), need })?;
    let kind = RecordKind::from_value(header.kind).ok_or(DecodeError::UnknownKind(header.kind))?;
    let rest = record
        .get(size_of::<RecordHeader>()..)
        .ok_or(DecodeError::TooShort { have: need, need: size_of::<RecordHeader>() })?;
    let tail =
        Tail(rest.get(kind.body_bytes()..).ok_or(DecodeError::TooShort {
            have: need,
            need: size_of::<RecordHeader>() + kind.body_bytes(),
        })?);
    let body = match kind {
        RecordKind::Fork => {
            let body: ForkBody = read(rest)?;
            RecordBody::Fork(ProcessKey {
                pid: ProcessId(body.child_tgid),
                start: BootNs(body.child_start_boottime_ns),
                exec_id: body.child_exec_id,
            })
        }
        RecordKind::Exit => RecordBody::Exit(read::<ExitBody>(rest)?.exit_code),
        RecordKind::Segment => RecordBody::Segment(SegmentId(read::<SegmentBody>(rest)?.parent)),
        RecordKind::Exec => RecordBody::Exec(Box::new(body::exec(&read(rest)?, tail)?)),
        RecordKind::Dns => RecordBody::Dns(body::dns(&read(rest)?, tail)?),
        RecordKind::Snoop => RecordBody::Snoop(body::snoop(&read(rest)?)),
        RecordKind::Blind => RecordBody::Blind(body::blind(read(rest)?)),
        RecordKind::Connect
        | RecordKind::Send
        | RecordKind::Accept
        | RecordKind::Listen
        | RecordKind::Close => RecordBody::Network(body::network(kind, &read(rest)?, tail)?),
        RecordKind::ExecStage
        | RecordKind::Open
        | RecordKind::Rename
        | RecordKind::Link
        | RecordKind::Symlink
        | RecordKind::Unlink
        | RecordKind::Truncate
        | RecordKind::Chmod
        | RecordKind::Receive
        | RecordKind::Map => RecordBody::File(body::file(kind, header.flags, &read(rest)?, tail)?),
    };
    Ok(Record { header, kind, body })
}

/// The variable part of a record.
#[derive(Clone, Copy)]
struct Tail<'record>(&'record [u8]);

impl<'record> Tail<'record> {
    fn slice(self, slice: Slice) -> Result<&'record [u8], DecodeError> {
        if slice.length_bytes == 0 {
            return Ok(&[]);
        }
        let begin = usize::from(slice.offset);
        let end = begin + usize::from(slice.length_bytes);
        self.0.get(begin..end).ok_or(DecodeError::OutsideTail {
            offset: slice.offset,
            length_bytes: slice.length_bytes,
            tail_bytes: self.0.len(),
        })
    }
}

/// A type of the wire that may be read from any bytes.
///
/// # Safety
/// Any bit pattern of `size_of::<Self>()` bytes is a valid value: only integers and arrays of them.
unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ty),+) => {
        $(
            // SAFETY: the wire's types hold only integers and arrays of integers.
            unsafe impl Plain for $name {}
        )+
    };
}
plain!(
    RecordHeader,
    FileBody,
    ExecBody,
    ForkBody,
    ExitBody,
    SegmentBody,
    NetworkBody,
    DnsBody,
    SnoopBody,
    BlindBody
);

/// Reads a value from the begin of `bytes`.
fn read<T: Plain>(bytes: &[u8]) -> Result<T, DecodeError> {
    let need = size_of::<T>();
    let bytes = bytes.get(..need).ok_or(DecodeError::TooShort { have: bytes.len(), need })?;
    // SAFETY: `bytes` holds exactly `size_of::<T>()` readable bytes, an unaligned read is asked for, and `Plain`
    // promises that any bit pattern is valid.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
