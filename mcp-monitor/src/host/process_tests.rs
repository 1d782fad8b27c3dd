//! Forks, execs, exits, reuse of pids, floods, and what is asked of procfs.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::event::{FileIdentity, FilePath};

#[derive(Default)]
struct Fake {
    known: Mutex<HashMap<ProcessKey, &'static str>>,
    asked: AtomicU64,
}

impl ProcessSource for Arc<Fake> {
    fn process(&self, key: ProcessKey) -> Option<Process> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let executable = *self.known.lock().unwrap().get(&key)?;
        Some(Process { key, executable: executable.into(), bootstrap: true, ..Process::default() })
    }
}

fn table() -> (ProcessTable, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    (ProcessTable::new(Box::new(Arc::clone(&fake)), Users::new("/nonexistent")), fake)
}

fn key(pid: u32, start: u64, exec_id: u32) -> ProcessKey {
    ProcessKey { pid: ProcessId(pid), start: BootNs(start), exec_id }
}

fn file(path: &str, inode: u64) -> FileObject {
    FileObject {
        path: FilePath { bytes: path.into(), ..FilePath::default() },
        identity: Some(FileIdentity { inode, device: 1, generation: 0 }),
        links: 1,
        ..FileObject::default()
    }
}

fn exec(table: &mut ProcessTable, key: ProcessKey, path: &str) -> Arc<Process> {
    let object = ExecObject { executable: file(path, 1), pid_namespace: 4, ..ExecObject::default() };
    let record = ExecRecord { object, namespace_pid: key.pid.0 + 1000, ..ExecRecord::default() };
    table.exec(key, record, false, BootNs(1)).0
}

#[test]
fn a_child_shows_its_parents_program_until_it_executes_its_own() {
    let (mut table, fake) = table();
    exec(&mut table, key(1, 10, 1), "/bin/bash");
    table.fork(key(1, 10, 1), key(2, 20, 1), BootNs(2));
    let child = table.get(key(2, 20, 1), BootNs(3));
    assert_eq!((child.executable.clone(), child.key), ("/bin/bash".into(), key(2, 20, 1)));
    assert_eq!(child.ancestors, [(key(1, 10, 1), "/bin/bash".into())]);
    let child = exec(&mut table, key(2, 20, 2), "/bin/ls");
    assert_eq!(child.ancestors, [(key(1, 10, 1), "/bin/bash".into())]);
    assert!(!child.bootstrap);
    table.fork(key(2, 20, 2), key(3, 30, 2), BootNs(4));
    let grandchild = exec(&mut table, key(3, 30, 3), "/bin/cat");
    let names: Vec<String> = grandchild.ancestors.iter().map(|(_, name)| name.escaped()).collect();
    assert_eq!(names, ["/bin/ls", "/bin/bash"]);
    assert_eq!(fake.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn late_records_of_an_ended_or_replaced_image_find_it() {
    let (mut table, _) = table();
    exec(&mut table, key(1, 10, 1), "/bin/sh");
    exec(&mut table, key(1, 10, 2), "/bin/curl");
    table.exit(key(1, 10, 2), BootNs(5));
    assert_eq!(table.get(key(1, 10, 1), BootNs(6)).executable, "/bin/sh".into());
    assert_eq!(table.get(key(1, 10, 2), BootNs(6)).executable, "/bin/curl".into());
    table.expire(BootNs(KEEP_ENDED_NS + 100));
    assert!(table.is_empty());
}

#[test]
fn a_pid_used_again_is_somebody_else() {
    let (mut table, _) = table();
    exec(&mut table, key(1, 10, 1), "/bin/a");
    // The exit was lost.
    exec(&mut table, key(9, 90, 1), "/bin/parent");
    table.fork(key(9, 90, 1), key(1, 99, 1), BootNs(100));
    assert_eq!(table.by_pid(ProcessId(1)).unwrap().executable, "/bin/parent".into());
    assert_eq!(table.get(key(1, 10, 1), BootNs(101)).executable, "/bin/a".into());
    table.expire(BootNs(2 * KEEP_ENDED_NS));
    assert_eq!(table.len(), 2);
}

#[test]
fn what_nobody_told_is_asked_for_once() {
    let (mut table, fake) = table();
    fake.known.lock().unwrap().insert(key(5, 50, 3), "/usr/sbin/cron");
    let process = table.get(key(5, 50, 3), BootNs(1));
    assert!(process.bootstrap);
    assert_eq!(process.executable, "/usr/sbin/cron".into());
    for _ in 0..10 {
        table.get(key(5, 50, 3), BootNs(1));
        table.get(key(6, 60, 1), BootNs(1));
    }
    assert_eq!(fake.asked.load(Ordering::Relaxed), 2);
    assert_eq!((table.counts().from_procfs, table.counts().unknown), (1, 1));
}

#[test]
fn a_lost_exec_is_replaced_by_procfs_and_keeps_its_ancestors() {
    let (mut table, fake) = table();
    exec(&mut table, key(1, 10, 1), "/bin/bash");
    table.fork(key(1, 10, 1), key(2, 20, 1), BootNs(1));
    fake.known.lock().unwrap().insert(key(2, 20, 2), "/bin/ls");
    let process = table.get(key(2, 20, 2), BootNs(2));
    assert_eq!((process.executable.clone(), process.bootstrap), ("/bin/ls".into(), true));
    assert_eq!(process.ancestors, [(key(1, 10, 1), "/bin/bash".into())]);
}

#[test]
fn stages_give_the_script_and_do_not_outlive_their_exec() {
    let (mut table, _) = table();
    let before = key(1, 10, 1);
    table.stage(before, ThreadId(7), file("/opt/tool.py", 2));
    table.stage(before, ThreadId(7), file("/usr/bin/python3", 1));
    let object = ExecObject {
        executable: file("/usr/bin/python3", 1),
        given_name: "tool.py".into(),
        ..ExecObject::default()
    };
    let record = ExecRecord { object, interpreter_name: "/usr/bin/python3".into(), ..ExecRecord::default() };
    let (process, object) = table.exec(key(1, 10, 2), record, false, BootNs(1));
    assert_eq!(process.script, Some("/opt/tool.py".into()));
    assert_eq!(object.script.unwrap().identity, process.script_identity);
    assert!(table.stages.is_empty());
}

#[test]
fn a_fork_bomb_stays_bounded_and_the_living_are_never_forgotten() {
    let (mut table, _) = table();
    exec(&mut table, key(1, 10, 1), "/bin/bomb");
    let mut parent = key(1, 10, 1);
    for pid in 2..40_000 {
        let child = key(pid, u64::from(pid) * 10, 1);
        table.fork(parent, child, BootNs(20));
        if pid % 2 == 0 {
            table.exit(child, BootNs(20));
        } else {
            parent = child;
        }
    }
    assert!(table.len() <= 20_000 + ENDED_MAX + 2);
    let deepest = table.get(parent, BootNs(21));
    assert_eq!(deepest.ancestors.len(), ANCESTORS_MAX);
    assert_eq!(deepest.ancestors.last().unwrap().0, key(1, 10, 1));
    assert!(table.counts().forgotten_early > 0);
    assert_eq!(table.get(key(3, 30, 1), BootNs(21)).executable, "/bin/bomb".into());
    assert_eq!(table.counts().unknown, 0);
}

#[test]
fn numbers_of_pid_namespaces() {
    let (mut table, _) = table();
    exec(&mut table, key(7, 70, 1), "/bin/a");
    assert_eq!(table.by_namespace_pid(4, 1007).unwrap().key, key(7, 70, 1));
    assert_eq!(table.by_namespace_pid(5, 1007), None);
}
