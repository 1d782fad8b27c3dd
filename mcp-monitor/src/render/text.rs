//! Text that fits: hostile bytes made printable, long paths shortened in the middle, numbers with units.

use crate::event::escape;
use std::borrow::Cow;
use unicode_width::UnicodeWidthChar;

/// `bytes` as [`escape`] writes them, borrowed where nothing needs escaping.
pub(crate) fn escaped(bytes: &[u8]) -> Cow<'_, str> {
    let plain = bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\');
    match std::str::from_utf8(bytes) {
        Ok(text) if plain => Cow::Borrowed(text),
        _ => Cow::Owned(escape(bytes)),
    }
}

/// `text` in at most `width` columns: the middle gives way to `…`, since both ends of a path tell the most.
pub(crate) fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if columns(text) <= width {
        return Cow::Borrowed(text);
    }
    let room = width.saturating_sub(1);
    let head_room = room / 3;
    let head = prefix(text.chars(), head_room);
    let tail = prefix(text.chars().rev(), room - columns(&text[..head]));
    Cow::Owned(format!("{}…{}", &text[..head], &text[text.len() - tail..]))
}

/// Bytes of the characters that fit into `room` columns.
fn prefix(characters: impl Iterator<Item = char>, room: usize) -> usize {
    let (mut used, mut bytes) = (0, 0);
    for character in characters {
        used += character.width().unwrap_or(0);
        if used > room {
            break;
        }
        bytes += character.len_utf8();
    }
    bytes
}

/// Columns that `text` takes, character by character as most terminals count.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// `text` filled up with spaces to `width` columns, shortened if it is longer.
pub(crate) fn padded(text: &str, width: usize) -> String {
    let mut text = shortened(text, width).into_owned();
    let missing = width.saturating_sub(columns(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// The name of an errno, e.g. `ECONNREFUSED`; its number when it has none.
pub(crate) fn errno_name(errno: i32) -> String {
    match nix::errno::Errno::from_raw(errno) {
        nix::errno::Errno::UnknownErrno => errno.to_string(),
        known => format!("{known:?}"),
    }
}

/// The name of a file system by its `s_magic`; the number when it is not in the table.
pub(crate) fn filesystem(magic: u64) -> Cow<'static, str> {
    Cow::Borrowed(match magic {
        0x9fa0 => "proc",
        0x6265_6572 => "sysfs",
        0x6367_7270 => "cgroup2",
        0x27_e0eb => "cgroup",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0xef53 => "ext4",
        0x9123_683e => "btrfs",
        0x5846_5342 => "xfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        0x1cd1 => "devpts",
        0x5049_5045 => "pipefs",
        0x534f_434b => "sockfs",
        0x0904_1934 => "anon_inode",
        0x9584_58f6 => "hugetlbfs",
        0x7371_7368 => "squashfs",
        0x6462_6720 => "debugfs",
        0x7472_6163 => "tracefs",
        0xcafe_4a11 => "bpf",
        0x0102_1997 => "9p",
        0xff53_4d42 => "cifs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x4d44 => "vfat",
        other => return Cow::Owned(format!("{other:#x}")),
    })
}

/// Bytes with a unit, for people.
pub(crate) fn byte_count(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::unescape;
    use proptest::prelude::*;

    #[test]
    fn shortening_keeps_both_ends() {
        assert_eq!(shortened("/home/user/project/node_modules/thing/index.js", 21), "/home/…thing/index.js");
        assert_eq!(shortened("/short", 21), "/short");
        assert_eq!(shortened("abc", 0), "…");
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(errno_name(111), "ECONNREFUSED");
        assert_eq!(errno_name(512), "512");
        assert_eq!(filesystem(0x9fa0), "proc");
        assert_eq!(filesystem(0x42), "0x42");
        assert_eq!(byte_count(1023), "1023 B");
        assert_eq!(byte_count(1536), "1.5 KiB");
        assert_eq!(byte_count(u64::MAX), "16777215.9 TiB");
    }

    proptest! {
        #[test]
        fn escaping_loses_nothing_and_is_one_line(bytes: Vec<u8>) {
            let text = escaped(&bytes);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(unescape(&text), Some(bytes));
        }

        #[test]
        fn shortened_text_fits(text in "\\PC*", width in 1usize..80) {
            prop_assert!(columns(&shortened(&text, width)) <= width.max(1));
        }

        #[test]
        fn unescape_never_panics(text: String) {
            let _ = unescape(&text);
        }
    }
}
