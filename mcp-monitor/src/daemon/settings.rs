//! Looking at settings files that a workload wrote, on a thread of its own: a file is read again a little after it was
//! written, and only a change of its meaning comes back.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    event::Event,
    expectation::{
        Judge, Touched,
        data::DataError,
        program::Programs,
        settings::{Changes, Fingerprint, Settings},
    },
};

/// When a file is looked at after it was written. An empty file is most likely being written, until the last time.
const LOOKS: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];
/// How long the end of a watch waits for looks that are due.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Bytes of a settings file; a larger one is not looked at.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Files whose meaning is remembered.
const FILES_MAX: usize = 16 * 1024;

/// A file whose meaning changed.
struct Found {
    touched: Touched,
    changes: Changes,
}

/// The thread, and what it was given.
pub(super) struct SettingsWatch {
    orders: mpsc::Sender<Touched>,
    found: mpsc::Receiver<Found>,
    last: Option<Instant>,
}

impl SettingsWatch {
    /// Begins with what the settings files say now.
    pub(super) fn start(judge: &Judge) -> Result<Self, DataError> {
        let settings = Settings::embedded(&Programs::embedded()?)?;
        let usual = judge.usual_settings();
        let kinds: Vec<_> = usual
            .into_iter()
            .filter_map(|path| Some((judge.settings_kind(path.as_os_str().as_bytes())?, path)))
            .collect();
        let (orders, taken) = mpsc::channel();
        let (sender, found) = mpsc::channel();
        let work = move || {
            let mut looker = Looker { settings, known: HashMap::new(), due: Vec::new(), found: sender };
            for (kind, path) in kinds {
                if let Some(print) = looker.read(&path, kind) {
                    looker.known.insert(path, print);
                }
            }
            looker.run(&taken);
        };
        // Without the thread nothing is found; the writes themselves are told as events.
        let _ = thread::Builder::new().name("settings".to_owned()).spawn(work);
        Ok(Self { orders, found, last: None })
    }

    /// Passes on what was written, and gives back the events that changed a meaning.
    pub(super) fn exchange(&mut self, judge: &mut Judge) -> Vec<Event> {
        for touched in judge.take_touched() {
            self.last = Some(Instant::now());
            // The thread is there as long as this is.
            let _ = self.orders.send(touched);
        }
        let found = self.found.try_iter();
        found.map(|Found { touched, changes }| judge.judge_settings(touched, &changes)).collect()
    }

    /// What still comes of writes that were not looked at yet.
    pub(super) fn finish(mut self, judge: &mut Judge) -> Vec<Event> {
        let mut events = self.exchange(judge);
        while let Some(left) = self.last.and_then(|last| PATIENCE.checked_sub(last.elapsed())) {
            match self.found.recv_timeout(left) {
                Ok(Found { touched, changes }) => events.push(judge.judge_settings(touched, &changes)),
                Err(_) => break,
            }
        }
        events
    }
}

struct Looker {
    settings: Settings,
    known: HashMap<PathBuf, Fingerprint>,
    due: Vec<(Instant, bool, Touched)>,
    found: mpsc::Sender<Found>,
}

impl Looker {
    fn run(&mut self, orders: &mpsc::Receiver<Touched>) {
        loop {
            let next = self.due.iter().map(|(at, ..)| *at).min();
            let wait =
                next.map_or(Duration::from_hours(1), |at| at.saturating_duration_since(Instant::now()));
            match orders.recv_timeout(wait) {
                Ok(touched) => self.plan(touched),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|(at, ..)| *at <= now);
            self.due = later;
            for (_, last, touched) in due {
                self.look(touched, last);
            }
        }
    }

    /// Of several writes of one file by one program the looks of the latest count.
    fn plan(&mut self, touched: Touched) {
        let same = |other: &Touched| {
            other.path == touched.path && other.event.process.executable == touched.event.process.executable
        };
        self.due.retain(|(_, _, other)| !same(other));
        let [soon, later] = LOOKS.map(|after| Instant::now() + after);
        self.due.push((soon, false, touched.clone()));
        self.due.push((later, true, touched));
    }

    fn look(&mut self, touched: Touched, last: bool) {
        let path = Path::new(OsStr::from_bytes(&touched.path)).to_owned();
        let Some(after) = self.read(&path, touched.kind) else { return };
        if after == Fingerprint::default() && !last {
            return;
        }
        let before = self.known.get(&path).cloned().unwrap_or_default();
        let changes = self.settings.changes(touched.kind, &before, &after, touched.by_owner);
        if self.known.len() < FILES_MAX || self.known.contains_key(&path) {
            self.known.insert(path, after);
        }
        if let Some(changes) = changes {
            // Nobody waits any more when that fails.
            let _ = self.found.send(Found { touched, changes });
        }
    }

    /// What the file means now; `None` for what is no settings file. Follows no link and waits for no pipe.
    fn read(&self, path: &Path, kind: u32) -> Option<Fingerprint> {
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
        let file = std::fs::File::options().read(true).custom_flags(flags).open(path).ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > FILE_MAX_BYTES {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).ok()?;
        self.settings.fingerprint(kind, std::str::from_utf8(&bytes).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{Access, Action, Bytes, FileObject, FilePath, Process, Rule, Workload},
        expectation::JudgeConfig,
        render::sample,
    };

    fn written(path: &Path, executable: &str) -> Event {
        let path = FilePath { bytes: Bytes::new(path.as_os_str().as_bytes()), ..FilePath::default() };
        let access = Access { write: true, create: true, ..Access::default() };
        let mut event = sample::events().remove(0);
        event.action = Action::Open(FileObject { path, access, ..FileObject::default() });
        event.process = Arc::new(Process { executable: Bytes::from(executable), ..Process::default() });
        event.workload = Arc::new(Workload { instance: "i".into(), ..Workload::default() });
        event
    }

    #[test]
    fn a_hook_that_a_server_adds_is_found_and_an_agents_state_is_not() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join(".claude.json");
        let settings = home.path().join(".claude/settings.json");
        std::fs::create_dir(home.path().join(".claude")).unwrap();
        std::fs::write(&state, r#"{"numStartups": 1, "mcpServers": {}}"#).unwrap();
        std::fs::write(&settings, r#"{"theme": "light"}"#).unwrap();
        let config = JudgeConfig { homes: vec![home.path().to_owned()], ..JudgeConfig::default() };
        let mut judge = Judge::new(config).unwrap();
        let watch = SettingsWatch::start(&judge).unwrap();
        // The first look is done before the files change.
        thread::sleep(Duration::from_millis(500));
        judge.judge(&mut written(&state, "/usr/bin/python3"));
        std::fs::write(&state, r#"{"numStartups": 2, "mcpServers": {}, "tips": [1]}"#).unwrap();
        judge.judge(&mut written(&settings, "/usr/bin/python3"));
        std::fs::write(&settings, r#"{"theme": "light", "hooks": {"Stop": [{"command": "x"}]}}"#).unwrap();
        let events = watch.finish(&mut judge);
        let [event] = events.as_slice() else { panic!("one change: {events:?}") };
        assert_eq!(event.rule, Some(Rule::ConfigTamper));
        assert_eq!(event.decision.source, "settings:claude");
        assert_eq!(event.decision.reason, "changed the settings of Claude Code: added `hooks.Stop`");
    }
}
