//! What `top` draws at 80 columns, and what keys do.

use super::*;
use crate::control::api::{DestinationRow, FindingRow, SeverityCounts, Status, VerdictCounts};
use ratatui::{Terminal, backend::TestBackend};

fn row(name: &str, critical: u64, rate: f64) -> WorkloadRow {
    WorkloadRow {
        id: "aaaa1111-0000-5000-8000-000000000000".into(),
        instance: format!("{name}-0001"),
        name: name.into(),
        kind: "server".into(),
        user: Some("ann".into()),
        running: true,
        processes: 3,
        events: VerdictCounts { expected: 120, unexpected: 2, forbidden: critical, unjudged: 4 },
        events_per_second: rate,
        findings: SeverityCounts { critical, medium: 2, ..SeverityCounts::default() },
        destinations: vec![
            DestinationRow {
                destination: "a-rather-long-name.of.a.place.example.com:443".into(),
                verdict: "unexpected".into(),
                count: 12,
                bytes_sent: 2048,
                bytes_received: 10,
            };
            2
        ],
        ..WorkloadRow::default()
    }
}

fn view() -> View {
    let finding = FindingRow {
        rule: "secret-read".into(),
        severity: "critical".into(),
        workload: "github".into(),
        instance: "github-0001".into(),
        object: "/home/ann/.ssh/id_rsa".into(),
        count: 3,
        ..FindingRow::default()
    };
    let status = Status {
        host: "example".into(),
        tier: "lsm".into(),
        alive: true,
        ready: true,
        instances_running: 2,
        processes: 6,
        uptime_s: 90,
        ..Status::default()
    };
    let workloads = vec![row("filesystem", 0, 250.5), row("github", 1, 3.0)];
    View::new(Top { schema: String::new(), status, workloads, findings: vec![finding] })
}

fn drawn(view: &View) -> String {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| screen::draw(frame, view)).unwrap();
    terminal.backend().to_string()
}

fn press(view: &mut View, keys: &[KeyCode]) -> bool {
    keys.iter().all(|code| view.key(KeyEvent::from(*code)))
}

#[test]
fn eighty_columns_are_enough() {
    insta::assert_snapshot!("workloads", drawn(&view()));
    let mut detail = view();
    press(&mut detail, &[KeyCode::Enter]);
    insta::assert_snapshot!("detail", drawn(&detail));
}

#[test]
fn typing_filters_and_escape_takes_it_back() {
    let mut view = view();
    assert!(press(&mut view, &[KeyCode::Char('F'), KeyCode::Char('i'), KeyCode::Char('l')]));
    assert_eq!(view.rows().iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["filesystem"]);
    assert!(press(&mut view, &[KeyCode::Char('q')]), "a q in a filter does not end");
    assert!(view.rows().is_empty());
    assert!(press(&mut view, &[KeyCode::Down, KeyCode::Enter, KeyCode::Esc, KeyCode::Esc]));
    assert_eq!(view.rows().len(), 2);
    assert!(!press(&mut view, &[KeyCode::Char('q')]));
}

#[test]
fn the_worst_stand_first_and_order_can_be_changed() {
    let mut view = view();
    assert_eq!(view.rows()[0].name, "github");
    view.key(KeyEvent::new(KeyCode::Char('s'), KeyModifiers::CONTROL));
    assert_eq!(view.rows()[0].name, "filesystem");
}

#[test]
fn hostile_names_stay_in_their_cells() {
    let mut view = view();
    // The monitor escapes names; one that does not is somebody else.
    view.top.workloads[0].name = "a\u{1b}[2J\nb".into();
    view.top.findings[0].object = "x\u{1b}]0;t\u{7}\r\ny".into();
    let screen = drawn(&view);
    assert!(!screen.chars().any(|character| character.is_control() && character != '\n'), "{screen:?}");
    assert_eq!(screen.lines().count(), 24);
}
