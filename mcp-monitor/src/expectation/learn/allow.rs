//! The narrowest line that would have allowed what was found, and its place in an expectation's text.
//!
//! The text is changed line by line, so that a person's comments, order and spelling stay; what cannot be placed is told
//! and not guessed. Some findings no expectation allows: that is told, too.

use super::{generalise::in_home, observe::bracketed};
use crate::{
    expectation::file::{Section, compile::escaped},
    expectation::network::is_own_host,
    render::read::{File, Finding, Text},
};

/// A value for a list of an expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which list.
    pub section: Section,
    /// The value.
    pub value: String,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The rule is wrong whoever does it.
    #[error(
        "no expectation allows `{0}`: it is wrong whoever does it. If it is known and harmless, suppress the finding \
         with a reason and an end"
    )]
    Never(String),
    /// What was found has no certain name.
    #[error("what was found has no certain name ({0}), so no line can mean it")]
    Uncertain(&'static str),
    /// A list is written in a way that lines cannot be added to.
    #[error(
        "the list `{0}` is written over several lines in brackets; write one value a line, or add {1} by hand"
    )]
    Unplaced(&'static str, String),
}

/// The narrowest entry that would have allowed what `finding` tells of.
pub fn narrowest(finding: &Finding) -> Result<Entry, NotAllowed> {
    let rule = finding.rule.escaped().into_owned();
    let never = || NotAllowed::Never(rule.clone());
    let entry = |section, value| Ok(Entry { section, value });
    match rule.as_str() {
        "secret-read" => entry(Section::Secrets, literal(finding.file.as_ref())?),
        "unexpected-read" => entry(Section::Read, literal(finding.file.as_ref())?),
        "unexpected-write" | "persistence-write" => {
            // What is moved counts at the place that it is moved to.
            let moved = finding.file.as_ref().and_then(|file| file.target.as_ref());
            match moved.filter(|_| finding.kind == *"rename" || finding.kind == *"link") {
                Some(target) => entry(Section::Write, path(target)),
                None => entry(Section::Write, literal(finding.file.as_ref())?),
            }
        }
        "unexpected-exec" => {
            let exec = finding.exec.as_ref().ok_or_else(never)?;
            let file = exec.script.as_ref().filter(|script| is_certain(script)).unwrap_or(&exec.executable);
            entry(Section::Exec, literal(Some(file))?)
        }
        "unknown-egress" | "metadata-egress" | "exfiltration" | "lineage-escape" => {
            destination(finding, &rule)
        }
        "exposed-listener" => {
            let network = finding.network.as_ref().ok_or_else(never)?;
            let (Some(address), Some(port)) = (network.address, network.port) else { return Err(never()) };
            let host =
                if address.is_unspecified() { "*".to_owned() } else { bracketed(&address.to_string()) };
            entry(Section::Listen, format!("{host}:{port}"))
        }
        "unexpected-client" => {
            let network = finding.network.as_ref().ok_or_else(never)?;
            entry(
                Section::Clients,
                match network.address {
                    Some(address) if is_own_host(address) => "localhost".to_owned(),
                    Some(address) => address.to_string(),
                    None => "unix".to_owned(),
                },
            )
        }
        _ => Err(never()),
    }
}

fn destination(finding: &Finding, rule: &str) -> Result<Entry, NotAllowed> {
    let never = || NotAllowed::Never(rule.to_owned());
    if rule == "unknown-egress" && finding.decision.source.as_bytes().starts_with(b"destination:") {
        let source = finding.decision.source.as_bytes();
        // An address without a name can be named; a place where anybody can leave anything cannot.
        if !matches!(source, b"destination:bare-address" | b"destination:name-not-seen") {
            return Err(never());
        }
    }
    let network = finding.network.as_ref().ok_or_else(never)?;
    if let Some(address) = network.address {
        let udp = if network.transport == *"udp" { "/udp" } else { "" };
        let port = network.port.filter(|port| *port != 0).map_or_else(String::new, |port| format!(":{port}"));
        let known = network.name_confidence.as_ref().is_some_and(|confidence| *confidence != *"unresolved");
        // Of what stays on this host the name says nothing: the hosts file may give it several.
        let by_name = known && rule != "metadata-egress" && !is_own_host(address);
        let host = match network.name.as_ref().filter(|_| by_name) {
            Some(name) => name.escaped().into_owned(),
            None => bracketed(&address.to_string()),
        };
        return Ok(Entry { section: Section::Egress, value: format!("{host}{port}{udp}") });
    }
    if network.unresolved {
        return Err(NotAllowed::Uncertain("the socket is known only as it was given"));
    }
    let value = match (&network.path, &network.abstract_name) {
        (Some(socket), _) if !socket.is_empty() => escaped(&String::from_utf8_lossy(socket.as_bytes())),
        (_, Some(name)) => format!("@{}", escaped(&String::from_utf8_lossy(name.as_bytes()))),
        _ => return Err(never()),
    };
    Ok(Entry { section: Section::Unix, value })
}

fn is_certain(file: &File) -> bool {
    !file.truncated && !file.unresolved && file.path.as_bytes().starts_with(b"/")
}

fn literal(file: Option<&File>) -> Result<String, NotAllowed> {
    let file = file.ok_or(NotAllowed::Uncertain("no file"))?;
    if file.truncated {
        return Err(NotAllowed::Uncertain("its path was cut"));
    }
    if !is_certain(file) {
        return Err(NotAllowed::Uncertain("its path is known only as it was given"));
    }
    Ok(path(&file.path))
}

fn path(path: &Text) -> String {
    let text = escaped(&String::from_utf8_lossy(path.as_bytes()));
    match in_home(&text) {
        Some(rest) if !rest.is_empty() => format!("${{home}}/{rest}"),
        _ => text,
    }
}

/// An expectation for a workload that has none, with nothing in it.
#[must_use]
pub fn empty(workload: &str, client: Option<&str>) -> String {
    let client =
        client.map_or_else(String::new, |client| format!("client: {}\n", super::propose::quoted(client)));
    format!(
        "apiVersion: mcp-monitor/v1\nworkload: {}\n{client}mode: alert\n",
        super::propose::quoted(workload)
    )
}

/// `text` with `entry` added to the document that begins on line `begin`, counted from 1.
pub fn added(text: &str, begin: usize, entry: &Entry, comment: &str) -> Result<String, NotAllowed> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let first = begin.saturating_sub(1).min(lines.len());
    let end = lines.iter().skip(first).position(|line| line.starts_with("---") || line.starts_with("..."));
    // The first line of a document may be its own mark.
    let end = match end {
        Some(0) => lines.iter().skip(first + 1).position(|line| line.starts_with("---")).map(|at| at + 1),
        other => other,
    };
    let end = end.map_or(lines.len(), |at| first + at);
    let (outer, key) = match entry.section {
        Section::Read => (Some("files"), "read"),
        Section::Write => (Some("files"), "write"),
        section => (None, section.name()),
    };
    let value = format!("{}  # {comment}", super::propose::quoted(&entry.value));
    let unplaced = || NotAllowed::Unplaced(entry.section.name(), super::propose::quoted(&entry.value));
    let (from, to, indent) = match outer {
        None => (first, end, 0),
        Some(outer) => match key_line(&lines, first, end, outer, 0) {
            None => {
                let at = last_of(&lines, first, end);
                lines.splice(at..at, [format!("{outer}:"), format!("  {key}:"), format!("    - {value}")]);
                return Ok(joined(&lines));
            }
            Some(at) => {
                if !after_colon(&lines[at]).is_empty() {
                    return Err(unplaced());
                }
                let inner = block_end(&lines, at, end, 0);
                let indent = (at + 1..inner).find_map(|line| {
                    let text = lines.get(line)?;
                    let is_key = !text.trim().is_empty() && !text.trim_start().starts_with('#');
                    is_key.then(|| indentation(text))
                });
                (at + 1, inner, indent.unwrap_or(2))
            }
        },
    };
    let Some(at) = key_line(&lines, from, to, key, indent) else {
        let place = if outer.is_some() { to } else { last_of(&lines, from, to) };
        let pad = " ".repeat(indent);
        lines.splice(place..place, [format!("{pad}{key}:"), format!("{pad}  - {value}")]);
        return Ok(joined(&lines));
    };
    let pad = " ".repeat(indent);
    let written = after_colon(&lines[at]).to_owned();
    if written == "[]" {
        lines.splice(at..=at, [format!("{pad}{key}:"), format!("{pad}  - {value}")]);
    } else if written.is_empty() {
        let inner = block_end(&lines, at, to, indent);
        let items: Vec<usize> =
            (at + 1..inner).filter(|line| lines[*line].trim_start().starts_with("- ")).collect();
        let (place, depth) = match items.last() {
            Some(last) => (last + 1, indentation(&lines[*last])),
            None => (at + 1, indent + 2),
        };
        lines.insert(place, format!("{}- {value}", " ".repeat(depth)));
    } else if written.starts_with('[') && written.ends_with(']') {
        let line = &mut lines[at];
        let Some(close) = line.rfind(']') else { return Err(unplaced()) };
        line.insert_str(close, &format!(", {}", super::propose::quoted(&entry.value)));
    } else {
        return Err(unplaced());
    }
    Ok(joined(&lines))
}

fn joined(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The line of a key with this indentation.
fn key_line(lines: &[String], from: usize, to: usize, key: &str, indent: usize) -> Option<usize> {
    (from..to).find(|at| {
        lines.get(*at).is_some_and(|line| {
            indentation(line) == indent
                && line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'))
        })
    })
}

/// What follows the colon, without a comment.
fn after_colon(line: &str) -> &str {
    let value = line.split_once(':').map_or("", |(_, value)| value).trim();
    let comment = if value.starts_with('#') { Some(0) } else { value.find(" #") };
    comment.map_or(value, |at| value.get(..at).unwrap_or(value)).trim()
}

/// Where the block below a key ends: the next line that is not deeper. Items of a list may stand as deep as their key.
fn block_end(lines: &[String], key: usize, to: usize, indent: usize) -> usize {
    (key + 1..to)
        .find(|at| {
            lines.get(*at).is_some_and(|line| {
                let text = line.trim_start();
                !text.is_empty()
                    && !text.starts_with('#')
                    && (indentation(line) < indent || indentation(line) == indent && !text.starts_with("- "))
            })
        })
        .unwrap_or(to)
}

/// Behind the last line that says anything.
fn last_of(lines: &[String], from: usize, to: usize) -> usize {
    (from..to)
        .rev()
        .find(|at| lines.get(*at).is_some_and(|line| !line.trim().is_empty()))
        .map_or(to, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        expectation::file::{Set, read::Source},
        render::read::Line,
    };

    fn finding(rule: &str, object: &str, source: &str) -> Finding {
        let line = format!(
            r#"{{"schema":"mcp-monitor/finding/v1","id":"f","rule":"{rule}","severity":"high","first_seen":"2026-11-20T10:00:00Z","last_seen":"2026-11-20T10:00:00Z","workload":{{"id":"w","instance":"i","name":"demo"}},"process":{{"pid":7}},"decision":{{"source":"{source}","reason":""}},{object}}}"#
        );
        match Line::parse(&line).expect(&line) {
            Line::Finding(finding) => *finding,
            other => panic!("{other:?}"),
        }
    }

    fn value(rule: &str, object: &str, source: &str) -> (Section, String) {
        let entry = narrowest(&finding(rule, object, source)).unwrap();
        (entry.section, entry.value)
    }

    #[test]
    fn the_narrowest_line_means_this_and_nothing_else() {
        let file = r#""file":{"path":"/home/ann/.config/gh/hosts[1].yml"}"#;
        assert_eq!(
            value("secret-read", file, "catalogue:github-cli"),
            (Section::Secrets, "${home}/.config/gh/hosts\\[1\\].yml".into())
        );
        let named = r#""network":{"direction":"out","transport":"tcp","address":"192.0.2.1","port":443,"name":"a.example","name_confidence":"workload-dns"}"#;
        assert_eq!(value("unknown-egress", named, "default"), (Section::Egress, "a.example:443".into()));
        assert_eq!(
            value("metadata-egress", named, "catalogue:metadata"),
            (Section::Egress, "192.0.2.1:443".into())
        );
        let all = r#""network":{"direction":"in","transport":"tcp","address":"0.0.0.0","port":8080}"#;
        assert_eq!(value("exposed-listener", all, "default"), (Section::Listen, "*:8080".into()));
        let socket = r#""network":{"direction":"out","transport":"unix-stream","path":"/run/docker.sock"}"#;
        assert_eq!(
            value("lineage-escape", socket, "escape:docker"),
            (Section::Unix, "/run/docker.sock".into())
        );
    }

    #[test]
    fn what_is_never_allowed_and_what_has_no_name_is_told() {
        for rule in ["process-snoop", "monitor-tamper", "coverage-loss", "hidden-exec", "masquerade"] {
            assert!(
                matches!(narrowest(&finding(rule, "\"a\":1", "default")), Err(NotAllowed::Never(_))),
                "{rule}"
            );
        }
        let paste = r#""network":{"direction":"out","transport":"tcp","address":"192.0.2.1","port":443,"name":"pastebin.com","name_confidence":"workload-dns"}"#;
        assert!(narrowest(&finding("unknown-egress", paste, "destination:paste")).is_err());
        let cut = r#""file":{"path":"x/y","truncated":true}"#;
        assert!(matches!(narrowest(&finding("unexpected-read", cut, "x")), Err(NotAllowed::Uncertain(_))));
    }

    fn placed(text: &str, section: Section, value: &str) -> String {
        let entry = Entry { section, value: value.into() };
        let text = added(text, 1, &entry, "why").unwrap();
        let taken = Set::of_sources(&[Source { path: "a.yaml".into(), text: text.clone() }]);
        assert!(taken.is_ok(), "{text}\n{taken:?}");
        text
    }

    #[test]
    fn a_line_finds_its_place_however_the_file_is_written() {
        let head = "apiVersion: mcp-monitor/v1\nworkload: a\n";
        let texts = [
            format!("{head}egress:\n  # mine\n  - \"b.example:443\"  # keep\nmode: alert\n"),
            format!("{head}egress: []\nmode: alert\n"),
            format!("{head}egress: [\"b.example:443\"]  # short\n"),
            format!("{head}mode: alert\n\n---\napiVersion: mcp-monitor/v1\nworkload: z\negress: []\n"),
            format!("{head}egress:\n- b.example:443\nmode: alert\n"),
        ];
        let all: Vec<String> =
            texts.iter().map(|text| placed(text, Section::Egress, "c.example:443")).collect();
        let files = [
            format!("{head}files:\n  read:\n    - /a\n  write: []\n"),
            format!("{head}files:\n  write: [/b]\n"),
            head.to_owned(),
        ];
        let more: Vec<String> = files.iter().map(|text| placed(text, Section::Read, "/c/d")).collect();
        insta::assert_snapshot!([all, more].concat().join("=====\n"));
    }

    #[test]
    fn brackets_over_several_lines_are_left_to_a_person() {
        let text = "apiVersion: mcp-monitor/v1\nworkload: a\nexec: [git,\n  ls]\n";
        let entry = Entry { section: Section::Exec, value: "cat".into() };
        assert!(matches!(added(text, 1, &entry, "why"), Err(NotAllowed::Unplaced(..))));
    }
}
