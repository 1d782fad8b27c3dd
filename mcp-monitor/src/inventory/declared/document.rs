//! A configuration file as a tree of values with their lines, whatever its format.
//!
//! The parsers are maintained crates. Here are the bounds around them: on bytes, on values, on depth. A tree holds
//! values of environment variables and secrets for as long as an entry is read from it, so it has no `Debug`.

use std::collections::HashMap;

use granit_parser::{Event, Parser};
use jsonc_parser::{CollectOptions, ParseOptions, ast, errors::ParseErrorKind, parse_to_ast};
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

/// Separators in one file: it holds at most about as many values.
const SEPARATORS_MAX: usize = 500_000;
/// Values of a YAML file, with those that aliases repeat.
const YAML_VALUES_MAX: usize = 200_000;
/// Collections within each other in YAML; the parsers of JSON and TOML have such bounds of their own.
const YAML_DEPTH_MAX: usize = 128;

/// Formats of configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// JSON with comments, trailing commas and what else lenient readers take.
    Json,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
}

/// One value.
#[derive(Clone)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: u32,
    pub(super) value: Value,
}

/// What it is.
#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Pair>),
}

/// One key of a map and its value.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) key: String,
    /// Of the key.
    pub(super) line: u32,
    pub(super) node: Node,
}

/// Why there is no tree. Says nothing of what stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: Option<u32>,
    pub(super) what: String,
}

impl Unreadable {
    fn new(line: Option<u32>, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

impl Node {
    fn new(line: u32, value: Value) -> Self {
        Self { line, value }
    }

    /// The value of `key`; the last one where a key stands twice, as in the clients.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.pairs().iter().rev().find(|pair| pair.key == key).map(|pair| &pair.node)
    }

    /// The keys of a map; nothing of anything else.
    pub(super) fn pairs(&self) -> &[Pair] {
        match &self.value {
            Value::Map(pairs) => pairs,
            _ => &[],
        }
    }

    /// The elements of a list; nothing of anything else.
    pub(super) fn elements(&self) -> &[Node] {
        match &self.value {
            Value::List(nodes) => nodes,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn truth(&self) -> Option<bool> {
        match &self.value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The value as a word, for comparing it with one.
    pub(super) fn word(&self) -> Option<&str> {
        match &self.value {
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Text(text) | Value::Number(text) => Some(text),
            _ => None,
        }
    }

    /// What kind of value, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads `bytes`.
pub(super) fn parse(format: Format, bytes: &[u8]) -> Result<Node, Unreadable> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line =
            bytes.get(..error.valid_up_to()).map_or(1, |before| before.split(|byte| *byte == b'\n').count());
        Unreadable::new(u32::try_from(line).ok(), "is not UTF-8")
    })?;
    let separators = bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b'=')).count();
    if separators > SEPARATORS_MAX {
        return Err(Unreadable::new(None, "holds too many values"));
    }
    match format {
        Format::Json => json(text),
        Format::Toml => toml(text),
        Format::Yaml => yaml(text),
    }
}

/// Finds the line of a place.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn of(&self, at: usize) -> u32 {
        let before = self.0.partition_point(|newline| *newline < at);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }
}

fn json(text: &str) -> Result<Node, Unreadable> {
    let lines = Lines::new(text);
    // A separator between values is what bounds their number.
    let options = ParseOptions { allow_missing_commas: false, ..ParseOptions::default() };
    let result = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| {
        let line = Some(lines.of(error.range().start));
        match error.kind() {
            ParseErrorKind::NestingDepthExceeded => Unreadable::new(line, "is nested too deeply"),
            _ => Unreadable::new(line, format!("is no valid JSON (column {})", error.column_display())),
        }
    })?;
    Ok(result.value.map_or_else(|| Node::new(1, Value::Null), |value| of_json(value, &lines)))
}

fn of_json(value: ast::Value<'_>, lines: &Lines) -> Node {
    match value {
        ast::Value::StringLit(text) => {
            Node::new(lines.of(text.range.start), Value::Text(text.value.into_owned()))
        }
        ast::Value::NumberLit(number) => {
            Node::new(lines.of(number.range.start), Value::Number(number.value.to_owned()))
        }
        ast::Value::BooleanLit(truth) => Node::new(lines.of(truth.range.start), Value::Bool(truth.value)),
        ast::Value::NullKeyword(null) => Node::new(lines.of(null.range.start), Value::Null),
        ast::Value::Object(object) => {
            let pairs = object.properties.into_iter().map(|property| Pair {
                line: lines.of(property.range.start),
                key: property.name.into_string(),
                node: of_json(property.value, lines),
            });
            Node::new(lines.of(object.range.start), Value::Map(pairs.collect()))
        }
        ast::Value::Array(array) => {
            let nodes = array.elements.into_iter().map(|element| of_json(element, lines));
            Node::new(lines.of(array.range.start), Value::List(nodes.collect()))
        }
    }
}

fn toml(text: &str) -> Result<Node, Unreadable> {
    let lines = Lines::new(text);
    let table = DeTable::parse(text).map_err(|error| {
        Unreadable::new(error.span().map(|span| lines.of(span.start)), "is no valid TOML")
    })?;
    let line = lines.of(table.span().start);
    Ok(of_table(table.into_inner(), line, &lines))
}

fn of_table(table: DeTable<'_>, line: u32, lines: &Lines) -> Node {
    let pairs = table.into_iter().map(|(key, value)| Pair {
        line: lines.of(key.span().start),
        key: key.into_inner().into_owned(),
        node: {
            let line = lines.of(value.span().start);
            of_toml(value.into_inner(), line, lines)
        },
    });
    Node::new(line, Value::Map(pairs.collect()))
}

fn of_toml(value: DeValue<'_>, line: u32, lines: &Lines) -> Node {
    match value {
        DeValue::String(text) => Node::new(line, Value::Text(text.into_owned())),
        DeValue::Integer(number) => Node::new(line, Value::Number(number.as_str().to_owned())),
        DeValue::Float(number) => Node::new(line, Value::Number(number.as_str().to_owned())),
        DeValue::Datetime(time) => Node::new(line, Value::Number(time.to_string())),
        DeValue::Boolean(truth) => Node::new(line, Value::Bool(truth)),
        DeValue::Array(array) => {
            let nodes = array.into_iter().map(|element| {
                let line = lines.of(element.span().start);
                of_toml(element.into_inner(), line, lines)
            });
            Node::new(line, Value::List(nodes.collect()))
        }
        DeValue::Table(table) => of_table(table, line, lines),
    }
}

/// A collection that has begun and not ended.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<(String, u32)>,
}

/// The first document of `text`. Built from events with a stack of our own, so that depth costs no stack.
fn yaml(text: &str) -> Result<Node, Unreadable> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, (Node, usize)> = HashMap::new();
    let mut values = 0;
    let mut root = None;
    for next in Parser::new_from_str(text) {
        let (event, span) =
            next.map_err(|error| Unreadable::new(line_of(error.marker().line()), "is no valid YAML"))?;
        let line = line_of(span.start.line());
        let number = line.unwrap_or(1);
        let (node, anchor) = match event {
            Event::DocumentEnd | Event::StreamEnd => break,
            Event::Scalar(text, style, anchor, _) => {
                let plain = matches!(style, granit_parser::ScalarStyle::Plain);
                (Node::new(number, scalar(text.into_owned(), plain)), anchor)
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = anchors.get(&anchor) else { continue };
                values += size;
                if values > YAML_VALUES_MAX {
                    return Err(Unreadable::new(line, "holds too many values"));
                }
                (node.clone(), 0)
            }
            Event::SequenceStart(_, anchor, _) => {
                open.push(Open { node: Node::new(number, Value::List(Vec::new())), anchor, key: None });
                (Node::new(number, Value::Null), usize::MAX)
            }
            Event::MappingStart(_, anchor, _) => {
                open.push(Open { node: Node::new(number, Value::Map(Vec::new())), anchor, key: None });
                (Node::new(number, Value::Null), usize::MAX)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(done) = open.pop() else { continue };
                (done.node, done.anchor)
            }
            _ => continue,
        };
        values += 1;
        if values > YAML_VALUES_MAX {
            return Err(Unreadable::new(line, "holds too many values"));
        }
        if open.len() > YAML_DEPTH_MAX {
            return Err(Unreadable::new(line, "is nested too deeply"));
        }
        if anchor == usize::MAX {
            continue;
        }
        if anchor != 0 {
            let size = count(&node);
            anchors.insert(anchor, (node.clone(), size));
            values += size;
        }
        match open.last_mut() {
            None => root = Some(node),
            Some(Open { node: parent, key, .. }) => match &mut parent.value {
                Value::List(list) => list.push(node),
                Value::Map(pairs) => match key.take() {
                    None => *key = Some((node.text_of_key(), node.line)),
                    Some((key, line)) => pairs.push(Pair { key, line, node }),
                },
                _ => {}
            },
        }
    }
    Ok(root.unwrap_or_else(|| Node::new(1, Value::Null)))
}

impl Node {
    /// A YAML key; keys that are no words have no use here.
    fn text_of_key(&self) -> String {
        self.word().unwrap_or_default().to_owned()
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(list) => list.iter().map(count).sum(),
        Value::Map(pairs) => pairs.iter().map(|pair| count(&pair.node)).sum::<usize>(),
        _ => 0,
    }
}

fn line_of(line: usize) -> Option<u32> {
    u32::try_from(line.max(1)).ok()
}

fn scalar(text: String, plain: bool) -> Value {
    match text.as_str() {
        _ if !plain => Value::Text(text),
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => Value::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Format; 3] = [Format::Json, Format::Toml, Format::Yaml];

    #[test]
    fn every_format_tells_lines() {
        let texts = [
            "// note\n{\n  \"a\": {\n    \"b\": [\"x\", true,],\n  }\n}",
            "# note\n\n[a]\nb = [\"x\", true]\n",
            "# note\n\na:\n  b: [x, true]\n",
        ];
        for (format, text) in ALL.into_iter().zip(texts) {
            let Ok(node) = parse(format, text.as_bytes()) else { panic!("{format:?}") };
            let list = node.get("a").and_then(|a| a.get("b")).unwrap();
            assert_eq!((list.line, list.elements().len()), (4, 2), "{format:?}");
            assert_eq!(list.elements()[0].text(), Some("x"));
            assert_eq!(list.elements()[1].truth(), Some(true));
        }
    }

    #[test]
    fn what_cannot_be_read_says_where_and_never_what() {
        let texts = ["{\n\"a\": hunter2\n}", "a = 1\nb = hunter2\n", "a: 1\nb: \"hunter2\n"];
        for (format, text) in ALL.into_iter().zip(texts) {
            let Err(error) = parse(format, text.as_bytes()) else { panic!("{format:?}") };
            assert!(error.line.is_some_and(|line| line >= 2), "{error:?}");
            assert!(!error.what.contains("hunter2"), "{error:?}");
        }
        let Err(error) = parse(Format::Json, b"{\n\n\"a\": \"\xff\"}") else { panic!() };
        assert_eq!(error.line, Some(3));
    }

    #[test]
    fn depth_and_number_are_bounded_on_a_small_stack() {
        let deep = 100_000;
        let texts = [
            (Format::Json, "[".repeat(deep)),
            (Format::Json, "{\"a\":".repeat(deep)),
            (Format::Toml, format!("a = {}", "[".repeat(deep))),
            (Format::Toml, format!("{}x = 1", "a.".repeat(deep))),
            (Format::Toml, format!("[{}x]", "a.".repeat(deep))),
            (Format::Yaml, "[".repeat(deep)),
            (Format::Yaml, "- ".repeat(deep)),
            (Format::Yaml, "{a: ".repeat(deep)),
            (Format::Json, format!("[{}1]", "1,".repeat(SEPARATORS_MAX))),
            (Format::Yaml, format!("[{}1]", "1,".repeat(YAML_VALUES_MAX + 1))),
        ];
        for (format, text) in texts {
            assert!(parse(format, text.as_bytes()).is_err(), "{format:?} {}", &text[..20]);
        }
        let bomb = (0..30).fold("a0: &a0 [x]\n".to_owned(), |text, step| {
            format!("{text}a{}: &a{} [*a{step}, *a{step}, *a{step}]\n", step + 1, step + 1)
        });
        assert!(parse(Format::Yaml, bomb.as_bytes()).is_err());
    }

    #[test]
    fn the_deepest_json_that_is_read_fits_a_thread() {
        let text = format!("{}{}", "[".repeat(511), "]".repeat(511));
        assert!(parse(Format::Json, text.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, text in "[\\[\\]{}:,\"'#/*&!|>=.a-c0-9 \\n-]{0,200}") {
            for format in ALL {
                let _ = parse(format, &bytes);
                let _ = parse(format, text.as_bytes());
            }
        }
    }
}
