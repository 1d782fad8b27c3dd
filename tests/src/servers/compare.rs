//! What strace saw against what the monitor said.

use std::{collections::HashMap, fmt, hash::Hash, os::unix::ffi::OsStrExt};

use super::{
    events::Said,
    strace::{Peer, Trace, executable},
};

/// How many examples of missing things are printed.
const EXAMPLES: usize = 12;

/// One kind of thing compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// How many strace saw.
    pub(super) seen: u64,
    /// How many of them no event tells of.
    pub(super) missing: u64,
    /// How many are told of, but under another process.
    pub(super) elsewhere: u64,
    /// Some that are missing or elsewhere.
    pub(super) examples: Vec<String>,
}

impl Comparison {
    /// True if each is told of under its process.
    pub(super) fn good(&self) -> bool {
        self.missing == 0 && self.elsewhere == 0
    }

    /// Each of `seen` has to be in `said`, as often, under the same process.
    fn of<T: Clone + Eq + Hash>(
        seen: &HashMap<(u32, T), u64>,
        said: &HashMap<(u32, T), u64>,
        shown: impl Fn(&T) -> String,
    ) -> Self {
        let mut left = said.clone();
        let mut short = Vec::new();
        let mut comparison = Self { seen: seen.values().sum(), ..Self::default() };
        for (key, count) in seen {
            let have = left.get_mut(key);
            let taken = have.as_ref().map_or(0, |have| **have).min(*count);
            if let Some(have) = have {
                *have -= taken;
            }
            if taken < *count {
                short.push((key, count - taken));
            }
        }
        // What is left over under other processes may explain the rest.
        let mut others: HashMap<T, u64> = HashMap::new();
        for ((_, object), count) in left {
            *others.entry(object).or_default() += count;
        }
        for ((pid, object), count) in short {
            let have = others.entry(object.clone()).or_default();
            let taken = (*have).min(count);
            *have -= taken;
            comparison.elsewhere += taken;
            comparison.missing += count - taken;
            let how = if taken == count { "under another process" } else { "missing" };
            comparison.examples.push(format!("{how}: {count} × {} by process {pid}", shown(object)));
        }
        comparison.examples.sort_unstable();
        comparison
    }
}

/// All kinds.
#[derive(Debug)]
pub(super) struct Report {
    /// Opens.
    pub(super) opens: Comparison,
    /// Execs.
    pub(super) execs: Comparison,
    /// Connects.
    pub(super) connects: Comparison,
    path_only: u64,
}

impl Report {
    /// Compares.
    pub(super) fn of(trace: &Trace, said: &Said) -> Self {
        let mut execs: HashMap<(u32, Vec<u8>), u64> = HashMap::new();
        for ((pid, given), count) in &trace.execs {
            *execs.entry((*pid, executable(given).as_os_str().as_bytes().to_vec())).or_default() += count;
        }
        let path = |path: &Vec<u8>| path.escape_ascii().to_string();
        let peer = |peer: &Peer| match peer {
            Peer::Internet(address, port) => format!("{address} port {port}"),
            Peer::Unix(path) => path.escape_ascii().to_string(),
        };
        Self {
            opens: Comparison::of(&trace.opens, &said.opens, path),
            execs: Comparison::of(&execs, &said.execs, path),
            connects: Comparison::of(&trace.connects, &said.connects, peer),
            path_only: trace.path_only,
        }
    }

    /// True if everything is told of.
    pub(super) fn good(&self) -> bool {
        self.opens.good() && self.execs.good() && self.connects.good()
    }

    /// Examples of what is not.
    pub(super) fn examples(&self) -> impl Iterator<Item = String> {
        let kinds = [("open", &self.opens), ("exec", &self.execs), ("connect", &self.connects)];
        kinds.into_iter().flat_map(|(kind, comparison)| {
            comparison.examples.iter().take(EXAMPLES).map(move |example| format!("{kind} {example}"))
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("opens", &self.opens), ("execs", &self.execs), ("connects", &self.connects)];
        write!(formatter, "strace ")?;
        for (index, (kind, Comparison { seen, missing, elsewhere, .. })) in kinds.into_iter().enumerate() {
            write!(formatter, "{}{kind} {seen}, missing {missing}", if index == 0 { "" } else { "; " })?;
            if *elsewhere > 0 {
                write!(formatter, " ({elsewhere} under another process)")?;
            }
        }
        if self.path_only > 0 {
            write!(formatter, "; {} opens of a path alone left out", self.path_only)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Comparison;

    #[test]
    fn tells_missing_from_elsewhere() {
        let seen = [((1, "a"), 2), ((1, "b"), 1), ((2, "c"), 3)].into();
        let said = [((1, "a"), 5), ((9, "b"), 1), ((2, "c"), 1)].into();
        let comparison = Comparison::of(&seen, &said, |it| (*it).to_owned());
        assert_eq!((comparison.seen, comparison.missing, comparison.elsewhere), (6, 2, 1));
        assert!(!comparison.good());
        assert_eq!(comparison.examples.len(), 2);
        assert!(Comparison::of(&seen, &seen, |it| (*it).to_owned()).good());
    }
}
