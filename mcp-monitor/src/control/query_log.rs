//! Who asked what: an entry of the journal, chained like everything that is done.
//!
//! The first time is an entry at once; the same asked again within a while (what `watch -n 1` does, or a dashboard) is
//! counted, and one entry says how often. Different questions of one user are bounded, too, so that nobody fills the
//! journal by asking.

use super::peer::Peer;
use crate::store::{Act, Actor, Writer};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long the same question is counted before it is told.
const WINDOW: Duration = Duration::from_mins(10);
/// Different questions of one user in that time; the others are counted together.
const QUESTIONS_MAX: usize = 32;
/// Users that are told apart.
const USERS_MAX: usize = 64;
/// Bytes of a question that are kept.
const BYTES_MAX: usize = 1024;
/// What stands for the questions beyond [`QUESTIONS_MAX`].
const OTHERS: &str = "other questions";

#[derive(Debug)]
struct Repeated {
    what: String,
    actor: Actor,
    times: u64,
    since: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct QueryLog(Mutex<HashMap<(u32, String), Repeated>>);

impl QueryLog {
    /// `peer` asks. `likeness` is the same for questions that are the same but for their times.
    pub(super) fn note(&self, writer: &Writer, peer: &Peer, what: &str, likeness: &str) {
        let actor = Actor { uid: peer.uid, pid: peer.pid };
        let now = Instant::now();
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = |text: &str| text[..text.floor_char_boundary(BYTES_MAX)].to_owned();
        let mut key = (peer.uid, cut(likeness));
        let mut what = cut(what);
        if !asked.contains_key(&key) {
            let of_user = asked.keys().filter(|(uid, _)| *uid == peer.uid).count();
            if of_user >= QUESTIONS_MAX || asked.len() >= QUESTIONS_MAX * USERS_MAX {
                OTHERS.clone_into(&mut key.1);
                OTHERS.clone_into(&mut what);
            }
        }
        if let Some(known) = asked.get_mut(&key) {
            known.times += 1;
            return;
        }
        say(writer, actor, what.clone(), 1);
        asked.insert(key, Repeated { what, actor, times: 0, since: now });
    }

    /// Tells what was repeated. `all` when this is the end.
    pub(super) fn sweep(&self, writer: &Writer, all: bool) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, repeated| {
            let over = all || repeated.since.elapsed() >= WINDOW;
            if over && repeated.times > 0 {
                say(writer, repeated.actor, repeated.what.clone(), repeated.times);
            }
            !over
        });
    }
}

/// Nobody waits for it. When the store's thread has too many orders waiting, a question goes unrecorded rather than
/// unanswered.
fn say(writer: &Writer, actor: Actor, what: String, times: u64) {
    let _ = writer.note(actor, Act::Query { what, times });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::peer::Access,
        render::sample,
        store::{Reader, Settings, Store},
    };

    #[test]
    fn a_question_is_told_at_once_and_its_repeats_together() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&Settings::new(directory.path()), &sample::origin()).unwrap();
        let (writer, log) = (store.writer(), QueryLog::default());
        let peer = |uid| Peer { uid, pid: Some(7), access: Access::Own(uid) };
        for second in 0..5 {
            log.note(&writer, &peer(1000), &format!("events?since={second}"), "events");
        }
        log.note(&writer, &peer(1001), "events?since=9", "events");
        for number in 0..100 {
            log.note(&writer, &peer(1002), &format!("events?pid={number}"), &format!("events?pid={number}"));
        }
        log.sweep(&writer, false);
        log.sweep(&writer, true);
        drop(store);
        let mut reader = Reader::open(directory.path()).unwrap();
        let queries: Vec<serde_json::Value> = reader
            .journal(0, 10_000)
            .unwrap()
            .into_iter()
            .map(|(_, line)| serde_json::from_str(&line).unwrap())
            .filter(|entry: &serde_json::Value| entry["act"] == "query")
            .collect();
        let of = |uid: u32| queries.iter().filter(|entry| entry["actor"]["uid"] == uid).collect::<Vec<_>>();
        assert_eq!(of(1000).len(), 2);
        assert_eq!((&of(1000)[0]["what"], &of(1000)[1]["times"]), (&"events?since=0".into(), &4.into()));
        assert_eq!(of(1001).len(), 1);
        assert_eq!(of(1002).len(), QUESTIONS_MAX + 2, "one for all the others, and one for their number");
        assert_eq!(of(1002).last().unwrap()["what"], OTHERS);
    }
}
