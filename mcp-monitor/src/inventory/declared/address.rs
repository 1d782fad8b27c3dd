//! Addresses of remote servers, without what is secret in them.

use url::Url;

use super::Transport;
use crate::{
    event::escape,
    sensor::mask::{self, MASKED},
};

/// The server at `url`. User, password, values of the query and the fragment are gone; names in the path stay unless
/// they look like secrets.
pub(super) fn remote(url: &str) -> Transport {
    let masked = String::from_utf8_lossy(MASKED);
    let Ok(mut parsed) = Url::parse(url) else {
        // Usually there are variables in it. What stands before any user, query or fragment tells enough.
        let begin = url.split(['?', '#']).next().unwrap_or_default();
        let shown = if begin.contains('@') { masked.into_owned() } else { masked_text(begin) };
        return Transport::Remote { host: None, port: None, url: shown };
    };
    let host = parsed.host_str().filter(|host| !host.contains(['$', '{', '%'])).map(str::to_owned);
    let port = parsed.port_or_known_default();
    let user = !parsed.username().is_empty() || parsed.password().is_some();
    let keys: Vec<String> = parsed.query_pairs().map(|(key, _)| key.into_owned()).collect();
    let fragment = parsed.fragment().is_some();
    parsed.set_query(None);
    parsed.set_fragment(None);
    // Fails for addresses without a host, which have no user either.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    let mut shown = masked_text(parsed.as_str());
    if user && let Some(at) = shown.find("://") {
        shown.insert_str(at + 3, &format!("{masked}@"));
    }
    for (number, key) in keys.iter().enumerate() {
        // A secret may stand without a key, and is one itself then.
        let key = masked_text(key);
        shown.push(if number == 0 { '?' } else { '&' });
        shown.extend([key.as_str(), "=", &masked]);
    }
    if fragment {
        shown.extend(["#", &masked]);
    }
    Transport::Remote { host, port, url: shown }
}

fn masked_text(text: &str) -> String {
    String::from_utf8_lossy(mask::text(text.as_bytes()).as_slice()).into_owned()
}

impl std::fmt::Display for Transport {
    /// For people: the command line or the address, escaped.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdio { command, arguments, .. } => {
                write!(formatter, "{command}")?;
                arguments.iter().try_for_each(|argument| write!(formatter, " {argument}"))
            }
            Self::Remote { url, .. } => formatter.write_str(&escape(url.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_keeps_its_host_and_loses_its_secrets() {
        let Transport::Remote { host, port, url } =
            remote("https://user:hunter2@mcp.example.com/v1/mcp?key=hunter2&x=1#hunter2")
        else {
            panic!()
        };
        assert_eq!((host.as_deref(), port), (Some("mcp.example.com"), Some(443)));
        assert_eq!(url, "https://[masked]@mcp.example.com/v1/mcp?key=[masked]&x=[masked]#[masked]");
        let secret_path = remote("https://h.example/mcp/s/MTk4OjpkZWFkYmVlZjAxMjM0NTY3ODk/x").to_string();
        assert!(!secret_path.contains("MTk4"), "{secret_path}");
        let variable = remote("${BASE}/mcp?k=hunter2").to_string();
        assert_eq!(variable, "${BASE}/mcp");
        assert!(matches!(remote("https://${HOST}/mcp"), Transport::Remote { host: None, .. }));
        assert!(!remote("https://hunter2@${HOST}/mcp").to_string().contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_address_is_survived(text in "\\PC{0,80}", tail in "[a-z:/@?#&=%${}.]{0,40}") {
            let _ = remote(&text).to_string();
            let _ = remote(&format!("https://{tail}")).to_string();
        }
    }
}
