//! What `top` draws. Names come escaped from the monitor.

use super::{Sort, View};
use crate::{
    cli::state::{ago, state},
    control::api::{SeverityCounts, WorkloadRow},
    render::text::{byte_count, shortened},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph, Row, Table, TableState, Wrap},
};

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let [head, body, findings, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Min(4),
        Constraint::Percentage(35),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, view);
    let rows = view.rows();
    match rows.get(view.selected) {
        Some(row) if view.detail => draw_detail(frame, body.union(findings), row, view),
        _ => {
            draw_workloads(frame, body, &rows, view);
            draw_findings(frame, findings, view, None);
        }
    }
    let help = if view.detail {
        " esc back  ↑↓ other workload  ^c quit"
    } else {
        " type to filter  ↑↓ select  enter detail  ^s sort  esc clear or quit"
    };
    frame.render_widget(Paragraph::new(help).dark_gray(), foot);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let status = &view.top.status;
    let alive = if status.alive { " running ".black().on_green() } else { " NOT TURNING ".white().on_red() };
    let lost: u64 = status.losses.iter().map(|loss| loss.count).sum();
    let lost = if lost == 0 { "nothing lost".green() } else { format!("{lost} lost").red().bold() };
    let mut first = vec![
        "mcp-monitor ".bold(),
        alive,
        format!("  {} · tier {} · up {} s · ", status.host, status.tier, status.uptime_s).into(),
        lost,
    ];
    if status.control.queue_dropped > 0 {
        first.push(format!(" · {} not taken in", status.control.queue_dropped).red());
    }
    let mut second = vec![
        format!(
            "{} running, {} processes · {:.1} events/s · findings ",
            status.instances_running, status.processes, status.events_per_second
        )
        .into(),
    ];
    second.extend(severities(&status.findings));
    let third = match (&view.trouble, view.filter.is_empty()) {
        (Some(trouble), _) => Line::from(trouble.clone().red()),
        (None, true) => Line::default(),
        (None, false) => Line::from(vec!["filter: ".dark_gray(), view.filter.clone().yellow()]),
    };
    frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(second), third]), area);
}

fn severities(of: &SeverityCounts) -> Vec<Span<'static>> {
    let parts = [
        (of.critical, "crit", Style::new().white().on_red()),
        (of.high, "high", Style::new().red()),
        (of.medium, "med", Style::new().yellow()),
        (of.low, "low", Style::new().dark_gray()),
    ];
    let mut spans = Vec::new();
    for (count, word, style) in parts {
        if count > 0 {
            spans.push(Span::styled(format!("{count} {word}"), style));
            spans.push(" ".into());
        }
    }
    if spans.is_empty() {
        spans.push("-".dark_gray());
    }
    spans
}

fn draw_workloads(frame: &mut Frame<'_>, area: Rect, rows: &[&WorkloadRow], view: &View) {
    let sort = match view.sort {
        Sort::Findings => "findings",
        Sort::Rate => "rate",
        Sort::Name => "name",
    };
    let header = Row::new(["WORKLOAD", "KIND", "STATE", "PROC", "EV/S", "BAD", "FINDINGS", "DESTINATIONS"])
        .style(Style::new().add_modifier(Modifier::BOLD));
    let wide = usize::from(area.width);
    let name = (wide / 5).clamp(12, 40);
    let places = wide.saturating_sub(name + 47).max(8);
    let cells = rows.iter().map(|row| {
        let bad = row.events.unexpected + row.events.forbidden;
        let first = row.destinations.first().map(|of| of.destination.as_str()).unwrap_or_default();
        let more = row.destinations.len().saturating_sub(1);
        let more = if more > 0 { format!(" +{more}") } else { String::new() };
        let places = format!("{}{more}", shortened(first, places.saturating_sub(more.len())));
        Row::new([
            Line::from(shortened(&row.name, name).into_owned()),
            Line::from(row.kind.clone()),
            Line::from(state(row)),
            Line::from(row.processes.to_string()).right_aligned(),
            Line::from(format!("{:.1}", row.events_per_second)).right_aligned(),
            Line::from(bad.to_string()).right_aligned(),
            Line::from(severities(&row.findings)),
            Line::from(places),
        ])
        .style(if row.running { Style::new() } else { Style::new().fg(Color::DarkGray) })
    });
    let widths = [
        Constraint::Length(u16::try_from(name).unwrap_or(20)),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(4),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Length(12),
        Constraint::Min(8),
    ];
    let title = format!(" workloads: {} of {}, by {sort} ", rows.len(), view.top.workloads.len());
    let table = Table::new(cells, widths)
        .header(header)
        .block(Block::new().borders(Borders::TOP).title(title))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selected = TableState::default().with_selected((!rows.is_empty()).then_some(view.selected));
    frame.render_stateful_widget(table, area, &mut selected);
}

fn draw_findings(frame: &mut Frame<'_>, area: Rect, view: &View, instance: Option<&str>) {
    let rows = view.top.findings.iter().filter(|row| instance.is_none_or(|of| row.instance == of));
    let width = usize::from(area.width);
    let lines: Vec<_> = rows
        .map(|row| {
            let style = match row.severity.as_str() {
                "critical" => Style::new().white().on_red(),
                "high" => Style::new().red(),
                "medium" => Style::new().yellow(),
                _ => Style::new().dark_gray(),
            };
            let count = if row.count > 1 { format!(" ×{}", row.count) } else { String::new() };
            let begin = format!("{:>7} ", ago(&row.last_seen));
            let rule = format!("{:<16}", row.rule);
            let who = format!(" {} ", shortened(&row.workload, 14));
            let room = width.saturating_sub(begin.len() + rule.len() + who.chars().count() + count.len() + 1);
            Line::from(vec![
                begin.dark_gray(),
                Span::styled(rule, style),
                who.into(),
                Span::from(shortened(&row.object, room).into_owned()),
                count.dark_gray(),
            ])
        })
        .collect();
    let title = format!(" latest findings: {} ", lines.len());
    let block = Block::new().borders(Borders::TOP).title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_detail(frame: &mut Frame<'_>, area: Rect, row: &WorkloadRow, view: &View) {
    let [head, places, findings] =
        Layout::vertical([Constraint::Length(8), Constraint::Min(4), Constraint::Percentage(35)]).areas(area);
    let client = row.client.as_ref().map(|client| format!(" of {client}")).unwrap_or_default();
    let user = row.user.clone().or(row.uid.map(|uid| uid.to_string())).unwrap_or_else(|| "-".into());
    let lines = vec![
        Line::from(vec![row.name.clone().bold(), format!("  {}{client}, {}", row.kind, state(row)).into()]),
        Line::from(format!("id {}", row.id)).dark_gray(),
        Line::from(format!("instance {}", row.instance)).dark_gray(),
        Line::from(format!(
            "user {user} · {} processes · first seen {} ago, last {} ago",
            row.processes,
            ago(&row.first_seen),
            ago(&row.last_seen)
        )),
        Line::from(vec![
            format!("{:.1} events/s · ", row.events_per_second).into(),
            format!("{} expected ", row.events.expected).green(),
            format!("{} unexpected ", row.events.unexpected).yellow(),
            format!("{} forbidden ", row.events.forbidden).red(),
            format!("{} unjudged", row.events.unjudged).dark_gray(),
        ]),
        Line::from(format!("{} lost, {} things not seen", row.lost, row.not_seen)),
    ];
    let block = Block::new().borders(Borders::TOP).title(" workload ");
    frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: true }), head);
    let lines: Vec<_> = row
        .destinations
        .iter()
        .map(|of| {
            let style = match of.verdict.as_str() {
                "forbidden" => Style::new().red(),
                "unexpected" => Style::new().yellow(),
                "expected" => Style::new().green(),
                _ => Style::new().dark_gray(),
            };
            let room = usize::from(places.width).saturating_sub(46).max(16);
            Line::from(vec![
                Span::styled(format!("{:<11}", of.verdict), style),
                format!("{:<room$}", shortened(&of.destination, room)).into(),
                format!(
                    " ×{:<6} ↑{} ↓{}",
                    of.count,
                    byte_count(of.bytes_sent),
                    byte_count(of.bytes_received)
                )
                .dark_gray(),
            ])
        })
        .collect();
    let title = format!(" destinations: {} ", lines.len());
    let block = Block::new().borders(Borders::TOP).title(title);
    frame.render_widget(Paragraph::new(lines).block(block), places);
    draw_findings(frame, findings, view, Some(&row.instance));
}
