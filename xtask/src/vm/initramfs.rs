//! Writes the initramfs: a cpio archive in the `newc` format, made in memory so that it can hold devices without root.
//!
//! Format: `Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{boot::Machine, init::Scripts, modules::Module};
use crate::setup;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// The archive that `machine` starts from.
pub(super) fn make(machine: &Machine, modules: &[Module], scripts: &Scripts) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in
        ["bin", "dev", "etc", "modules", "programs", "root", "home", "home/user", "usr", "usr/bin", "var"]
    {
        archive.folder(folder);
    }
    // The kernel opens this before anything is mounted; without it the first process has no stdout.
    archive.entry("dev/console", CHARACTER_DEVICE | 0o600, (5, 1), b"");
    archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    );
    archive.file("etc/group", 0o644, b"root:x:0:\nuser:x:1000:\n");
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost vm\n::1 localhost\n");
    archive.file("init", 0o755, scripts.init.as_bytes());
    archive.file("command", 0o755, scripts.command.as_bytes());
    archive.file("bin/busybox", 0o755, &read(&setup::busybox_program()?)?);
    for program in &machine.programs {
        let Some(name) = program.file_name().and_then(|name| name.to_str()) else {
            bail!("{} has no name that a machine could run it by", program.display());
        };
        archive.file(&format!("programs/{name}"), 0o755, &read(program)?);
    }
    for module in modules {
        archive.file(&format!("modules/{}", module.file_name()), 0o644, &module.bytes);
    }
    Ok(archive.finish())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {} for the initramfs", file.display()))
}

/// An archive being written.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: usize,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, DIRECTORY | 0o755, (0, 0), b"");
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, REGULAR | mode, (0, 0), content);
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let fields: [usize; 13] = [
            self.entries,
            mode as usize,
            0, // owner
            0, // group
            1, // links
            0, // time
            content.len(),
            0, // device it lay on
            0,
            device.0 as usize,
            device.1 as usize,
            name.len() + 1,
            0, // checksum, unused
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    /// Names and contents both end on a multiple of four.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), b"");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_are_aligned_and_headed() {
        let mut archive = Archive::default();
        archive.file("a", 0o644, b"12345");
        let bytes = archive.finish();
        // 110 bytes of header, "a\0", then the content up to the next multiple of four.
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[112..117], b"12345");
        assert_eq!(&bytes[120..126], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }
}
