//! The thread that asks about containers.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use super::{ContainerData, ContainerDetails, bundle, engine::Engine};
use crate::event::ProcessId;

/// Questions that wait.
const QUESTIONS_MAX: usize = 256;
/// Sockets that are asked about one container.
const ENGINES_MAX: usize = 16;

/// Which container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its id.
    pub id: String,
    /// Its first process.
    pub process: ProcessId,
}

/// Asks without being waited for. Ends when it is dropped.
#[derive(Debug)]
pub struct Asker {
    questions: mpsc::SyncSender<Question>,
    answers: mpsc::Receiver<ContainerDetails>,
}

impl Asker {
    /// Starts the thread.
    pub fn start(data: Arc<ContainerData>) -> std::io::Result<Self> {
        let (questions, asked) = mpsc::sync_channel::<Question>(QUESTIONS_MAX);
        let (told, answers) = mpsc::sync_channel(QUESTIONS_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            for question in asked {
                let details = runtime.block_on(ask(&data, &question));
                // Nobody wants to know any more when that fails.
                if details.is_some_and(|details| told.send(details).is_err()) {
                    return;
                }
            }
        };
        thread::Builder::new().name("containers".to_owned()).spawn(work)?;
        Ok(Self { questions, answers })
    }

    /// Asks. `false` when too many questions wait; it may be asked again.
    #[must_use]
    pub fn ask(&self, question: Question) -> bool {
        self.questions.try_send(question).is_ok()
    }

    /// What was told since the last time. A container of which nobody knows anything has no answer.
    pub fn answers(&self) -> impl Iterator<Item = ContainerDetails> {
        self.answers.try_iter()
    }
}

/// What an engine says, with the command that the bundle knows when no engine does.
async fn ask(data: &ContainerData, question: &Question) -> Option<ContainerDetails> {
    for engine in engines(data) {
        if let Some(details) = engine.inspect(&question.id).await {
            return Some(details);
        }
    }
    bundle::read(data, &question.id, question.process)
}

/// Engines where they usually listen, and where running ones say that they do.
fn engines(data: &ContainerData) -> Vec<Engine> {
    let mut found = Vec::new();
    let mut sockets = BTreeSet::new();
    for engine in &data.engines {
        let usual = engine.sockets.iter().flat_map(|pattern| expanded(pattern));
        for socket in running(&engine.programs).into_iter().chain(usual) {
            // `/var/run` is `/run`.
            let socket = fs::canonicalize(&socket).unwrap_or(socket);
            if found.len() < ENGINES_MAX && sockets.insert(socket.clone()) {
                found.push(Engine { name: engine.name.clone(), socket });
            }
        }
    }
    found.retain(|engine| engine.socket.exists());
    found
}

/// The path, or one for each folder that its `*` stands for.
fn expanded(pattern: &str) -> Vec<PathBuf> {
    let Some((folder, rest)) = pattern.split_once("/*/") else { return vec![pattern.into()] };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(ENGINES_MAX);
    entries.map(|entry| entry.path().join(rest)).collect()
}

/// Sockets that running engines were told to listen on. Anybody may run a program of that name and say so; who answers at
/// a socket is asked of the kernel.
fn running(programs: &[String]) -> Vec<PathBuf> {
    let Ok(all) = procfs::process::all_processes() else { return Vec::new() };
    let is_engine = |path: &Path| {
        path.file_name().is_some_and(|name| programs.iter().any(|known| known.as_bytes() == name.as_bytes()))
    };
    all.flatten()
        .filter(|process| process.exe().is_ok_and(|path| is_engine(&path)))
        .take(ENGINES_MAX)
        .flat_map(|process| hosts(&process.cmdline().unwrap_or_default()))
        .collect()
}

/// `-H unix:///x`, `--host=unix:///x`, `-Hunix:///x`, and Podman's `system service unix:///x`.
fn hosts(words: &[String]) -> Vec<PathBuf> {
    let address = |word: &String| {
        let at = word.find("unix://")?;
        let path = word.get(at + "unix://".len()..)?;
        let before = word.get(..at)?;
        let is_option = matches!(before, "" | "-H" | "-H=" | "--host=");
        (is_option && path.starts_with('/')).then(|| PathBuf::from(path))
    };
    words.iter().skip(1).filter_map(address).take(ENGINES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_say_where_they_listen() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let of = |text: &str| hosts(&words(text));
        assert_eq!(of("dockerd -H unix:///a/d.sock -H tcp://1.2.3.4"), [PathBuf::from("/a/d.sock")]);
        assert_eq!(of("dockerd --host=unix:///b --data-root /x"), [PathBuf::from("/b")]);
        assert_eq!(of("podman system service unix:///run/p.sock"), [PathBuf::from("/run/p.sock")]);
        assert!(of("dockerd -H fd:// --label=x=unix:///c").is_empty());
    }

    #[test]
    fn who_is_unknown_to_all_has_no_answer() {
        let asker = Asker::start(Arc::new(ContainerData::embedded().unwrap())).unwrap();
        assert!(asker.ask(Question { id: "0".repeat(64), process: ProcessId(std::process::id()) }));
        thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(asker.answers().count(), 0);
    }
}
