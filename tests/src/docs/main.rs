//! Tries every command that the documentation tells its readers to type, and compares what it prints.
//!
//! `docs --monitor PATH --pages DIR`: each page is a test of its own, done from top to bottom in one shell.

mod desk;
mod page;
mod shown;
mod terminal;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use desk::Desk;
use page::{Block, Trial};

/// How long something in the background may take until it answers.
const PATIENCE: Duration = Duration::from_mins(1);
/// What a page may take; a command that waits for somebody would wait for ever.
const PAGE_DEADLINE: Duration = Duration::from_mins(3);
/// Ends when a monitor answers and everything is attached.
const ANSWERS: &str =
    "until mcp-monitor status -o json 2>&1 | grep -q \\\"ready\\\":true; do sleep 0.2; done";

#[derive(Parser)]
#[command(about = "Tries every command of the documentation")]
struct Arguments {
    /// The monitor's program
    #[arg(long)]
    monitor: PathBuf,
    /// Pages and folders of pages; may be repeated
    #[arg(long, required = true)]
    pages: Vec<PathBuf>,
    /// Only pages whose name holds this
    #[arg(long)]
    only: Option<String>,
    /// Show what each command prints: to write a page
    #[arg(long)]
    show: bool,
    /// What the examples of the pages use
    #[arg(long)]
    examples: PathBuf,
    /// Taken like the other test programs do, and not used
    #[arg(long, hide = true)]
    attack: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("docs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let monitor = arguments.monitor.canonicalize().context("find the monitor")?;
    let examples = arguments.examples.canonicalize().context("find the examples")?;
    let mut pages = pages(&arguments.pages)?;
    if let Some(only) = &arguments.only {
        pages.retain(|page| page.to_string_lossy().contains(only.as_str()));
    }
    let desk = Desk::prepare(&monitor, &examples)?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut failures = Vec::new();
    for path in &pages {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let lacking = page::linked(&text).into_iter().find(|link| !folder.join(link).exists());
        let outcome = page::blocks(&text).and_then(|blocks| {
            if let Some(link) = lacking {
                bail!("links to {link}, which is not there");
            }
            for Block { line, trial, .. } in &blocks {
                if let Trial::NotRun(why) = trial {
                    println!("{}:{line}: not run: {why}", path.display());
                    skipped += 1;
                }
            }
            try_page(&desk, &blocks, arguments.show)
        });
        match outcome {
            Ok(commands) => {
                println!("{}: {commands} commands did what the page says", path.display());
                passed += 1;
            }
            Err(error) => {
                println!("{}: FAILED", path.display());
                failures.push((path, error));
                failed += 1;
            }
        }
    }
    for (path, error) in &failures {
        println!("---- {} ----\n{error:#}", path.display());
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

/// Every page below `roots`.
fn pages(roots: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for root in roots {
        if root.is_file() {
            pages.push(root.clone());
            continue;
        }
        for entry in fs::read_dir(root).with_context(|| format!("read {}", root.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    ensure!(!pages.is_empty(), "no page was found");
    Ok(pages)
}

/// Does what a page says; how many commands that were.
fn try_page(desk: &Desk, blocks: &[Block], show: bool) -> Result<usize> {
    let tried: Vec<&Block> = blocks.iter().filter(|block| !matches!(block.trial, Trial::NotRun(_))).collect();
    if tried.is_empty() {
        return Ok(0);
    }
    desk.clear()?;
    let behind = tempfile::tempdir().context("make a scratch folder")?;
    let spoken = terminal::speak(&mut desk.shell(PAGE_DEADLINE), &script(&tried, behind.path()))?;
    let mut commands = 0;
    for (number, block) in tried.iter().enumerate() {
        for (place, typed) in block.typed.iter().enumerate() {
            let name = name(number, place);
            let what = format!("line {}: `{}`", block.line, typed.command);
            let wanted = match block.trial {
                Trial::Exits(status) if place + 1 == block.typed.len() => status,
                _ => 0,
            };
            let output = if block.trial == Trial::Background {
                fs::read(behind.path().join(&name))
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())?
            } else {
                match spoken.of(&name) {
                    Some((output, status)) if status == wanted => output,
                    Some((output, status)) => {
                        bail!("{what}: ended with {status}, not {wanted}; it printed\n{output}")
                    }
                    None => bail!(
                        "{what}: it did not end, or was never reached; the shell printed\n{}",
                        spoken.all()
                    ),
                }
            };
            if show {
                println!("$ {}\n{output}", typed.command);
            }
            if let Some(line) = shown::missing(&typed.prints, &output) {
                bail!("{what}: no line like\n    {line}\nin what it printed:\n{output}");
            }
            commands += 1;
        }
    }
    Ok(commands)
}

/// What a command of a page is called between this program and the shell.
fn name(block: usize, place: usize) -> String {
    format!("{block}.{place}")
}

/// One shell's worth of commands, each between two marks; what goes on in the background writes to a file of its own.
fn script(blocks: &[&Block], behind: &Path) -> String {
    let mut script = String::from("behind=()\n");
    for (number, block) in blocks.iter().enumerate() {
        for (place, typed) in block.typed.iter().enumerate() {
            let (name, command) = (name(number, place), &typed.command);
            if block.trial == Trial::Background {
                let file = behind.join(&name);
                let begin = format!("{{ {command}\n}} >{} 2>&1 </dev/null & behind+=($!)\n", file.display());
                let wait = format!("timeout {} bash -c '{ANSWERS}'\n", PATIENCE.as_secs());
                script.extend([begin, wait]);
            } else {
                // Nobody types faster, and what happened is told a moment later.
                script += "sleep 1\n";
                script += &terminal::marked(&name, command);
            }
        }
    }
    // The shell made those children leave Ctrl-C alone, so they are asked in the other way.
    script += "for one in \"${behind[@]}\"; do pkill -TERM -P \"$one\"; kill -TERM \"$one\"; done 2>/dev/null\nwait\n";
    script
}
