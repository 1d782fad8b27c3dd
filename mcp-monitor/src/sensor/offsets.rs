//! Where the fields of `kernel_fields` lie on the running kernel, and which shape its tracepoints have.

use mcp_monitor_common::{
    kernel_fields::{ABSENT, FIELDS},
    map::io_uring_shape,
};

use super::{SensorError, btf::Btf};

/// Where the running kernel describes its types.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Everything about this kernel that is patched into the object.
#[derive(Debug, PartialEq, Eq)]
pub struct Offsets {
    /// Symbol and offset in bytes, [`ABSENT`] where the kernel lacks an optional field.
    pub fields: Vec<(&'static str, u32)>,
    /// One of [`io_uring_shape`].
    pub io_uring_shape: u32,
    /// Index of the `pids` controller, or [`ABSENT`].
    pub cgroup_v1_subsystem: u32,
}

impl Offsets {
    /// Finds them in a kernel's BTF.
    ///
    /// # Errors
    /// When a required field is missing or of another size than the programs read.
    pub fn resolve(btf: &Btf, release: &str) -> Result<Self, SensorError> {
        let mut fields = Vec::with_capacity(FIELDS.len());
        for field in FIELDS {
            let found = btf
                .member(field.structure, field.spellings)
                .filter(|member| field.size_bytes == 0 || member.size_bytes == field.size_bytes);
            let offset = match found {
                Some(member) => member.offset_bytes,
                None if field.required => {
                    return Err(SensorError::MissingField {
                        release: release.to_owned(),
                        structure: field.structure,
                        member: field.spellings[0],
                    });
                }
                None => ABSENT,
            };
            fields.push((field.symbol, offset));
        }
        Ok(Self {
            fields,
            io_uring_shape: shape_of_io_uring_complete(btf),
            cgroup_v1_subsystem: btf.enumerator("pids_cgrp_id").unwrap_or(ABSENT),
        })
    }

    /// Reads the running kernel's BTF and finds them.
    ///
    /// # Errors
    /// See [`SensorError`].
    pub fn of_this_kernel() -> Result<Self, SensorError> {
        let bytes =
            std::fs::read(BTF_PATH).map_err(|source| SensorError::NoBtf { path: BTF_PATH, source })?;
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self::resolve(&Btf::parse(bytes)?, release.trim())
    }
}

fn shape_of_io_uring_complete(btf: &Btf) -> u32 {
    match btf.tracepoint("io_uring_complete").as_deref() {
        Some([true, true, true]) => io_uring_shape::REQUEST_CQE,
        Some([true, true, _, _, ..]) => io_uring_shape::REQUEST_RESULT,
        Some([true, false, ..]) => io_uring_shape::USER_DATA,
        _ => io_uring_shape::ABSENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_every_required_field() {
        if !std::path::Path::new(BTF_PATH).exists() {
            eprintln!("not run: this host has no {BTF_PATH}");
            return;
        }
        let offsets = Offsets::of_this_kernel().expect("all required fields");
        assert_eq!(offsets.fields.len(), FIELDS.len());
    }
}
