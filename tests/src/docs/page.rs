//! Reads a page of the documentation: which commands it tells its reader to type, and what it says they print.
//!
//! Commands stand in fenced blocks of the language `console`, one after each `$ `; the lines between are what is
//! printed. A comment `<!-- test: … -->` right before a block says how it is tried:
//!
//! - `exits N`: its last command ends with N instead of 0,
//! - `background`: it goes on until the page ends, as in another terminal,
//! - `not run, WHY`: it cannot be tried by this program.

use anyhow::{Context, Result, bail};
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// How a block is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// Every command ends by itself, the last one with this status and those before with 0.
    Exits(i32),
    /// It goes on until the page ends.
    Background,
    /// Not at all; why.
    NotRun(String),
}

/// One command with what the page says it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// As typed, continued lines included.
    pub(crate) command: String,
    /// The lines below it.
    pub(crate) prints: Vec<String>,
}

/// One block of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where it begins, in lines from 1.
    pub(crate) line: usize,
    /// How it is tried.
    pub(crate) trial: Trial,
    /// What is typed, in its order.
    pub(crate) typed: Vec<Typed>,
}

/// The `console` blocks of a page.
///
/// # Errors
/// A comment that says nothing known, or a block without a command.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut trial = None;
    let mut open: Option<(usize, String)> = None;
    for (event, range) in Parser::new(text).into_offset_iter() {
        let line = text[..range.start].lines().count() + 1;
        match event {
            Event::Html(html) => {
                if let Some(words) =
                    html.trim().strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix("-->"))
                {
                    trial = Some(read_trial(words.trim()).with_context(|| format!("line {line}"))?);
                }
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) if &*language == "console" => {
                open = Some((line, String::new()));
            }
            Event::Text(code) => {
                if let Some((_, content)) = &mut open {
                    content.push_str(&code);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                if let Some((line, content)) = open.take() {
                    let typed = read_typed(&content).with_context(|| format!("line {line}"))?;
                    blocks.push(Block { line, trial: trial.take().unwrap_or(Trial::Exits(0)), typed });
                }
            }
            _ => {}
        }
    }
    if trial.is_some() {
        bail!("a `<!-- test: … -->` stands before no block");
    }
    Ok(blocks)
}

/// The files that a page links to, as it names them: without addresses elsewhere and without places within a page.
pub(crate) fn linked(text: &str) -> Vec<String> {
    let links = Parser::new(text).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url),
        _ => None,
    });
    let files = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
    files.map(|link| link.split('#').next().unwrap_or_default().to_owned()).collect()
}

fn read_trial(words: &str) -> Result<Trial> {
    if words == "background" {
        return Ok(Trial::Background);
    }
    if let Some(status) = words.strip_prefix("exits ") {
        return Ok(Trial::Exits(status.parse().with_context(|| format!("{status:?} is no exit status"))?));
    }
    match words.strip_prefix("not run, ") {
        Some(why) => Ok(Trial::NotRun(why.to_owned())),
        None => {
            bail!("{words:?} says nothing about a block; write `exits N`, `background` or `not run, WHY`")
        }
    }
}

fn read_typed(content: &str) -> Result<Vec<Typed>> {
    let mut typed: Vec<Typed> = Vec::new();
    let mut continued = false;
    for line in content.lines() {
        if let (true, Some(last)) = (continued, typed.last_mut()) {
            last.command.push('\n');
            last.command.push_str(line);
            continued = line.ends_with('\\');
        } else if let Some(command) = line.strip_prefix("$ ") {
            continued = command.ends_with('\\');
            typed.push(Typed { command: command.to_owned(), prints: Vec::new() });
        } else if let Some(last) = typed.last_mut() {
            last.prints.push(line.to_owned());
        } else {
            bail!("a block of the language `console` begins with `$ ` and a command");
        }
    }
    if typed.is_empty() {
        bail!("a block of the language `console` holds a command");
    }
    Ok(typed)
}

#[cfg(test)]
mod tests {
    use super::{Trial, Typed, blocks, linked};

    #[test]
    fn commands_and_what_they_print_are_told_apart() {
        let page = "# A\n\n```console\n$ one \\\n    more\nprinted\n$ two\n```\n\n```sh\nnot read\n```\n\n\
                    <!-- test: exits 10 -->\n```console\n$ three\n```\n";
        let blocks = blocks(page).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].line, 3);
        let first = Typed { command: "one \\\n    more".to_owned(), prints: vec!["printed".to_owned()] };
        assert_eq!(blocks[0].typed, [first, Typed { command: "two".to_owned(), prints: vec![] }]);
        assert_eq!(blocks[1].trial, Trial::Exits(10));
    }

    #[test]
    fn links_to_files_are_found_and_others_left_alone() {
        let page = "[a](b.md#c) [d](https://example.org/e.md) [f](#g) ![h](../i.png)";
        assert_eq!(linked(page), ["b.md", "../i.png"]);
    }

    #[test]
    fn a_comment_that_says_nothing_known_is_refused() {
        assert!(blocks("<!-- test: perhaps -->\n```console\n$ one\n```\n").is_err());
        assert!(blocks("<!-- test: background -->\nno block\n").is_err());
        assert!(blocks("```console\nno command\n```\n").is_err());
    }
}
