//! `mcp-monitor top`: workloads with their rates, findings, destinations and losses, as it happens.

mod screen;

use super::{
    exit_code::Exit,
    query::{QueryError, client},
};
use crate::control::{
    Filter,
    api::{Top, WorkloadRow},
    client::{Client, ClientError},
};
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    sync::mpsc,
    time::Duration,
};

/// Options of `top`.
#[derive(Clone, Debug, Args)]
pub(super) struct TopCommand {
    /// Seconds between two looks.
    #[arg(short = 'd', long, value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    delay: u64,
    /// Show only workloads whose name, kind, client or user contains TEXT.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// The monitor's socket [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl TopCommand {
    /// Runs until q.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let client = client(self.socket.as_ref());
        // What cannot be asked is told before the screen is taken.
        let top = ask(&client).map_err(QueryError::from)?;
        if !io::stdout().is_terminal() {
            return Err(QueryError::Usage(
                "top draws on a terminal; for a script there are `status -o json` and `workloads -o json`"
                    .into(),
            )
            .into());
        }
        let asking = asking(client, Duration::from_secs(self.delay));
        let mut view = View { filter: self.filter.clone(), ..View::new(top) };
        let mut terminal = ratatui::try_init()?;
        let result = show(&mut terminal, &mut view, &asking);
        ratatui::restore();
        result?;
        Ok(Exit::Ok)
    }
}

fn ask(client: &Client) -> Result<Top, ClientError> {
    client.get("/v1/top", &Filter::default())
}

/// Asks on a thread of its own, so that keys are answered while the monitor is slow.
fn asking(client: Client, every: Duration) -> mpsc::Receiver<Result<Top, ClientError>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(every);
            if sender.send(ask(&client)).is_err() {
                break;
            }
        }
    });
    receiver
}

/// What is looked at.
#[derive(Debug)]
struct View {
    top: Top,
    /// Why the numbers are old.
    trouble: Option<String>,
    filter: String,
    selected: usize,
    detail: bool,
    sort: Sort,
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Findings,
    Rate,
    Name,
}

impl View {
    fn new(top: Top) -> Self {
        Self { top, trouble: None, filter: String::new(), selected: 0, detail: false, sort: Sort::Findings }
    }

    /// Rows that the filter leaves, in order.
    fn rows(&self) -> Vec<&WorkloadRow> {
        let wanted = self.filter.to_lowercase();
        let mut rows: Vec<_> = self
            .top
            .workloads
            .iter()
            .filter(|row| {
                let of = [Some(&row.name), Some(&row.kind), row.client.as_ref(), row.user.as_ref()];
                of.into_iter().flatten().any(|text| text.to_lowercase().contains(&wanted))
            })
            .collect();
        match self.sort {
            Sort::Findings => rows.sort_by_key(|row| {
                let of = &row.findings;
                std::cmp::Reverse((row.running, of.critical, of.high, of.medium, of.low))
            }),
            Sort::Rate => {
                rows.sort_by(|one, other| other.events_per_second.total_cmp(&one.events_per_second));
            }
            Sort::Name => rows.sort_by(|one, other| one.name.cmp(&other.name)),
        }
        rows
    }

    fn update(&mut self, answer: Result<Top, ClientError>) {
        match answer {
            Ok(top) => {
                self.top = top;
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(error.to_string()),
        }
        self.selected = self.selected.min(self.rows().len().saturating_sub(1));
    }

    /// Answers a key. `false` ends.
    fn key(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let last = self.rows().len().saturating_sub(1);
        match key.code {
            KeyCode::Char('c' | 'q') if control => return false,
            KeyCode::Char('s') if control => {
                self.sort = match self.sort {
                    Sort::Findings => Sort::Rate,
                    Sort::Rate => Sort::Name,
                    Sort::Name => Sort::Findings,
                };
            }
            KeyCode::Char('u') if control => self.filter.clear(),
            KeyCode::Esc if self.detail => self.detail = false,
            KeyCode::Esc | KeyCode::Char('q') if self.filter.is_empty() => return false,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Enter => self.detail = !self.detail,
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => self.selected = (self.selected + 1).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(10),
            KeyCode::PageDown => self.selected = (self.selected + 10).min(last),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if !control && self.filter.len() < 64 && !self.detail => {
                self.filter.push(character);
                self.selected = 0;
            }
            _ => {}
        }
        true
    }
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    view: &mut View,
    asking: &mpsc::Receiver<Result<Top, ClientError>>,
) -> io::Result<()> {
    loop {
        terminal.draw(|frame| screen::draw(frame, view))?;
        if event::poll(Duration::from_millis(200))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
            && !view.key(key)
        {
            return Ok(());
        }
        if let Ok(answer) = asking.try_recv() {
            view.update(answer);
        }
    }
}

#[cfg(test)]
mod tests;
