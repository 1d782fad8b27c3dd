//! Programs, reaching into processes, and what could not be seen.

use super::{super::*, play::*};
use crate::event::{
    BootNs, CoverageNote, ExecObject, FileObject, Process, ProcessId, ProcessKey, SnoopObject, SnoopWay,
};

#[test]
fn process_snoop() {
    let mut play = Play::plain();
    let child = ProcessKey { pid: ProcessId(101), start: BootNs(101), exec_id: 1 };
    play.done(&server(), Action::Fork(child));
    let environ = |pid: u32| {
        Action::Open(FileObject { filesystem_magic: 0x9fa0, ..file(&format!("/proc/{pid}/environ")) })
    };
    assert_eq!(play.rule(&server(), environ(1)), Some(Rule::ProcessSnoop));
    assert_eq!(play.rule(&server(), environ(100)), None, "its own");
    assert_eq!(play.rule(&server(), environ(101)), None, "its child");
    let in_child = Process { key: child, ..server() };
    assert_eq!(play.rule(&in_child, environ(100)), Some(Rule::ProcessSnoop), "its parent");
    let named_so = FileObject { filesystem_magic: 0xef53, ..file("/home/u/12/environ") };
    assert_eq!(play.rule(&server(), Action::Open(named_so)), None);

    let snoop = |pid: u32| {
        Action::Snoop(SnoopObject {
            target: ProcessId(pid),
            target_start: None,
            target_segment: None,
            target_executable: None,
            way: SnoopWay::AccessCheck,
        })
    };
    assert_eq!(play.rule(&server(), snoop(1)), Some(Rule::ProcessSnoop));
    assert_eq!(play.rule(&server(), snoop(101)), None);
    assert_eq!(play.tried(&server(), snoop(1), Outcome::Failed(libc::EPERM)).rule, None);
}

#[test]
fn numbers_in_a_pid_namespace_are_its_own() {
    let mut play = Play::plain();
    let inside = Process { namespace_pid: 3, ..server() };
    let environ = |pid: u32| {
        Action::Open(FileObject { filesystem_magic: 0x9fa0, ..file(&format!("/proc/{pid}/environ")) })
    };
    assert_eq!(play.rule(&inside, environ(3)), None);
    assert_eq!(play.rule(&inside, environ(4)), Some(Rule::ProcessSnoop));
}

#[test]
fn hidden_exec() {
    let mut play = Play::plain();
    for path in ["/tmp/x", "/dev/shm/x", "/home/u/.x/run"] {
        assert_eq!(play.rule(&server(), exec(path)), Some(Rule::HiddenExec), "{path}");
    }
    for path in [
        "/usr/bin/git",
        "/home/u/.npm/_npx/a/node_modules/.bin/x",
        "/home/u/.cache/uv/archive-v0/a/bin/python",
    ] {
        assert_eq!(play.rule(&server(), exec(path)), None, "{path}");
    }
    let memory = |name: &str| {
        let executable = FileObject { links: 0, ..file(name) };
        Action::Exec(Box::new(ExecObject { executable, ..ExecObject::default() }))
    };
    assert_eq!(play.rule(&server(), memory("memfd:x")), Some(Rule::HiddenExec));
    assert_eq!(play.rule(&server(), memory("/memfd:runc_cloned:/proc/self/exe")), Some(Rule::HiddenExec));
    assert_eq!(Play::agent().rule(&server(), memory("/memfd:runc_cloned:/proc/self/exe")), None);
    assert_eq!(play.rule(&server(), memory("/usr/bin/gone")), Some(Rule::HiddenExec));
}

#[test]
fn coverage_loss() {
    let mut play = Play::plain();
    let note = |cause| Action::Coverage(CoverageNote { cause, what: "records were lost".into(), count: 3 });
    assert_eq!(play.rule(&server(), note("ring-full")), Some(Rule::CoverageLoss));
    assert_eq!(play.rule(&server(), note("lineage-insert")), Some(Rule::LineageEscape));
    assert_eq!(play.rule(&server(), note("weaker-mechanism")), None);
}
