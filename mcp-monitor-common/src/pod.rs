//! Lets the agent's map library copy the wire's types. All of them are plain old data: integers and arrays, without
//! padding that is not a field, valid for every bit pattern.

use crate::{
    map::{LineageEntry, LossKey, ProgramName, ReliefKey, SecretMark, SecretName, SegmentState, SocketOwner},
    record::FileIdentity,
};

macro_rules! pod {
    ($($type:ty)+) => {
        $(
            // SAFETY: see the module's comment; sizes are asserted where the types are defined.
            unsafe impl aya::Pod for $type {}
        )+
    };
}

pod!(LineageEntry LossKey ProgramName ReliefKey SecretMark SecretName SegmentState SocketOwner FileIdentity);
