//! Configuration files of MCP clients in a home: any bytes are survived, and what comes out is bounded.
#![no_main]

use std::{cell::RefCell, fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use libfuzzer_sys::fuzz_target;
use mcp_monitor::inventory::declared::{Clients, Home, Scanner, Sources, Transport};

/// A file of each format and shape; the first byte of an input chooses one.
const FILES: [&str; 9] = [
    ".claude.json",
    ".cursor/mcp.json",
    ".codex/config.toml",
    ".gemini/settings.json",
    ".gemini/trustedFolders.json",
    ".config/goose/config.yaml",
    ".continue/config.yaml",
    ".config/opencode/opencode.jsonc",
    ".config/zed/settings.json",
];
/// Servers of one place.
const SERVERS_MAX: usize = 1000;

struct World {
    home: PathBuf,
    scanner: Scanner,
    sources: Sources,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

impl World {
    fn new() -> Self {
        let home = std::env::temp_dir().join(format!("mcp-monitor-fuzz-{}", std::process::id()));
        for file in FILES {
            let path = home.join(file);
            fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder can be made");
        }
        let uid = fs::metadata(&home).expect("was just made").uid();
        let mut sources = Sources::new(vec![Home { path: home.clone(), uid }]);
        sources.root = home.clone();
        let scanner = Scanner::new(Clients::embedded().expect("the data files are right"));
        Self { home, scanner, sources }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((first, content)) = input.split_first() else { return };
    WORLD.with_borrow_mut(|World { home, scanner, sources }| {
        let path = home.join(FILES[usize::from(*first) % FILES.len()]);
        fs::write(&path, content).expect("a file can be written");
        let declarations = scanner.scan(sources);
        fs::remove_file(&path).expect("was just written");
        assert!(declarations.servers.len() <= 2 * SERVERS_MAX);
        assert!(declarations.places_read.contains(&path) || !declarations.warnings.is_empty());
        for server in &declarations.servers {
            if let Transport::Stdio { command, arguments, .. } = &server.transport {
                for pattern in [command].into_iter().chain(arguments) {
                    assert!(pattern.matches(pattern.shown().as_slice()) || pattern.literal().is_none());
                }
            }
            assert!(!server.transport.to_string().contains(char::is_control));
        }
    });
});
