//! The page of a small story, and attacks on it.

use super::*;
use crate::render::story;

fn page_of(name: &str) -> String {
    let (events, findings) = story::read(name);
    page(&Material {
        events: events.iter().collect(),
        findings: findings.values().collect(),
        summaries: &[],
        asked: format!("--path {}", crate::event::escape(name.as_bytes())),
        time_zone: TimeZone::UTC,
    })
}

/// Tags of a page in their order, with the names of their attributes.
fn tags(page: &str) -> Vec<String> {
    page.split('<')
        .skip(1)
        .map(|part| {
            let tag = part.split('>').next().unwrap_or_default();
            let mut words = vec![tag.split_whitespace().next().unwrap_or_default().to_owned()];
            // Values stand in double quotes; what is between them is names.
            words.extend(tag.split('"').step_by(2).flat_map(|outside| {
                outside
                    .split_whitespace()
                    .filter(|word| word.ends_with('='))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            }));
            words.join(" ")
        })
        .collect()
}

#[test]
fn hostile_names_become_no_markup() {
    let harmless = tags(&page_of("id_rsa"));
    assert!(harmless.iter().all(|tag| !tag.starts_with("script") && !tag.starts_with("img")));
    for name in story::HOSTILE {
        let page = page_of(name);
        assert_eq!(tags(&page), harmless, "{name:?} changes the page");
        let bad = |character: char| character.is_control() && character != '\n';
        assert!(!page.contains(bad) && !page.contains(['\u{202e}', '\u{2066}', '\u{200b}']), "{name:?}");
    }
}

#[test]
fn the_page_asks_nobody_for_anything_and_its_policy_forbids_it() {
    let page = page_of("id_rsa");
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
    let after = page.split("</style>").nth(1).unwrap();
    for word in ["src=", "url(", "http://", "https://", "javascript:", "<link", "<script", "style="] {
        assert!(!after.contains(word), "{word}");
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
}

#[test]
fn the_page_shows_the_story() {
    let page = page_of("id_rsa");
    for text in [
        "What github did",
        "A secret was read by somebody who does not own it",
        "api.github.com:443",
        "5.0 KiB out, 87.8 KiB in",
        "/home/ann/.ssh/id_rsa",
        "files read or opened",
        "weaker-mechanism",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn the_worst_traffic_stands_first() {
    let (events, _) = story::read("evil.example");
    let edges = pictures::edges(events.iter());
    let rows: Vec<_> = edges.iter().map(|edge| (edge.destination.as_str(), edge.worst, edge.count)).collect();
    assert_eq!(
        rows,
        [
            ("evil.example:443", crate::event::Verdict::Unexpected, 1),
            ("api.github.com:443", crate::event::Verdict::Expected, 1)
        ]
    );
}
