//! A reader of BTF, the kernel's type information: offsets and sizes of members, values of enumerators, parameters
//! of tracepoints. Checked throughout: a damaged blob is an error, never a panic.
//!
//! Format: `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h`.

use std::collections::HashMap;

use super::SensorError;

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;
/// How deep anonymous members and modifiers are followed.
const DEPTH_MAX: usize = 16;
/// Members that one search looks at: in a damaged blob an anonymous member may be its own structure, many times over.
const MEMBERS_MAX: usize = 1 << 16;

/// A kernel's BTF.
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Offset of each type in `bytes`; index 0 is `void`.
    types: Vec<usize>,
    /// First structure or union of a name, and typedefs and enums under `t:` and `e:`.
    structures: HashMap<Vec<u8>, usize>,
    typedefs: HashMap<Vec<u8>, usize>,
    enumerations: Vec<usize>,
}

/// Where a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// From the begin of the structure.
    pub offset_bytes: u32,
    /// Of the member; 0 when unknown.
    pub size_bytes: u32,
}

/// The head of a type.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    count: u32,
    bit_fields: bool,
    /// Size, or the type that is referred to.
    size_or_target: u32,
    /// Where what follows the head begins.
    rest: usize,
}

impl Btf {
    /// Parses a blob such as `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// When it is not little-endian BTF or ends early.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, SensorError> {
        let bad = |what: &str| SensorError::BadBtf(what.to_owned());
        if bytes.get(0..2) != Some(&MAGIC.to_le_bytes()) {
            return Err(bad("it does not begin with the magic number"));
        }
        let word = |at: usize| read_word(&bytes, at).ok_or_else(|| bad("the header ends early"));
        let header = word(4)? as usize;
        let types_at = header + word(8)? as usize;
        let types_end = types_at + word(12)? as usize;
        let strings = header + word(16)? as usize;
        let mut parsed = Self {
            strings,
            types: vec![0],
            structures: HashMap::new(),
            typedefs: HashMap::new(),
            enumerations: Vec::new(),
            bytes,
        };
        let mut at = types_at;
        while at < types_end {
            let Some(head) = parsed.head(at) else { return Err(bad("a type ends early")) };
            let index = parsed.types.len();
            parsed.types.push(at);
            match head.kind {
                KIND_STRUCT | KIND_UNION => {
                    let name = parsed.name(head.name).to_vec();
                    if !name.is_empty() {
                        parsed.structures.entry(name).or_insert(index);
                    }
                }
                KIND_TYPEDEF => {
                    let name = parsed.name(head.name).to_vec();
                    if name.starts_with(b"btf_trace_") {
                        parsed.typedefs.entry(name).or_insert(index);
                    }
                }
                KIND_ENUM => parsed.enumerations.push(index),
                _ => {}
            }
            at = head.rest + rest_bytes(&head);
        }
        Ok(parsed)
    }

    /// The member that one of `spellings` names; dots go into members, anonymous members are searched.
    #[must_use]
    pub fn member(&self, structure: &str, spellings: &[&str]) -> Option<Member> {
        let index = *self.structures.get(structure.as_bytes())?;
        spellings.iter().find_map(|spelling| {
            let mut found = Member { offset_bytes: 0, size_bytes: 0 };
            let mut of = index;
            let mut members = MEMBERS_MAX;
            for part in spelling.split('.') {
                let (offset_bits, member_type) = self.find(of, part.as_bytes(), 0, &mut members)?;
                found.offset_bytes = found.offset_bytes.checked_add(offset_bits / 8)?;
                found.size_bytes = self.size(member_type, 0).unwrap_or(0);
                of = member_type;
            }
            Some(found)
        })
    }

    /// The value of an enumerator.
    #[must_use]
    pub fn enumerator(&self, name: &str) -> Option<u32> {
        self.enumerations.iter().find_map(|&index| {
            let head = self.head(*self.types.get(index)?)?;
            (0..head.count as usize).find_map(|n| {
                let at = head.rest + n * 8;
                let found = self.name(read_word(&self.bytes, at)?) == name.as_bytes();
                if found { read_word(&self.bytes, at + 4) } else { None }
            })
        })
    }

    /// How a raw tracepoint's arguments look: for each whether it is a pointer. `None` without the tracepoint.
    #[must_use]
    pub fn tracepoint(&self, name: &str) -> Option<Vec<bool>> {
        let index = *self.typedefs.get(format!("btf_trace_{name}").as_bytes())?;
        let pointer = self.head(*self.types.get(index)?)?.size_or_target as usize;
        let prototype = self.head(*self.types.get(pointer)?)?.size_or_target as usize;
        let head = self.head(*self.types.get(prototype)?)?;
        if head.kind != KIND_FUNC_PROTO {
            return None;
        }
        // The first parameter is the probe's own data.
        (1..head.count as usize)
            .map(|n| {
                let parameter = read_word(&self.bytes, head.rest + n * 8 + 4)? as usize;
                let resolved = self.resolve(parameter, 0)?;
                Some(self.head(*self.types.get(resolved)?)?.kind == KIND_PTR)
            })
            .collect()
    }

    fn head(&self, at: usize) -> Option<Type> {
        let info = read_word(&self.bytes, at + 4)?;
        Some(Type {
            name: read_word(&self.bytes, at)?,
            kind: (info >> 24) & 0x1f,
            count: info & 0xffff,
            bit_fields: info >> 31 == 1,
            size_or_target: read_word(&self.bytes, at + 8)?,
            rest: at + 12,
        })
    }

    fn name(&self, offset: u32) -> &[u8] {
        let from = self.bytes.get(self.strings + offset as usize..).unwrap_or_default();
        from.iter().position(|&byte| byte == 0).map_or(from, |end| &from[..end])
    }

    /// Bit offset and type of a member, anonymous members included.
    fn find(&self, index: usize, name: &[u8], depth: usize, members: &mut usize) -> Option<(u32, usize)> {
        if depth > DEPTH_MAX {
            return None;
        }
        let index = self.resolve(index, 0)?;
        let head = self.head(*self.types.get(index)?)?;
        if head.kind != KIND_STRUCT && head.kind != KIND_UNION {
            return None;
        }
        (0..head.count as usize).find_map(|n| {
            *members = members.checked_sub(1)?;
            let at = head.rest + n * 12;
            let member_name = self.name(read_word(&self.bytes, at)?);
            let member_type = read_word(&self.bytes, at + 4)? as usize;
            let raw = read_word(&self.bytes, at + 8)?;
            let (offset, bit_size) = if head.bit_fields { (raw & 0x00ff_ffff, raw >> 24) } else { (raw, 0) };
            if member_name == name {
                // A bit-field cannot be read as a whole value.
                return (bit_size == 0).then_some((offset, member_type));
            }
            if member_name.is_empty() {
                let (inner, inner_type) = self.find(member_type, name, depth + 1, members)?;
                return Some((offset.checked_add(inner)?, inner_type));
            }
            None
        })
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut index: usize, mut depth: usize) -> Option<usize> {
        loop {
            let head = self.head(*self.types.get(index)?)?;
            match head.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG
                    if depth < DEPTH_MAX =>
                {
                    index = head.size_or_target as usize;
                    depth += 1;
                }
                _ => return Some(index),
            }
        }
    }

    fn size(&self, index: usize, depth: usize) -> Option<u32> {
        if depth > DEPTH_MAX {
            return None;
        }
        let head = self.head(*self.types.get(self.resolve(index, 0)?)?)?;
        match head.kind {
            KIND_PTR => Some(8),
            KIND_ARRAY => {
                let element = read_word(&self.bytes, head.rest)? as usize;
                let count = read_word(&self.bytes, head.rest + 8)?;
                self.size(element, depth + 1)?.checked_mul(count)
            }
            KIND_INT | KIND_STRUCT | KIND_UNION | KIND_ENUM | KIND_ENUM64 => Some(head.size_or_target),
            _ => None,
        }
    }
}

/// Bytes that follow a type's head.
fn rest_bytes(head: &Type) -> usize {
    let count = head.count as usize;
    match head.kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => count * 12,
        KIND_ENUM | KIND_FUNC_PROTO => count * 8,
        _ => 0,
    }
}

fn read_word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The running kernel's own BTF, where it has one.
    fn vmlinux() -> Option<Btf> {
        Some(Btf::parse(std::fs::read("/sys/kernel/btf/vmlinux").ok()?).expect("the kernel's own BTF parses"))
    }

    #[test]
    fn members_are_found_through_anonymous_and_dotted_ones() {
        let Some(btf) = vmlinux() else {
            eprintln!("not run: this host has no /sys/kernel/btf/vmlinux");
            return;
        };
        let tgid = btf.member("task_struct", &["tgid"]).expect("every kernel has tgid");
        assert_eq!(tgid.size_bytes, 4);
        let hash = btf.member("qstr", &["hash_len"]).expect("in an anonymous union");
        assert_eq!(hash, Member { offset_bytes: 0, size_bytes: 8 });
        let family = btf.member("sock", &["__sk_common.skc_family"]).expect("dotted");
        assert_eq!(family.size_bytes, 2);
        assert_eq!(btf.member("task_struct", &["no_such_member"]), None);
        assert_eq!(btf.member("task_struct", &["no_such_member", "tgid"]), Some(tgid));
    }

    #[test]
    fn a_damaged_blob_is_an_error_and_never_a_panic() {
        assert!(Btf::parse(vec![]).is_err());
        assert!(Btf::parse(b"nonsense".to_vec()).is_err());
        let Ok(blob) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("not run: this host has no /sys/kernel/btf/vmlinux");
            return;
        };
        for end in [1, 7, 23, 24, 25, 1000, 4097, blob.len() / 2] {
            if let Ok(btf) = Btf::parse(blob[..end.min(blob.len())].to_vec()) {
                let _ = btf.member("task_struct", &["tgid"]);
                let _ = btf.tracepoint("sched_process_exec");
            }
        }
    }
}
