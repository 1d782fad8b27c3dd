//! Declared servers as a table for people.

use super::{
    human::Look,
    text::{columns, escaped, padded},
};
use crate::inventory::declared::{ApprovalState, DeclaredServer, Transport};
use anstyle::{AnsiColor, Style};
use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _, path::Path};

/// Columns of the table.
const TITLES: [&str; 7] = ["CLIENT", "SCOPE", "USER", "NAME", "COMMAND OR ADDRESS", "APPROVAL", "PLACE"];
/// The columns that give way on a narrow terminal, and those that no column falls below.
const COMMAND: usize = 4;
const PLACE: usize = 6;
/// A column that gives way keeps these.
const COLUMNS_MIN: usize = 24;
/// No column but the last two that give way is wider.
const COLUMNS_MAX: usize = 28;
/// Between two columns.
const GAP: &str = "  ";

/// A line for each server. `user` tells the name of a uid.
#[must_use]
pub fn declared_for_people(
    servers: &[DeclaredServer],
    mut user: impl FnMut(u32) -> Option<String>,
    look: &Look,
) -> String {
    let rows: Vec<[String; 7]> = servers.iter().map(|server| row(server, &mut user)).collect();
    let mut widths = TITLES.map(columns);
    for row in &rows {
        for (number, (width, cell)) in widths.iter_mut().zip(row).enumerate() {
            let most = if number == COMMAND || number == PLACE { usize::MAX } else { COLUMNS_MAX };
            *width = (*width).max(columns(cell).min(most));
        }
    }
    if let Some(width) = look.width {
        narrow(&mut widths, width);
    }
    let mut text = String::new();
    let title = look.style(Style::new().bold());
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{title}{}{title:#}", line(&TITLES.map(str::to_owned), &widths, |_| Style::new()));
    for (server, row) in servers.iter().zip(&rows) {
        let dim = server.overridden_by.is_some() || server.approval.state == ApprovalState::Disabled;
        let style = |number| {
            look.style(match (number, server.approval.state) {
                _ if dim => Style::new().dimmed(),
                (5, ApprovalState::NotApproved) => AnsiColor::Yellow.on_default(),
                (5, ApprovalState::Approved) => AnsiColor::Green.on_default(),
                _ => Style::new(),
            })
        };
        let _ = writeln!(text, "{}", line(row, &widths, style));
    }
    text
}

/// Takes from the command and the place what does not fit.
fn narrow(widths: &mut [usize; 7], width: usize) {
    let gaps = GAP.len() * (widths.len() - 1);
    let fixed: usize = widths
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != COMMAND && *at != PLACE)
        .map(|(_, width)| width)
        .sum();
    let room = width.saturating_sub(fixed + gaps);
    let [_, _, _, _, command, _, place] = widths;
    if *command + *place > room {
        let half = room / 2;
        if *place <= half {
            *command = (room - *place).max(COLUMNS_MIN);
        } else if *command <= half {
            *place = (room - *command).max(COLUMNS_MIN);
        } else {
            (*command, *place) = (half.max(COLUMNS_MIN), half.max(COLUMNS_MIN));
        }
    }
}

fn line(cells: &[String; 7], widths: &[usize; 7], style: impl Fn(usize) -> Style) -> String {
    let mut text = String::new();
    for (number, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let style = style(number);
        let gap = if number == 0 { "" } else { GAP };
        let _ = write!(text, "{gap}{style}{}{style:#}", padded(cell, *width));
    }
    text.truncate(text.trim_end().len());
    text
}

fn row(server: &DeclaredServer, user: &mut impl FnMut(u32) -> Option<String>) -> [String; 7] {
    let shown = |text: &str| escaped(text.as_bytes()).into_owned();
    let path = |path: &Path| escaped(path.as_os_str().as_bytes()).into_owned();
    let scope = match server.scope.part() {
        Some(part) => format!("{} {}", server.scope.word(), shown(part)),
        None => server.scope.word().to_owned(),
    };
    let who = match server.uid {
        Some(uid) => user(uid).map_or_else(|| uid.to_string(), |name| shown(&name)),
        None => "all".into(),
    };
    let command = match &server.transport {
        Transport::Remote { host: Some(host), port, .. } => {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}{port}", shown(host))
        }
        other => other.to_string(),
    };
    let approval = match (&server.overridden_by, server.overridden_in.len()) {
        (Some(_), _) => "overridden".to_owned(),
        (None, 0) => server.approval.state.name().to_owned(),
        (None, 1) => format!("{} (not in 1 project)", server.approval.state.name()),
        (None, some) => format!("{} (not in {some} projects)", server.approval.state.name()),
    };
    let line = server.place.line.map(|line| format!(":{line}")).unwrap_or_default();
    let container = server.mount_namespace.map(|number| format!("[{number}] ")).unwrap_or_default();
    let place = format!("{container}{}{line}", path(&server.place.path));
    [shown(&server.client_name), scope, who, shown(&server.name), command, approval, place]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use jiff::tz::TimeZone;
    use std::os::unix::ffi::OsStringExt as _;

    fn table(width: Option<usize>, colour: bool) -> String {
        let look = Look { colour, width, time_zone: TimeZone::UTC };
        declared_for_people(&sample::declared_servers(), |uid| (uid == 1000).then(|| "user".into()), &look)
    }

    #[test]
    fn a_table_for_people() {
        insta::assert_snapshot!(table(None, false));
        insta::assert_snapshot!(table(Some(120), false));
    }

    #[test]
    fn hostile_names_stay_on_one_line_and_without_colour_nothing_is_coloured() {
        let mut servers = sample::declared_servers();
        for name in sample::hostile_names() {
            servers[0].name = String::from_utf8_lossy(&name).into_owned();
            servers[0].place.path = std::ffi::OsString::from_vec(name.clone()).into();
            let look = Look { colour: false, width: None, time_zone: TimeZone::UTC };
            let text = declared_for_people(&servers, |_| Some(servers[0].name.clone()), &look);
            assert_eq!(text.lines().count(), servers.len() + 1);
            assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
        }
        assert!(table(None, true).contains('\u{1b}'));
    }
}
