//! Paths against the secrets catalogue, and type information of a kernel: any bytes are survived.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mcp_monitor::{
    event::{Action, Bytes, FileIdentity, FileObject, FilePath},
    expectation::{
        catalogue::Catalogue,
        glob::{Homes, normalise},
        program::Programs,
        secrets::Secrets,
    },
    sensor::btf::Btf,
};

/// The magic number of BTF, so that no time goes into finding it.
const MAGIC: [u8; 4] = [0x9f, 0xeb, 1, 0];

static PROGRAMS: LazyLock<Programs> =
    LazyLock::new(|| Programs::embedded().expect("the data files are right"));
static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::embedded(&PROGRAMS).expect("the data files are right"));
static HOMES: LazyLock<Homes> = LazyLock::new(|| Homes::new(&["/home/u", "/srv/users/x"]));

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    if first & 1 == 1 {
        types(rest);
    } else {
        paths(rest);
    }
});

fn types(bytes: &[u8]) {
    let Ok(btf) = Btf::parse([&MAGIC, bytes].concat()) else { return };
    let _ = btf.member("task_struct", &["mm.exe_file", "comm", "a"]);
    let _ = btf.member("a", &["a.b", "a", "b"]);
    let _ = btf.enumerator("a");
    let _ = btf.tracepoint("a");
}

fn paths(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (path, target, directory) = (next(), next(), next());
    let normal = normalise(path, directory);
    assert_eq!(normalise(&normal, b"/elsewhere"), normal, "a normal path changes when normalised");
    if let Some(entry) = CATALOGUE.match_path(&normal, &HOMES) {
        assert!(CATALOGUE.entry(entry).is_some(), "an entry that there is not");
    }
    let _ = CATALOGUE.match_path(path, &HOMES);

    let at = |path: &[u8]| FilePath { bytes: Bytes(path.into()), ..FilePath::default() };
    let file = FileObject {
        path: at(path),
        target: Some(at(target)),
        identity: Some(FileIdentity { inode: 1, device: 1, generation: 1 }),
        ..FileObject::default()
    };
    // A set costs little; the catalogue in it does not, so one is used again and holds few objects.
    thread_local! {
        static SECRETS: std::cell::RefCell<Secrets> = std::cell::RefCell::new(Secrets::new(
            Catalogue::embedded(&PROGRAMS).expect("the data files are right"),
            HOMES.clone(),
        ));
    }
    SECRETS.with_borrow_mut(|secrets| {
        for action in [Action::Open, Action::Rename, Action::Link, Action::Symlink, Action::Unlink] {
            secrets.note_change(&action(file.clone()), directory);
        }
        let _ = secrets.match_file(&file, path);
    });
}
