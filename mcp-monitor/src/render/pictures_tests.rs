//! Trees, timelines and explanations of a small story, and of one told with hostile names.

use super::{
    explain::{self, Explanation},
    human::Look,
    output::{Format, Output, Rows},
    sample, story,
    stream::{Colour, Destination},
    timeline::{self, Timeline},
    tree::{self, Forest},
};
use crate::finding::rules::RuleBook;
use serde::Serialize;

fn narrow() -> Look {
    Look { width: Some(80), ..sample::look() }
}

#[test]
fn a_tree_says_who_is_whose_child_and_what_was_judged() {
    let (events, findings) = story::read("id_rsa");
    let forest = Forest::new(&events, findings.values());
    insta::assert_snapshot!(tree::for_people(&forest, &narrow()));
    insta::assert_snapshot!(serde_json::to_string_pretty(&forest).unwrap());
}

#[test]
fn a_timeline_folds_what_is_dull() {
    let (events, findings) = story::read("id_rsa");
    insta::assert_snapshot!(timeline::for_people(&Timeline::new(&events, findings.values()), &narrow()));
}

#[test]
fn an_explanation_says_what_came_before_and_what_to_do() {
    let (events, findings) = story::read("id_rsa");
    let rules = RuleBook::embedded().unwrap();
    for id in ["finding-0001", "event-0012", "event-0002"] {
        let explanation = Explanation::of_id(id, &events, findings.values(), &rules).unwrap();
        insta::assert_snapshot!(format!("explained_{id}"), explain::for_people(&explanation, &narrow()));
    }
    assert!(Explanation::of_id("event-", &events, findings.values(), &rules).is_none(), "several have it");
    assert!(Explanation::of_id("", &events, findings.values(), &rules).is_none());
    let rule = Explanation::of_rule(crate::event::Rule::MetadataEgress, &rules);
    insta::assert_snapshot!("explained_rule", explain::for_people(&rule, &narrow()));
}

#[test]
fn a_tree_of_made_up_lines_ends() {
    let (mut events, _) = story::read("x");
    // Each other's parent, and a chain deeper than any stack.
    let reference = events[1].process.ancestors[0].clone();
    for number in 0..2000_u32 {
        let mut event = events[1].clone();
        event.process.pid = 5000 + number;
        event.process.start = 1;
        event.process.ancestors = vec![reference.clone()];
        event.process.ancestors[0].pid = 5000 + (number + 1) % 2000;
        event.process.ancestors[0].start = 1;
        events.push(event);
    }
    let forest = Forest::new(&events, []);
    let rows = forest.rows();
    assert!(rows.iter().filter(|row| row[2].parse::<u32>().unwrap() >= 5000).count() == 2000);
}

fn printed<Answer: Serialize + Rows>(
    format: Format,
    answer: &Answer,
    people: fn(&Answer, &Look) -> String,
) -> String {
    let path = tempfile::NamedTempFile::new().unwrap();
    let destination = Destination::file(path.path()).unwrap();
    let mut output = Output::new(Some(format), destination, Colour::Never, true);
    output.answer(answer, people).unwrap();
    output.flush().unwrap();
    std::fs::read_to_string(path.path()).unwrap()
}

#[test]
fn hostile_names_forge_nothing_in_any_picture_and_format() {
    let rules = RuleBook::embedded().unwrap();
    let lines = |name: &str, format| {
        let (events, findings) = story::read(name);
        let explanation = Explanation::of_id("finding-0001", &events, findings.values(), &rules).unwrap();
        [
            printed(format, &Forest::new(&events, findings.values()), tree::for_people),
            printed(format, &Timeline::new(&events, findings.values()), timeline::for_people),
            printed(format, &explanation, explain::for_people),
        ]
    };
    for format in [Format::Wide, Format::Json, Format::Yaml, Format::Csv] {
        let harmless = lines("id_rsa", format).map(|text| text.lines().count());
        for name in story::HOSTILE {
            let hostile = lines(name, format);
            for text in &hostile {
                let bad = |character: char| character.is_control() && character != '\n';
                assert!(!text.contains(bad), "{format:?} {text:?}");
                assert!(
                    !text.contains(['\u{202e}', '\u{2066}', '\u{200b}', '\u{2028}']),
                    "{format:?} {text:?}"
                );
            }
            if format != Format::Yaml {
                assert_eq!(hostile.map(|text| text.lines().count()), harmless, "{format:?} {name:?}");
            }
        }
    }
}
