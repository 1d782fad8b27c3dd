//! Texts and what becomes of them.

use std::{fs, net::IpAddr, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::LazyLock};

use proptest::prelude::*;

use super::{check::path_pattern, compile::escaped, destination::Protocol, read::Source, *};
use crate::expectation::glob::Homes;

const HEAD: &str = "apiVersion: mcp-monitor/v1\nworkload: demo\n";

fn source(name: &str, text: &str) -> Source {
    Source { path: PathBuf::from(name), text: text.to_owned() }
}

/// Read once: what is known is the same for every text.
static EMBEDDED: LazyLock<set::Embedded> = LazyLock::new(|| set::Embedded::new().unwrap());

fn set(text: &str) -> Result<Set, LoadError> {
    let known = check::Known { catalogue: &EMBEDDED.catalogue, profiles: &EMBEDDED.profiles };
    Set::with_known(&[source("demo.yaml", text)], known)
}

fn compiled(text: &str, subject: &Subject) -> Compiled {
    let set = set(text).unwrap();
    Compiled::new(&set.all()[0], subject).unwrap()
}

fn demo() -> Subject {
    Subject {
        name: "demo".into(),
        workspaces: vec!["/home/u/work".into(), "/srv/[x]".into()],
        home: Some("/home/u".into()),
        ..Subject::default()
    }
}

#[test]
fn the_example_of_the_documentation_is_understood() {
    let text = r#"
apiVersion: mcp-monitor/v1
workload: github              # as the inventory names it
client: claude-code
runtime: node
files:
  read:  ["${workspace}/**"]
  write: []
secrets: [github-cli]
exec:    [git]
egress:  ["api.github.com:443", "*.githubusercontent.com:443", "10.0.0.0/8:5432", "time.example.org:123/udp", "[2001:db8::1]:8000-8100/tcp"]
listen:  []
clients: [localhost, unix, 192.0.2.0/24]
unix: ["/run/postgresql/*", "@abstract"]
times: [{days: [mon-fri], from: "08:00", to: "18:00", zone: UTC}]
mode: alert
enforce: {egress: observe}
---
apiVersion: mcp-monitor/v1
match: {package: "npm:@scope/name", image: "ghcr.io/x/*", label: "a=b", unit: x.service, exe: "/opt/**/x", command: npx}
when: {user: eve, parent: claude}
"#;
    let set = set(text).unwrap();
    assert_eq!(set.all().len(), 2);
    assert_eq!((set.all()[0].line, set.all()[1].line), (2, 19));
    assert_eq!(set.all()[0].mode_of(Section::Egress), Mode::Observe);
    assert_eq!(set.all()[0].mode_of(Section::Exec), Mode::Alert);
}

/// Every mistake, with the message that a person gets.
#[test]
fn mistakes_are_told_at_their_place() {
    let cases = [
        "apiVersion: mcp-monitor/v2\nworkload: demo\n",
        "workload: demo\n",
        "apiVersion: mcp-monitor/v1\n",
        "apiVersion: mcp-monitor/v1\nworkload: demo\nmatch: {exe: /x}\n",
        "apiVersion: mcp-monitor/v1\nmatch: {}\n",
        "apiVersion: mcp-monitor/v1\nmatch: {exe: bin/x, unit: demo, label: x, package: left-pad}\n",
        "apiVersion: mcp-monitor/v1\nmatch: {package: 'nmp:x'}\n",
        "apiVersion: mcp-monitor/v1\nmatch: {package: 'npm:@a/b@1.2.3'}\n",
        &format!("{HEAD}egres: []\n"),
        &format!("{HEAD}files: {{reed: []}}\n"),
        &format!("{HEAD}egress: api.github.com\n"),
        &format!("{HEAD}egress: [a.example]\negress: []\n"),
        &format!("{HEAD}egress: ['*.com', '*.co.uk:443', '*', 10.0.0.1/8, 10.0.0.0/99, 0.0.0.0/0]\n"),
        &format!(
            "{HEAD}egress: ['https://a.example/', 'a.example:99999', 'a.example:9-3', 'a.example/udq', 'unix:/x']\n"
        ),
        &format!(
            "{HEAD}files: {{read: ['${{worksapce}}/**', src/**, '/a/**b', '/a[', /a/../b, /a//b, /a/, /**, '**/*']}}\n"
        ),
        &format!("{HEAD}files: {{write: ['${{home}}/**', '${{home}}x', '/a/${{home}}', '${{home']}}\n"),
        &format!("{HEAD}secrets: [github-cil, '/home/*/x', nothing-like-it]\n"),
        &format!("{HEAD}exec: ['pypy:x', 'a/b', 'python*', 'oci:x']\n"),
        &format!("{HEAD}listen: ['a.example:80', 10.0.0.0/8]\n"),
        &format!("{HEAD}clients: [lokalhost]\n"),
        &format!("{HEAD}runtime: nodejs\n"),
        &format!("{HEAD}mode: deny\n"),
        &format!("{HEAD}mode: alret\n"),
        &format!("{HEAD}enforce: {{secrets: kill, egres: alert}}\n"),
        &format!("{HEAD}enforce: {{secrets: kill}}\n"),
        &format!("{HEAD}times: [{{days: [monday, mon-tue-wed], from: '8', zone: Europe/Berln}}]\n"),
        &format!("{HEAD}client: x\nwhen: {{client: y}}\n"),
        "",
        "apiVersion: [\n",
        &format!("{HEAD}---\n{HEAD}"),
    ];
    let mut told = String::new();
    for case in cases {
        let error = set(case).expect_err(case).to_string();
        told.extend([case.trim_end(), "\n=> ", &error.replace('\n', "\n   "), "\n\n"]);
    }
    insta::assert_snapshot!(told);
}

#[test]
fn the_schema_is_published() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schema/expectation.v1.json");
    let text = format!("{:#}\n", format::schema().as_value());
    if std::env::var_os("MCP_MONITOR_WRITE_SCHEMA").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "expectation.v1.json is stale");
    let validator = jsonschema::validator_for(format::schema().as_value()).unwrap();
    let good: serde_json::Value =
        serde_saphyr::from_str(&format!("{HEAD}egress: [a.example]\nmode: alert\n")).unwrap();
    assert!(validator.is_valid(&good), "{:?}", validator.iter_errors(&good).collect::<Vec<_>>());
    let bad: serde_json::Value = serde_saphyr::from_str(&format!("{HEAD}egres: []\n")).unwrap();
    assert!(!validator.is_valid(&bad));
}

#[test]
fn files_that_others_may_write_are_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = directory.path().join("a.yaml");
    let write = |mode| {
        fs::write(&file, HEAD).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    write(0o644);
    assert_eq!(Set::load(directory.path()).unwrap().all().len(), 1);
    write(0o666);
    assert!(
        Set::load(directory.path()).unwrap_err().to_string().contains("may be written by others (mode 0666)")
    );
    write(0o600);
    std::os::unix::fs::symlink(&file, directory.path().join("b.yaml")).unwrap();
    assert!(Set::load(directory.path()).unwrap_err().to_string().contains("symbolic link"));
    fs::remove_file(directory.path().join("b.yaml")).unwrap();
    nix::unistd::mkfifo(&directory.path().join("c.yaml"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(Set::load(directory.path()).unwrap_err().to_string().contains("no regular file"));
    fs::remove_file(directory.path().join("c.yaml")).unwrap();
    fs::write(directory.path().join(".hidden.yaml"), "nonsense").unwrap();
    fs::write(directory.path().join("a.yaml~"), "nonsense").unwrap();
    assert_eq!(Set::load(directory.path()).unwrap().all().len(), 1);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Set::load(directory.path()).is_err());
    assert_eq!(Set::load(&directory.path().join("nothing")).unwrap().all().len(), 0);
}

#[test]
fn the_most_specific_expectation_wins() {
    let text = "
apiVersion: mcp-monitor/v1
match: {package: 'npm:@a/b'}
---
apiVersion: mcp-monitor/v1
match: {package: 'npm:@a/b'}
client: cursor
---
apiVersion: mcp-monitor/v1
match: {command: npx}
---
apiVersion: mcp-monitor/v1
match: {exe: '/opt/**'}
---
apiVersion: mcp-monitor/v1
match: {exe: '/opt/vendor/**'}
---
apiVersion: mcp-monitor/v1
workload: named
";
    let set = set(text).unwrap();
    let line = |subject: &Subject| set.select(subject).map(|expectation| expectation.line);
    let mut subject = Subject {
        command: Some(b"/usr/bin/npx".to_vec()),
        packages: vec!["npm:@a/b".into()],
        executable: Some(b"/opt/vendor/x".to_vec()),
        ..Subject::default()
    };
    assert_eq!(line(&subject), Some(2));
    subject.client = Some("cursor".into());
    assert_eq!(line(&subject), Some(5));
    subject.name = "named".into();
    assert_eq!(line(&subject), Some(18));
    subject = Subject { executable: Some(b"/opt/vendor/x".to_vec()), ..Subject::default() };
    assert_eq!(line(&subject), Some(15));
    subject.command = Some(b"npx".to_vec());
    assert_eq!(line(&subject), Some(9));
    assert_eq!(line(&Subject::default()), None);
}

#[test]
fn an_image_without_a_tag_means_all_of_them() {
    let fits = |pattern: &str, image: &str| {
        let set = set(&format!("apiVersion: mcp-monitor/v1\nmatch: {{image: '{pattern}'}}\n")).unwrap();
        set.select(&Subject { image: Some(image.into()), ..Subject::default() }).is_some()
    };
    assert!(fits("ghcr.io/a/b", "ghcr.io/a/b:v1"));
    assert!(fits("ghcr.io/a/b", "ghcr.io/a/b@sha256:00"));
    assert!(fits("localhost:5000/a", "localhost:5000/a:v1"));
    assert!(fits("ghcr.io/a/*", "ghcr.io/a/b:v1"));
    assert!(!fits("ghcr.io/a/b:v2", "ghcr.io/a/b:v1"));
    assert!(!fits("ghcr.io/*", "ghcr.io/a/b"));
}

#[test]
fn variables_stand_for_directories_and_for_nothing_else() {
    let text = format!(
        "{HEAD}files:\n  read:\n    - '${{workspace}}/**'\n    - '${{cache}}/x'\n  write: ['${{home}}/.local/state/*']\n"
    );
    let compiled = compiled(&text, &demo());
    let homes = Homes::new::<&str>(&[]);
    assert_eq!(compiled.reads(b"/home/u/work/a/b", &homes), Said::Allowed(5));
    assert_eq!(compiled.reads(b"/home/u/work", &homes), Said::Allowed(5));
    assert_eq!(compiled.reads(b"/srv/[x]/a", &homes), Said::Allowed(5));
    assert_eq!(compiled.reads(b"/srv/x/a", &homes), Said::Refused(5));
    assert_eq!(compiled.reads(b"/home/u/workshop/a", &homes), Said::Refused(5));
    assert_eq!(compiled.writes(b"/home/u/.local/state/a", &homes), Said::Allowed(7));
    assert_eq!(compiled.writes(b"/home/u/.local/state/a/b", &homes), Said::Refused(7));
    assert_eq!(compiled.writes(b"/home/v/.local/state/a", &homes), Said::Refused(7));
    assert_eq!(compiled.runs(b"/bin/sh", &homes), Said::Nothing);
    assert_eq!(compiled.unbound, ["${cache}/x"]);
}

#[test]
fn programs_by_name_path_and_package() {
    let text = format!("{HEAD}exec: [git, '/opt/x/*', 'npm:@a/b', 'pypi:mcp-server-git']\n");
    let compiled = compiled(&text, &demo());
    let homes = Homes::new::<&str>(&[]);
    for path in [
        "/usr/bin/git",
        "/bin/git",
        "/opt/x/y",
        "/home/u/p/node_modules/@a/b/dist/x.js",
        "/v/lib/python3/site-packages/mcp_server_git/__main__.py",
    ] {
        assert_eq!(compiled.runs(path.as_bytes(), &homes), Said::Allowed(3), "{path}");
    }
    for path in ["/tmp/git", "/home/u/work/git", "/opt/x/y/z", "/usr/bin/gitk", "/node_modules/@a/c/x"] {
        assert_eq!(compiled.runs(path.as_bytes(), &homes), Said::Refused(3), "{path}");
    }
}

#[test]
fn destinations_by_name_address_port_and_protocol() {
    let text = format!(
        "{HEAD}egress:\n- api.example.com:443\n- '*.files.example.com:8000-8002/tcp'\n- 10.0.0.0/8:5432\n- 10.1.0.0/16\n- '[2001:db8::1]:53/udp'\n- a.*.example.com\n"
    );
    let compiled = compiled(&text, &demo());
    let (tcp, udp) = (Some(Protocol::Tcp), Some(Protocol::Udp));
    let name = |name: &str, port, protocol| compiled.name(name.as_bytes(), Some(port), protocol);
    assert_eq!(name("API.example.com", 443, tcp), Some(4));
    assert_eq!(name("api.example.com", 80, tcp), None);
    assert_eq!(name("x.files.example.com", 8002, tcp), Some(5));
    assert_eq!(name("x.y.files.example.com", 8000, tcp), Some(5));
    assert_eq!(name("x.files.example.com", 8003, tcp), None);
    assert_eq!(name("x.files.example.com", 8000, udp), None);
    assert_eq!(name("files.example.com", 8000, tcp), None);
    assert_eq!(name("evilfiles.example.com", 8000, tcp), None);
    assert_eq!(name("a.b.example.com", 1, tcp), Some(9));
    let address = |text: &str, port, protocol, exact| {
        compiled.address(text.parse().unwrap(), Some(port), protocol, exact)
    };
    assert_eq!(address("10.9.9.9", 5432, tcp, false), Some(6));
    assert_eq!(address("10.9.9.9", 5433, tcp, false), None);
    assert_eq!(address("10.1.9.9", 1, tcp, false), Some(7));
    assert_eq!(address("::ffff:10.1.9.9", 1, tcp, false), Some(7));
    assert_eq!(address("10.1.9.9", 1, tcp, true), None);
    assert_eq!(address("2001:db8::1", 53, udp, true), Some(8));
    assert_eq!(address("2001:db8::1", 53, tcp, true), None);
}

#[test]
fn listeners_and_clients() {
    let text =
        format!("{HEAD}listen: ['*:8080', '127.0.0.1:9090/udp']\nclients: [localhost, 192.0.2.0/24]\n");
    let compiled = compiled(&text, &demo());
    let tcp = Some(Protocol::Tcp);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(compiled.listens(ip("0.0.0.0"), 8080, tcp), Said::Allowed(3));
    assert_eq!(compiled.listens(ip("::"), 8080, tcp), Said::Allowed(3));
    assert_eq!(compiled.listens(ip("192.0.2.7"), 8080, tcp), Said::Allowed(3));
    assert_eq!(compiled.listens(ip("0.0.0.0"), 8081, tcp), Said::Refused(3));
    assert_eq!(compiled.listens(ip("127.0.0.1"), 9090, tcp), Said::Refused(3));
    assert_eq!(compiled.accepts(Some(ip("127.0.0.1"))), Said::Allowed(4));
    assert_eq!(compiled.accepts(Some(ip("192.0.2.9"))), Said::Allowed(4));
    assert_eq!(compiled.accepts(Some(ip("192.0.3.9"))), Said::Refused(4));
    assert_eq!(compiled.accepts(None), Said::Refused(4));
}

#[test]
fn times_hold_in_their_zone_and_over_midnight() {
    let text = format!("{HEAD}times: [{{days: [mon-fri], from: '22:00', to: '06:00', zone: UTC}}]\n");
    let compiled = compiled(&text, &demo());
    let at = |text: &str| compiled.holds(|| text.parse().unwrap());
    assert!(at("2026-11-20T23:00:00Z"), "Friday evening");
    assert!(at("2026-11-21T05:59:00Z"), "Saturday morning belongs to Friday");
    assert!(!at("2026-11-21T23:00:00Z"), "Saturday evening");
    assert!(!at("2026-11-20T12:00:00Z"), "Friday noon");
    assert!(!at("2026-11-23T05:00:00Z"), "Monday morning belongs to Sunday");
}

#[test]
fn many_patterns_cost_no_more_than_few() {
    let mut text = format!("{HEAD}files:\n  read:\n");
    for index in 0..10_000 {
        text.extend(["  - /srv/", &index.to_string(), "/*/data-*.json\n"]);
    }
    let compiled = compiled(&text, &demo());
    let homes = Homes::new::<&str>(&[]);
    let path = b"/srv/777/x/data-1.json";
    assert_eq!(compiled.reads(path, &homes), Said::Allowed(5 + 777));
    let rounds = 100_000;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        assert_ne!(compiled.reads(std::hint::black_box(path), &homes), Said::Nothing);
    }
    let each = start.elapsed() / rounds;
    // Debug builds on a busy machine take a few times what a release build does.
    assert!(each < std::time::Duration::from_micros(20), "{each:?} for an answer that is known");
}

/// A slow matcher: the pattern's names against the path's, by the definition.
fn slow(pattern: &[&str], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((&"**", [])) => true,
        Some((&"**", rest)) => (0..=path.len()).any(|skip| slow(rest, &path[skip..])),
        Some((name, rest)) => {
            path.split_first().is_some_and(|(first, tail)| one(name, first) && slow(rest, tail))
        }
    }
}

fn one(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        }
    }
}

proptest! {
    #[test]
    fn patterns_agree_with_the_slow_reference(
        patterns in prop::collection::vec(prop::collection::vec("(a|b|a\\*|\\*|\\*b|\\*\\*)", 1..5), 1..6),
        path in prop::collection::vec("[ab]{1,3}", 1..6),
    ) {
        let mut text = format!("{HEAD}files:\n  read:\n");
        let mut written = Vec::new();
        for names in &patterns {
            prop_assume!(names.windows(2).all(|pair| pair != ["**", "**"]));
            let pattern = format!("/{}", names.join("/"));
            if path_pattern(&pattern).is_ok() {
                text.extend(["  - '", &pattern, "'\n"]);
                written.push(names.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
        prop_assume!(!written.is_empty());
        let compiled = compiled(&text, &demo());
        let whole = format!("/{}", path.join("/"));
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let expected = written.iter().position(|pattern| slow(pattern, &names));
        let said = compiled.reads(whole.as_bytes(), &Homes::new::<&str>(&[]));
        let line = expected.map(|index| u32::try_from(5 + index).unwrap());
        prop_assert_eq!(said, line.map_or(Said::Refused(5), Said::Allowed), "{} {:?}", whole, written);
        let again = compiled.reads(whole.as_bytes(), &Homes::new::<&str>(&[]));
        prop_assert_eq!(said, again, "what is remembered is what was said");
    }

    #[test]
    fn an_escaped_text_means_itself(text in "[a-z*?\\[\\]{}\\\\,!]{1,12}", other in "[a-z*?\\[\\]{}\\\\,!]{1,12}") {
        let globs = crate::expectation::glob::Globs::new([(escaped(&text).as_str(), 0)]).unwrap();
        prop_assert!(globs.is_match(text.as_bytes()));
        prop_assert_eq!(globs.is_match(other.as_bytes()), text == other);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = set(&text);
        let _ = set(&format!("{HEAD}{text}"));
        let _ = set(&format!("{HEAD}egress: ['{}']\nfiles: {{read: ['{}']}}\n", text.replace('\'', ""), text.replace('\'', "")));
    }
}
