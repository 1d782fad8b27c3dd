//! Why a record did not reach user space. Counted in the kernel per cause and segment.

/// A cause of loss. The value is half of the key of the `LOSSES` map; 0 is no cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum LossCause {
    /// The ring buffer was full, reserve included.
    RingFull = 1,
    /// A bulk record above the reserve threshold.
    Reserve = 2,
    /// A bulk record of a segment whose token bucket was empty while the ring was over half full.
    Tokens = 3,
    /// All scratch slots of the CPU were in use.
    Scratch = 4,
    /// A lineage entry could not be inserted: a child is not watched.
    LineageInsert = 5,
    /// A segment could not be inserted: its records carry the parent's segment.
    SegmentInsert = 6,
}

impl LossCause {
    /// Every cause, in the order of its value.
    pub const ALL: [Self; 6] = [
        Self::RingFull,
        Self::Reserve,
        Self::Tokens,
        Self::Scratch,
        Self::LineageInsert,
        Self::SegmentInsert,
    ];

    /// The word for people, JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring-full",
            Self::Reserve => "ring-reserve",
            Self::Tokens => "segment-rate",
            Self::Scratch => "scratch",
            Self::LineageInsert => "lineage-insert",
            Self::SegmentInsert => "segment-insert",
        }
    }

    /// The cause with this value, if there is one.
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::RingFull),
            2 => Some(Self::Reserve),
            3 => Some(Self::Tokens),
            4 => Some(Self::Scratch),
            5 => Some(Self::LineageInsert),
            6 => Some(Self::SegmentInsert),
            _ => None,
        }
    }
}
