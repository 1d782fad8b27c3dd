//! `mcp-monitor completions SHELL` and `mcp-monitor man`: made from the command line's own description.

use super::exit_code::{self, Exit};
use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, env::Shells};
use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

/// Options of `completions`.
#[derive(Clone, Debug, Args)]
pub(super) struct Completions {
    /// For which shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// Prints the script. It calls the program for each completion, so that names are those that exist now.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        print(&script(self.shell)?)
    }
}

/// The variable by which a shell says that it completes.
const VARIABLE: &str = "COMPLETE";

fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let Some(completer) = shells.completer(&name) else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("nothing is known of {name}")));
    };
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "mcp-monitor", "mcp-monitor", "mcp-monitor", &mut script)?;
    Ok(script)
}

/// Options of `man`.
#[derive(Clone, Debug, Args)]
pub(super) struct Man {
    /// The command whose page is printed; of the whole program when none is given.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write all pages into DIR instead, e.g. mcp-monitor.1 and mcp-monitor-events.1.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    directory: Option<PathBuf>,
}

impl Man {
    /// Prints or writes pages.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut program = super::Cli::command();
        program.build();
        if let Some(directory) = &self.directory {
            fs::create_dir_all(directory)?;
            for (name, page) in pages(&program)? {
                fs::write(directory.join(name), page)?;
            }
            return Ok(Exit::Ok);
        }
        let wanted = match &self.command {
            None => program,
            Some(name) => {
                let Some(command) = program.find_subcommand(name) else {
                    super::say(&format_args!("there is no command {name}; `mcp-monitor help` lists them"));
                    return Ok(Exit::Usage);
                };
                command.clone()
            }
        };
        print(&page(&wanted)?)
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<Exit> {
    match io::stdout().write_all(bytes) {
        // A reader that has seen enough is no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        other => Ok(other.map(|()| Exit::Ok)?),
    }
}

fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

/// Every page with the name of its file.
fn pages(program: &clap::Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = vec![("mcp-monitor.1".to_owned(), page(program)?)];
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("mcp-monitor-{}", command.get_name());
        // Each page stands for itself and is named as man calls it.
        let named = command.clone().display_name(name.clone()).after_long_help(exit_code::TABLE);
        pages.push((format!("{name}.1"), page(&named)?));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let mut program = super::super::Cli::command();
        program.build();
        let pages = pages(&program).unwrap();
        for name in ["mcp-monitor.1", "mcp-monitor-events.1", "mcp-monitor-top.1", "mcp-monitor-watch.1"] {
            let (_, page) = pages.iter().find(|(page, _)| page == name).unwrap();
            assert!(String::from_utf8_lossy(page).contains(".SH SYNOPSIS"), "{name}");
        }
    }

    #[test]
    fn every_shell_has_a_script_that_asks_the_program() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = String::from_utf8(script(shell).unwrap()).unwrap();
            assert!(script.contains("mcp-monitor") && script.contains(VARIABLE), "{shell}: {script}");
        }
    }
}
