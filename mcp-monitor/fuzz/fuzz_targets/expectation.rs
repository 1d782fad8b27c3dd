//! Expectation files, and lines that are added to them: any text is survived, and what is taken is asked about anything.
#![no_main]

use std::{path::PathBuf, sync::Arc};

use libfuzzer_sys::fuzz_target;
use mcp_monitor::expectation::{
    file::{Compiled, Section, Set, Subject, read::Source},
    glob::Homes,
    learn::allow::{Entry, added},
};

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input).into_owned();
    let source = |text: &str| Source { path: PathBuf::from("x.yaml"), text: text.to_owned() };
    for section in [Section::Read, Section::Exec, Section::Egress] {
        let value = if section == Section::Egress { "a.example:443" } else { "/opt/x" };
        let _ = added(&text, 1, &Entry { section, value: value.into() }, "why");
    }
    let Ok(set) = Set::of_sources(&[source(&text)]) else { return };
    let homes = Homes::new(&["/home/u"]);
    for expectation in set.all() {
        let subject = Subject {
            name: expectation.name.clone(),
            workspaces: vec!["/home/u/work".into()],
            home: Some("/home/u".into()),
            ..Subject::default()
        };
        let compiled = Compiled::new(&Arc::clone(expectation), &subject).expect("what was taken can be used");
        for path in [&b"/home/u/work/a"[..], b"/etc/passwd", b"/", b"", b"a/../b", input] {
            let _ = (compiled.reads(path, &homes), compiled.writes(path, &homes), compiled.runs(path, &homes));
            let _ = compiled.sockets(path, &homes);
        }
        let _ = compiled.name(b"a.example", Some(443), None);
        let _ = compiled.address([192, 0, 2, 1].into(), Some(443), None, false);
    }
});
