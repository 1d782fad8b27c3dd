//! A filter made ready: its globs and destinations compiled, and the whole of it applied to a line.

use std::{ffi::OsStr, net::IpAddr, os::unix::ffi::OsStrExt as _};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use memchr::memmem::Finder;

use super::{
    Filter, StoreError,
    columns::{Columns, Destination},
    query::{VALUES_MAX, is_workload},
    wanted::Wanted,
};
use crate::event::unescape;

/// A filter made ready. See [`Filter`].
#[derive(Debug)]
pub struct Matcher {
    pub(super) filter: Filter,
    pub(super) paths: Option<GlobSet>,
    pub(super) destinations: Vec<Wanted>,
    text: Option<Finder<'static>>,
}

impl Matcher {
    /// Compiles `filter`; what makes no sense is told with its value.
    pub fn new(filter: &Filter) -> Result<Self, StoreError> {
        let Filter { workload, kind, verdict, rule, pid, tree, container, user, path, destination, .. } =
            filter;
        let lengths = [
            workload.len(),
            kind.len(),
            verdict.len(),
            rule.len(),
            pid.len(),
            tree.len(),
            container.len(),
            user.len(),
            path.len(),
            destination.len(),
        ];
        if lengths.iter().any(|length| *length > VALUES_MAX) {
            return Err(StoreError::Usage(format!("one criterion has at most {VALUES_MAX} values")));
        }
        let destinations = destination
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|expected| StoreError::Usage(format!("{text} is no destination: {expected}")))
            })
            .collect::<Result<_, _>>()?;
        let paths = if path.is_empty() { None } else { Some(globs(path)?) };
        let text = filter.text.as_ref().map(|text| Finder::new(text.as_bytes()).into_owned());
        Ok(Self { filter: filter.clone(), paths, destinations, text })
    }

    /// True for the line of an event that the filter means; false for any other line.
    #[must_use]
    pub fn matches(&self, line: &str) -> bool {
        Columns::of(line).is_some_and(|columns| self.matches_columns(&columns))
            && self.has_text(line.as_bytes())
    }

    /// True when the text that is looked for stands in the line.
    pub(super) fn has_text(&self, line: &[u8]) -> bool {
        self.text.as_ref().is_none_or(|text| text.find(line).is_some())
    }

    pub(super) fn looks_for_text(&self) -> bool {
        self.text.is_some()
    }

    pub(super) fn is_destination(&self, destination: &Destination<'_>) -> bool {
        let address: Option<IpAddr> = destination.address.as_deref().and_then(|text| text.parse().ok());
        let name = destination.name.as_deref();
        self.destinations.iter().any(|wanted| wanted.matches(address, destination.port, name))
    }

    /// `path` as the contract writes it.
    pub(super) fn is_path(&self, path: &str) -> bool {
        self.paths.as_ref().is_none_or(|paths| match unescape(path) {
            Some(bytes) => paths.is_match(OsStr::from_bytes(&bytes)),
            None => paths.is_match(path),
        })
    }

    /// A workload's texts as the contract writes them.
    pub(super) fn is_workload(&self, name: &str, id: &str, instance: &str) -> bool {
        any(&self.filter.workload, |wanted| {
            let raw = unescape(name);
            let name = raw.as_deref().unwrap_or(name.as_bytes());
            is_workload(wanted.as_bytes(), name, id.as_bytes(), instance.as_bytes())
        })
    }

    fn matches_columns(&self, columns: &Columns<'_>) -> bool {
        let Filter {
            since,
            until,
            workload: _,
            kind,
            verdict,
            rule,
            pid,
            tree,
            container,
            user,
            only_uid,
            path,
            destination,
            text: _,
        } = &self.filter;
        let process = &columns.process;
        let in_tree = |root: &super::ProcessFilter| {
            let is =
                |pid: u32, start: u64| pid == root.pid && root.start.is_none_or(|wanted| wanted == start);
            is(process.pid, process.start)
                || process.ancestors.iter().any(|ancestor| is(ancestor.pid, ancestor.start))
        };
        let is_user =
            |wanted: &String| process.user.as_deref() == Some(wanted) || wanted.parse() == Ok(process.uid);
        let workload = &columns.workload;
        since.is_none_or(|since| columns.time >= since)
            && until.is_none_or(|until| columns.time < until)
            && self.is_workload(&workload.name, &workload.id, &workload.instance)
            && any(kind, |one| *one == columns.kind)
            && any(verdict, |one| *one == columns.verdict)
            && any(rule, |one| columns.rule.as_deref() == Some(one))
            && any(pid, |one| *one == process.pid)
            && any(tree, in_tree)
            && any(container, |one| process.container.as_ref().is_some_and(|of| of.id.starts_with(one)))
            && any(user, is_user)
            && only_uid.is_none_or(|uid| uid == process.uid)
            && (path.is_empty()
                || [&columns.path, &columns.target].into_iter().flatten().any(|path| self.is_path(path)))
            && (destination.is_empty()
                || columns.destination.as_ref().is_some_and(|destination| self.is_destination(destination)))
    }
}

/// An empty list holds for all.
fn any<T>(wanted: &[T], is: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is)
}

fn globs(patterns: &[String]) -> Result<GlobSet, StoreError> {
    let wrong = |pattern: &str, error: &globset::Error| {
        StoreError::Usage(format!("the glob `{pattern}` cannot be understood: {}", error.kind()))
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .map_err(|error| wrong(pattern, &error))?;
        set.add(glob);
    }
    set.build().map_err(|error| wrong(&patterns.join(", "), &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Verdict,
        render::{json, sample},
        store::ProcessFilter,
    };

    fn lines() -> Vec<String> {
        let mut lines = Vec::new();
        for event in sample::events() {
            let mut line = Vec::new();
            json::event(&mut line, &sample::origin(), &event);
            lines.push(String::from_utf8(line).unwrap());
        }
        lines
    }

    fn count(filter: &Filter) -> usize {
        let matcher = Matcher::new(filter).unwrap();
        lines().iter().filter(|line| matcher.matches(line)).count()
    }

    fn of(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn each_criterion_narrows() {
        let all = lines().len();
        assert_eq!(count(&Filter::default()), all);
        let narrowed = [
            Filter { workload: of(&["filesystem"]), ..Filter::default() },
            Filter { workload: of(&["a1b2"]), ..Filter::default() },
            Filter { pid: vec![4711], ..Filter::default() },
            Filter { tree: vec![ProcessFilter { pid: 4600, start: None }], ..Filter::default() },
            Filter { user: of(&["user"]), ..Filter::default() },
            Filter { user: of(&["1000"]), only_uid: Some(1000), ..Filter::default() },
            Filter { container: of(&["c0f"]), ..Filter::default() },
        ];
        for filter in narrowed {
            assert_eq!(count(&filter), all, "{filter:?}");
        }
        let some = [
            (Filter { kind: of(&["exec"]), ..Filter::default() }, 1),
            (Filter { verdict: vec![Verdict::Forbidden], ..Filter::default() }, 1),
            (Filter { rule: of(&["unknown-egress"]), ..Filter::default() }, 1),
            (Filter { path: of(&["/home/*/.ssh/**"]), ..Filter::default() }, 1),
            (Filter { path: of(&["/home/*"]), ..Filter::default() }, 0),
            (Filter { text: Some("id_rsa".into()), ..Filter::default() }, 1),
            (Filter { only_uid: Some(0), ..Filter::default() }, 0),
            (Filter { tree: vec![ProcessFilter { pid: 4600, start: Some(1) }], ..Filter::default() }, 0),
            (Filter { pid: vec![1], ..Filter::default() }, 0),
        ];
        for (filter, expected) in some {
            assert_eq!(count(&filter), expected, "{filter:?}");
        }
    }

    #[test]
    fn destinations_are_found_by_name_address_and_network() {
        let found =
            |destination: &str| count(&Filter { destination: of(&[destination]), ..Filter::default() });
        let by_address = found("203.0.113.7:443");
        assert!(by_address > 5);
        assert_eq!(found("203.0.113.0/24"), by_address);
        assert!(found("api.example.com") > by_address, "with the answer of DNS");
        assert_eq!(found("*.example.com:443"), by_address);
        assert_eq!(found("203.0.113.7:80"), 0);
        assert!(Matcher::new(&Filter { destination: of(&["a:b"]), ..Filter::default() }).is_err());
        assert!(Matcher::new(&Filter { path: of(&["/a/[b"]), ..Filter::default() }).is_err());
    }
}
