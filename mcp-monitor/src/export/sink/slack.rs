//! Slack, and what takes its webhooks (Mattermost, Rocket.Chat, Discord's `/slack`). One message for each finding.
//!
//! `&`, `<` and `>` are escaped: a file called `<!channel>` must not call everybody.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Failure, OpenError, Sink, Taken,
    http::{Client, Http},
};
use crate::{
    event::Severity,
    export::{
        delivery::Digest,
        record::{Body, Record},
        secret::Secret,
    },
};

/// Longest text of one section; Slack takes 3,000 characters.
const TEXT_CHARACTERS_MAX: usize = 2500;

/// Settings of `slack`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackSettings {
    /// The webhook's URL, which is a secret itself.
    pub url: Secret,
    /// How to reach it.
    #[serde(default)]
    pub http: Http,
}

/// See the module.
pub(super) struct Slack {
    client: Client,
}

impl Slack {
    pub(super) fn open(settings: &SlackSettings) -> Result<Self, OpenError> {
        let url = settings.url.read()?;
        // Its messages are small, and not every compatible receiver decompresses.
        let http = Http { gzip: false, ..settings.http.clone() };
        let client = Client::new(url.expose(), &http, true).map_err(|error| match error {
            // The URL is the secret: its text stays here.
            OpenError::Settings(_) => OpenError::Settings("the webhook's URL is not an https URL".into()),
            other => other,
        })?;
        Ok(Self { client })
    }
}

/// Text that Slack shows as it is.
fn escaped(text: &str) -> String {
    let cut = &text[..text.char_indices().nth(TEXT_CHARACTERS_MAX).map_or(text.len(), |(at, _)| at)];
    let plain: String = cut.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text in a code span: no mark-up of Slack is read in it.
fn code(text: &str) -> String {
    format!("`{}`", escaped(text).replace('`', "'"))
}

fn message(record: &Record) -> Value {
    let parts = record.parts();
    let sign = match record.severity() {
        Some(Severity::Critical) => "🔴",
        Some(Severity::High) => "🟠",
        Some(Severity::Medium) => "🟡",
        Some(Severity::Low) | None => "🔵",
    };
    let (title, words, advice) = match record.body() {
        Body::Finding(finding) => {
            (finding.title.to_string(), finding.message.to_string(), finding.advice.to_string())
        }
        Body::Event(event) => (format!("{} {}", event.kind, event.verdict), parts.sentence(), String::new()),
    };
    let severity = record.severity().map_or("event", Severity::name);
    let test = if parts.test { "TEST: " } else { "" };
    let head = escaped(&format!("{sign} {test}{severity}: {title} ({})", parts.workload.name));
    let mut fields = vec![
        format!("*Workload*\n{}", code(&parts.workload.name.to_string())),
        format!("*Host*\n{}", code(&parts.host.name.to_string())),
        format!("*Object*\n{}", code(&parts.object())),
        format!(
            "*Process*\n{}",
            code(&format!("{} (pid {})", crate::event::escape(parts.process.program()), parts.process.pid))
        ),
    ];
    if let Some(rule) = parts.rule {
        fields.push(format!("*Rule*\n{}", code(&rule.to_string())));
    }
    if parts.count > 1 {
        fields.push(format!("*Count*\n{}", parts.count));
    }
    let fields: Vec<_> = fields.into_iter().map(|text| json!({"type": "mrkdwn", "text": text})).collect();
    let mut blocks = vec![
        json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("*{head}*\n{}", code(&words))}}),
        json!({"type": "section", "fields": fields}),
    ];
    if !advice.is_empty() {
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": escaped(&advice)}]}));
    }
    json!({"text": head, "blocks": blocks})
}

impl Sink for Slack {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let mut taken = Taken::default();
        for (place, record) in records.iter().enumerate() {
            let body = message(record).to_string();
            match self.client.post("", "application/json", body.as_bytes(), &[]) {
                Ok(_) => {}
                Err(Failure::Never { why }) => taken.rejected.push((place, why)),
                // Those before this one are delivered: only the rest comes again.
                Err(Failure::Later { why, after }) if place > 0 => {
                    taken.again = (place..records.len()).collect();
                    (taken.after, taken.why) = (after, Some(why));
                    break;
                }
                Err(later) => return Err(later),
            }
        }
        Ok(taken)
    }

    fn digest(&mut self, digest: &Digest) -> Result<(), Failure> {
        let text = escaped(&format!(
            "mcp-monitor, daily digest: {}",
            digest.text().lines().next().unwrap_or_default()
        ));
        let rows =
            digest.text().lines().skip(1).map(escaped).collect::<Vec<_>>().join("\n").replace('`', "'");
        let cut = &rows[..rows.floor_char_boundary(TEXT_CHARACTERS_MAX)];
        let block =
            json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("*{text}*\n```{cut}```")}});
        let body = json!({"text": text, "blocks": [block]}).to_string();
        self.client.post("", "application/json", body.as_bytes(), &[]).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing;

    #[test]
    fn a_hostile_name_calls_nobody_and_breaks_out_of_no_code() {
        let record = testing::opened(b"/tmp/<!channel> `*x*` <https://evil.example|click> &amp;");
        let text = message(&record).to_string();
        assert!(!text.contains("<!channel>") && !text.contains("<https"), "{text}");
        assert!(text.contains("&lt;!channel&gt; '*x*'"), "{text}");
    }
}
