//! Compares what a page says a command prints with what it printed.
//!
//! A documented line stands for every line of its shape: `…` for anything, numbers for any number, long hexadecimal words
//! for any other, white space for any white space. The documented lines must all be there, in their order; what is printed
//! between them is nobody's business.

use regex::Regex;

/// The first documented line that `output` lacks.
pub(crate) fn missing<'a>(documented: &'a [String], output: &str) -> Option<&'a str> {
    let mut lines = output.lines();
    documented
        .iter()
        .filter(|line| !line.trim_matches([' ', '…', '.']).is_empty())
        .find(|line| !lines.any(|printed| shape(line).is_none_or(|shape| shape.is_match(printed))))
        .map(String::as_str)
}

/// What lines that a documented line stands for look like; nothing for one that no expression can hold.
fn shape(line: &str) -> Option<Regex> {
    let mut pattern = String::from("^");
    let mut rest = line.trim_end();
    let words = Regex::new(r"^(?:…|\.\.\.|\s+|[0-9a-f]{8}[0-9a-f-]*|[0-9][0-9.,:]*|[^\s…0-9.]+|.)").ok()?;
    while let Some(word) = words.find(rest) {
        let text = word.as_str();
        if matches!(text, "…" | "...") {
            pattern.push_str(".*");
        } else if text.trim().is_empty() {
            pattern.push_str(r"\s+");
        } else if text.len() >= 8 && text.chars().all(|sign| sign.is_ascii_hexdigit() || sign == '-') {
            pattern.push_str("[0-9a-f-]+");
        } else if text.starts_with(|sign: char| sign.is_ascii_digit()) {
            pattern.push_str("[0-9][0-9.,:]*");
        } else {
            pattern.push_str(&regex::escape(text));
        }
        rest = &rest[word.end()..];
    }
    pattern.push_str(r"\s*$");
    Regex::new(&pattern).ok()
}

#[cfg(test)]
mod tests {
    use super::missing;

    fn lacks(documented: &[&str], output: &str) -> Option<String> {
        let documented: Vec<String> = documented.iter().map(|line| (*line).to_owned()).collect();
        missing(&documented, output).map(str::to_owned)
    }

    #[test]
    fn numbers_times_and_ids_may_differ_and_words_may_not() {
        let output =
            "start\n14:02:11.250 sh   open  FORBIDDEN 4711 cat /home/ann/.ssh/id_rsa\nchecked 12 events\n";
        assert_eq!(
            lacks(
                &["09:52:17.200 sh open FORBIDDEN 20200 cat …/.ssh/id_rsa", "…", "checked 7,110 events"],
                output
            ),
            None
        );
        assert_eq!(lacks(&["checked 12 rows"], output).as_deref(), Some("checked 12 rows"));
        let id = "finding 01a1f91f-bf61-72e4-854e-93a423bbae3d";
        assert_eq!(lacks(&["finding 01a1f923-9275-7530-93a2-7137b9ad3d0e"], id), None);
    }

    #[test]
    fn the_order_counts() {
        assert_eq!(lacks(&["b", "a"], "a\nb\n").as_deref(), Some("a"));
        assert_eq!(lacks(&["a", "b"], "a\nbetween\nb\n"), None);
    }
}
