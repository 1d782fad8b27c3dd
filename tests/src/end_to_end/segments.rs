//! The kernel's own part of recognition, without the agent: what opens a segment, what is dropped, what is told of
//! processes outside every lineage, and what is refused. The sensor is driven through the library.

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mcp_monitor::{
    event::{FileIdentity, ProcessId, SegmentId},
    sensor::{
        Options, Sensor,
        decode::{Record, RecordBody, decode},
        orders::Label,
        start,
    },
};
use mcp_monitor_common::{
    map::{
        ACTION_DENY, ACTION_OBSERVE, LINEAGE_EXECUTED, SEGMENT_SPLIT, SecretMark, SecretName,
        WATCH_BYSTANDER, WATCH_ENTER, WATCH_SPLIT_ALWAYS,
    },
    mechanism,
    record::{HEADER_DENIED, HEADER_SECRET, RecordKind},
};

use crate::{monitor::Setup, robustness::Check, table::Tier};

/// All checks of this file.
pub(crate) const CHECKS: &[Check] = &[
    ("a watched name opens one before its first instruction", watched_name),
    ("a watched executable opens one whatever its name", watched_executable),
    ("each program started inside a split one has its own", split),
    ("what is not split stays whole but for programs that always split", split_always),
    ("a program executed in place in another mount namespace has its own", moved),
    ("what is dropped is silent until it executes a watched program", dropped),
    ("who opens a published secret outside every lineage is told when asked for", bystanders),
    ("who executes a watched file outside every lineage is told", bystander_exec),
    ("a published secret is refused by identity and by name where that is asked for", refused),
];

/// A sensor and what it has told so far.
struct Watch<'setup> {
    setup: &'setup Setup,
    sensor: Sensor,
    records: Vec<Record>,
    desk: PathBuf,
}

impl<'setup> Watch<'setup> {
    fn new(setup: &'setup Setup, name: &str, bystanders: bool) -> Result<Self> {
        let tier = mechanism::Tier::ALL.into_iter().find(|tier| tier.name() == setup.tier.name());
        let sensor = start(&Options { tier, bystanders, relief: false, ..Options::default() })?;
        let desk = setup.world.scratch.join(format!("segments-{name}"));
        fs::create_dir_all(&desk)?;
        fs::write(desk.join("file"), "content\n")?;
        Ok(Self { setup, sensor, records: Vec::new(), desk })
    }

    /// A copy of the shell, so that its name and identity are its own.
    fn shell(&self, name: &str) -> Result<PathBuf> {
        let copy = self.desk.join(name);
        fs::copy(fs::canonicalize("/bin/sh")?, &copy)?;
        Ok(copy)
    }

    /// A copy of the attack program, for what a shell shall start.
    fn program(&self, name: &str) -> Result<PathBuf> {
        let copy = self.desk.join(name);
        fs::copy(&self.setup.attack, &copy)?;
        Ok(copy)
    }

    fn file(&self) -> PathBuf {
        self.desk.join("file")
    }

    /// Starts a shell that performs one line of its standard input after the other.
    fn script(&self, shell: &Path) -> Result<Script> {
        let mut command = Command::new(shell);
        // A shell that is many programs in one goes by its zeroth argument.
        command.arg0("sh").current_dir(&self.desk).stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Script { child: command.spawn().with_context(|| format!("start {}", shell.display()))? })
    }

    /// Takes in what waits.
    fn drain(&mut self) {
        let records = &mut self.records;
        self.sensor.ring.drain(usize::MAX, |bytes| records.extend(decode(bytes)));
    }

    /// Waits until one record is as wanted.
    fn await_one(&mut self, what: &str, wanted: impl Fn(&Record) -> bool) -> Result<Record> {
        let begin = Instant::now();
        loop {
            self.drain();
            if let Some(record) = self.records.iter().find(|record| wanted(record)) {
                return Ok(record.clone());
            }
            ensure!(begin.elapsed() < self.setup.seconds(10), "no record of {what}: {:#?}", self.short());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for an exec of a program whose path ends like this.
    fn await_exec(&mut self, name: &str) -> Result<Record> {
        self.await_one(&format!("the exec of {name}"), |record| leaf_of_exec(record).as_deref() == Some(name))
    }

    /// What a script read, as the records tell of it.
    fn opens(&mut self) -> Vec<&Record> {
        self.drain();
        let desk = self.desk.join("file");
        self.records.iter().filter(|record| is_open_of(record, &desk)).collect()
    }

    fn short(&self) -> Vec<String> {
        self.records
            .iter()
            .rev()
            .take(20)
            .map(|record| {
                format!(
                    "{:?} pid {} segment {} {}",
                    record.kind,
                    record.process().pid.0,
                    record.segment().0,
                    leaf_of_exec(record).unwrap_or_default()
                )
            })
            .collect()
    }
}

/// A shell that waits for lines.
struct Script {
    child: Child,
}

impl Script {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let mut input = self.child.stdin.as_ref().context("no input")?;
        Ok(writeln!(input, "{line}")?)
    }

    /// Ends it and waits for that.
    fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        Ok(())
    }
}

fn leaf_of_exec(record: &Record) -> Option<String> {
    let RecordBody::Exec(exec) = &record.body else { return None };
    exec.object.executable.path.bytes.escaped().rsplit('/').next().map(str::to_owned)
}

fn is_open_of(record: &Record, path: &Path) -> bool {
    let RecordBody::File(file) = &record.body else { return false };
    record.kind == RecordKind::Open && file.object.path.bytes.escaped() == path.to_string_lossy()
}

fn parent_of(record: &Record) -> Option<u64> {
    match record.body {
        RecordBody::Segment(parent) => Some(parent.0),
        _ => None,
    }
}

fn watched_name(setup: &Setup) -> Result<()> {
    // Longer than what is compared, so that the cut is tested as well.
    let name = format!("watched-{}", "n".repeat(80));
    let mut watch = Watch::new(setup, "name", false)?;
    let (shell, other) = (watch.shell(&name)?, watch.shell(&format!("{name}-not"))?);
    watch.sensor.orders.watch_program(name.as_bytes(), WATCH_ENTER)?;
    for shell in [&other, &shell] {
        let mut script = watch.script(shell)?;
        script.say("read line <file")?;
        script.end()?;
    }
    watch.await_exec(&name)?;
    let records = watch.records.clone();
    let opened = records.first().context("nothing was told")?;
    ensure!(parent_of(opened) == Some(0), "the first record is {:#?}", watch.short());
    ensure!(leaf_of_exec(&records[1]).as_ref() == Some(&name), "the second is {:#?}", watch.short());
    let segment = opened.segment();
    let opens = watch.opens();
    ensure!(opens.len() == 1, "{} opens of the file, where one of two shells is watched", opens.len());
    ensure!(opens[0].segment() == segment, "the open is in segment {:?}", opens[0].segment());
    let state = watch.sensor.orders.segment(segment).context("the kernel has forgotten the segment")?;
    ensure!(state.flags == SEGMENT_SPLIT && state.mount_namespace != 0, "its state is {state:?}");

    watch.sensor.orders.forget_program(name.as_bytes())?;
    let before = watch.records.len();
    watch.script(&shell)?.end()?;
    watch.drain();
    let more = watch.records.split_off(before);
    let more = more.iter().filter(|record| record.kind != RecordKind::Exit).count();
    ensure!(more == 0, "{more} records of a program that is watched no more");
    Ok(())
}

/// The identity of a program as the kernel tells it.
fn identity(watch: &mut Watch, shell: &Path) -> Result<FileIdentity> {
    let name = shell.file_name().context("no name")?.to_string_lossy().into_owned();
    watch.sensor.orders.watch_program(name.as_bytes(), WATCH_ENTER)?;
    watch.script(shell)?.end()?;
    let record = watch.await_exec(&name)?;
    watch.sensor.orders.forget_program(name.as_bytes())?;
    watch.await_one("its end", |record| record.kind == RecordKind::Exit)?;
    watch.records.clear();
    let RecordBody::Exec(exec) = record.body else { unreachable!("it was found as an exec") };
    exec.object.executable.identity.context("no identity")
}

fn watched_executable(setup: &Setup) -> Result<()> {
    let mut watch = Watch::new(setup, "identity", false)?;
    let shell = watch.shell("first-name")?;
    let identity = identity(&mut watch, &shell)?;
    watch.sensor.orders.watch_executable(identity, WATCH_ENTER)?;
    let renamed = watch.desk.join("second-name");
    fs::rename(&shell, &renamed)?;
    watch.script(&renamed)?.end()?;
    let record = watch.await_exec("second-name")?;
    ensure!(record.segment().0 != 0, "its exec is in no segment");
    watch.sensor.orders.forget_executable(identity)?;
    watch.await_one("its end", |record| record.kind == RecordKind::Exit)?;
    watch.records.clear();
    watch.script(&renamed)?.end()?;
    watch.drain();
    ensure!(watch.records.is_empty(), "told after it was forgotten: {:#?}", watch.short());
    Ok(())
}

fn split(setup: &Setup) -> Result<()> {
    let mut watch = Watch::new(setup, "split", false)?;
    let (outer, child) = (watch.shell("outer")?, watch.program("child")?);
    watch.sensor.orders.watch_program(b"outer", WATCH_ENTER)?;
    let mut script = watch.script(&outer)?;
    let root = watch.await_exec("outer")?.segment();
    let child = format!("'{}' read file", child.display());
    script.say(&format!("exec 3<file; {child}; {child}; read line <file"))?;
    script.end()?;
    watch.await_one("the end", |record| record.kind == RecordKind::Exit && record.segment() == root)?;
    let opened: Vec<u64> = watch.records.iter().filter_map(parent_of).collect();
    ensure!(opened == [0, root.0, root.0], "segments were opened out of {opened:?}, the root is {root:?}");
    let segments: Vec<_> = watch.opens().iter().map(|record| record.segment()).collect();
    ensure!(segments.len() == 4, "{} opens, not 4", segments.len());
    ensure!(segments[0] == root && segments[3] == root, "the parent's opens are in {segments:?}");
    ensure!(segments[1] != segments[2] && segments[1] != root, "the children's opens are in {segments:?}");
    Ok(())
}

fn split_always(setup: &Setup) -> Result<()> {
    let mut watch = Watch::new(setup, "always", false)?;
    let (outer, child, nested) = (watch.shell("outer")?, watch.program("child")?, watch.program("nested")?);
    watch.sensor.orders.watch_program(b"outer", WATCH_ENTER)?;
    watch.sensor.orders.watch_program(b"nested", WATCH_ENTER | WATCH_SPLIT_ALWAYS)?;
    let mut script = watch.script(&outer)?;
    let root = watch.await_exec("outer")?.segment();
    ensure!(watch.sensor.orders.set_split(root, false)?, "the segment is not known");
    script.say(&format!("'{}' list", child.display()))?;
    let inside = watch.await_exec("child")?;
    ensure!(inside.segment() == root, "a child has a segment although its parent's is not split");
    script.say(&format!("'{}' list", nested.display()))?;
    let nested = watch.await_exec("nested")?.segment();
    let opened = watch.await_one("its segment", |record| record.segment() == nested)?;
    ensure!(parent_of(&opened) == Some(root.0), "it was opened out of {opened:?}");
    ensure!(watch.sensor.orders.set_split(root, true)?, "the segment is not known");
    script.say(&format!("exec '{}' list", child.display()))?;
    watch.await_one("the end", |record| record.kind == RecordKind::Exit && record.segment() == root)?;
    script.end()?;
    Ok(())
}

fn moved(setup: &Setup) -> Result<()> {
    let mut watch = Watch::new(setup, "moved", false)?;
    let (outer, inner) = (watch.shell("outer")?, watch.program("inner")?);
    watch.sensor.orders.watch_program(b"outer", WATCH_ENTER)?;
    let mut script = watch.script(&outer)?;
    let root = watch.await_exec("outer")?.segment();
    let attack = setup.attack.display();
    // The attack program takes the shell's place without a segment; the next one, in a new namespace, has one.
    script.say(&format!("exec '{attack}' new-mount-namespace '{}' list", inner.display()))?;
    let first = watch.await_exec("attack")?;
    ensure!(
        first.segment() == root,
        "an exec in place in the same namespace has segment {:?}",
        first.segment()
    );
    let second = watch.await_exec("inner")?;
    ensure!(second.process().pid == first.process().pid, "it is another process");
    ensure!(second.segment() != root, "an exec in place in a new mount namespace stays in its segment");
    let opened = watch.await_one("its segment", |record| record.segment() == second.segment())?;
    ensure!(parent_of(&opened) == Some(root.0), "it was opened out of {opened:?}");
    script.end()
}

fn dropped(setup: &Setup) -> Result<()> {
    let mut watch = Watch::new(setup, "dropped", false)?;
    let outer = watch.shell("outer")?;
    watch.sensor.orders.watch_program(b"outer", WATCH_ENTER)?;
    let mut script = watch.script(&outer)?;
    let segment = watch.await_exec("outer")?.segment();
    script.say("read line <file")?;
    let file = watch.file();
    watch.await_one("the open", |record| is_open_of(record, &file))?;
    let labels = watch.sensor.orders.drop_segment(segment)?;
    ensure!(labels == 1, "{labels} labels were taken away");
    watch.drain();
    watch.records.clear();

    script.say("(read line <file; exit 0); read line <file; echo done >done")?;
    let done = watch.desk.join("done");
    let begin = Instant::now();
    while fs::metadata(&done).map_or(0, |done| done.len()) == 0 {
        ensure!(begin.elapsed() < setup.seconds(10), "the script did nothing");
        thread::sleep(Duration::from_millis(5));
    }
    watch.drain();
    ensure!(watch.records.is_empty(), "told of what was dropped: {:#?}", watch.short());
    ensure!(!watch.sensor.orders.has_labels(), "a child was labelled");

    script.say(&format!("exec '{}' -c 'exit 0' 2>/dev/null", outer.display()))?;
    let again = watch.await_exec("outer")?;
    ensure!(again.process().pid.0 == script.pid(), "it is another process");
    let opened = watch.await_one("its segment", |record| record.segment() == again.segment())?;
    ensure!(again.segment() != segment && parent_of(&opened) == Some(0), "it did not enter anew: {opened:?}");
    watch.sensor.orders.close_segment(segment);
    ensure!(watch.sensor.orders.segment(segment).is_none(), "the segment was not closed");
    script.end()
}

/// Labels a script's process as user space does with one that runs already.
fn label(watch: &mut Watch, script: &Script) -> Result<()> {
    let segment = SegmentId(7);
    watch.sensor.orders.open_segment(segment, 0)?;
    let label = Label { segment, start_ticks: 0, flags: LINEAGE_EXECUTED };
    Ok(watch.sensor.orders.label(ProcessId(script.pid()), label)?)
}

/// Identity of the file and of its directory as the kernel tells them.
fn file_identity(watch: &mut Watch, script: &mut Script) -> Result<(FileIdentity, FileIdentity)> {
    label(watch, script)?;
    script.say("read line <file")?;
    let file = watch.file();
    let record = watch.await_one("the open", |record| is_open_of(record, &file))?;
    watch.sensor.orders.unlabel(ProcessId(script.pid()));
    watch.drain();
    watch.records.clear();
    let RecordBody::File(record) = record.body else { unreachable!("it was found as an open") };
    Ok((record.object.identity.context("no identity")?, record.object.parent.context("no directory")?))
}

fn bystanders(setup: &Setup) -> Result<()> {
    for asked in [true, false] {
        let mut watch = Watch::new(setup, "bystanders", asked)?;
        let shell = watch.shell("bystander")?;
        let mut script = watch.script(&shell)?;
        let (file, _) = file_identity(&mut watch, &mut script)?;
        watch.sensor.orders.publish_object(file, SecretMark { entry: 3, action: ACTION_DENY })?;
        script.say("read line <file; read line <bystander; echo done >done")?;
        script.end()?;
        watch.drain();
        let told: Vec<_> = watch.records.iter().filter(|record| record.is_bystander()).collect();
        if asked {
            let [record] = told[..] else { anyhow::bail!("{} records, not 1", told.len()) };
            let file = watch.file();
            ensure!(is_open_of(record, &file) && record.segment().0 == 0, "told: {record:?}");
            ensure!(record.header.flags & HEADER_SECRET != 0, "its flags are {}", record.header.flags);
            ensure!(record.header.flags & HEADER_DENIED == 0, "a bystander was refused");
        } else {
            ensure!(watch.records.is_empty(), "told without being asked: {:#?}", watch.short());
        }
    }
    Ok(())
}

fn bystander_exec(setup: &Setup) -> Result<()> {
    let mut watch = Watch::new(setup, "bystander-exec", false)?;
    let shell = watch.shell("written")?;
    let identity = identity(&mut watch, &shell)?;
    watch.sensor.orders.watch_executable(identity, WATCH_BYSTANDER)?;
    let mut script = watch.script(&shell)?;
    script.say("read line <file")?;
    script.end()?;
    let record = watch.await_exec("written")?;
    ensure!(record.is_bystander() && record.segment().0 == 0, "told: {:?}", record.header);
    ensure!(watch.records.len() == 1, "more than the exec was told: {:#?}", watch.short());
    ensure!(!watch.sensor.orders.has_labels(), "it was labelled");
    Ok(())
}

fn refused(setup: &Setup) -> Result<()> {
    let mut watch = Watch::new(setup, "refused", false)?;
    // Only security modules can refuse.
    let can = setup.tier == Tier::Lsm;
    let shell = watch.shell("reader")?;
    let mut script = watch.script(&shell)?;
    let (file, directory) = file_identity(&mut watch, &mut script)?;
    label(&mut watch, &script)?;
    let mark = |action| SecretMark { entry: 3, action };
    let mut name =
        SecretName { parent_inode: directory.inode, device: directory.device, name_bytes: 4, name: [0; 64] };
    name.name[..4].copy_from_slice(b"file");
    let mut attempts = 0;
    for (by, object, by_name, refuses) in [
        ("nothing", None, None, false),
        ("identity, to observe", Some(ACTION_OBSERVE), None, false),
        ("identity", Some(ACTION_DENY), None, true),
        ("name", None, Some(ACTION_DENY), true),
    ] {
        watch.sensor.orders.withdraw_object(file);
        if let Some(action) = object {
            watch.sensor.orders.publish_object(file, mark(action))?;
        }
        if let Some(action) = by_name {
            watch.sensor.orders.publish_name(name, mark(action))?;
        }
        watch.drain();
        watch.records.clear();
        attempts += 1;
        let answer = watch.desk.join(format!("answer{attempts}"));
        script.say(&format!(
            "if (read line <file) 2>/dev/null; then echo yes; else echo no; fi >'{}'",
            answer.display()
        ))?;
        let begin = Instant::now();
        let read = loop {
            match fs::read_to_string(&answer).unwrap_or_default().trim() {
                "" => ensure!(begin.elapsed() < setup.seconds(10), "the script did nothing"),
                answer => break answer == "yes",
            }
            thread::sleep(Duration::from_millis(5));
        };
        ensure!(
            read != (refuses && can),
            "published by {by}: the file {}",
            if read { "was read" } else { "was refused" }
        );
        let path = watch.file();
        let record = watch.await_one("the open", |record| is_open_of(record, &path))?;
        let denied = record.header.flags & HEADER_DENIED != 0;
        ensure!(denied == (refuses && can), "published by {by}: its flags are {}", record.header.flags);
    }
    script.end()
}
