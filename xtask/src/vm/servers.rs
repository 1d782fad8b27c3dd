//! Real MCP servers in the Debian root: fetched while it is made, found without a network when it runs.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use crate::command;

/// Servers that users start with npx; pinned, because a later release may behave otherwise.
pub(super) const FROM_NPM: &[&str] = &[
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-memory@2026.8.31",
];
/// Servers that users start with uvx.
pub(super) const FROM_PYPI: &[&str] =
    &["mcp-server-fetch@2026.10.24", "mcp-server-git@2026.10.19", "mcp-server-time@2026.10.19"];
/// The client library that drives them.
pub(super) const CLIENT: &str = "mcp==2.3.0";

/// Where the machine keeps them, below its root. Not in a home: clients start servers with homes of their own.
const PLACE: &str = "/opt/servers";
/// Where the certificates that this host trusts are while the root is made.
const CERTIFICATES: &str = "/opt/host-certificates";

/// Fetches the servers into the root at `tree`, as its ordinary user, with the launchers that users start them with.
pub(super) fn add(tree: &Path) -> Result<()> {
    let inside = |path: &str| tree.join(path.trim_start_matches('/')).display().to_string();
    let place = inside(PLACE);
    sh(&[
        format!("mkdir -p {0} && chown 1000:1000 {0}", command::quoted(&place)),
        format!("cp -L /etc/resolv.conf {}", command::quoted(&inside("/etc/resolv.conf"))),
        format!("cp -L /etc/ssl/certs/ca-certificates.crt {}", command::quoted(&inside(CERTIFICATES))),
    ])?;
    let npm = FROM_NPM.iter().map(|name| format!("npm exec --yes --package={name} -- true"));
    let uvx = FROM_PYPI
        .iter()
        .map(|name| format!("uvx --quiet --from {} python3 -c pass", name.replace('@', "==")));
    let client = format!("uv run --quiet --no-project --with {CLIENT} python3 -c pass");
    for fetch in npm.chain(uvx).chain([client]) {
        command::capture(&mut in_root(tree, &fetch))
            .with_context(|| format!("cannot fetch with `{fetch}`"))?;
    }
    // Settings of the whole system, because clients hand only a few variables on to servers.
    let npm = format!("cache={PLACE}/npm\\noffline=true\\nupdate-notifier=false\\n");
    let uv = format!("cache-dir = \"{PLACE}/uv\"\\noffline = true\\npython-downloads = \"never\"\\n");
    let settings = |text: &str, file: &str| {
        let file = command::quoted(&inside(file));
        format!("mkdir -p \"$(dirname {file})\" && printf {} > {file}", command::quoted(text))
    };
    sh(&[
        settings(&npm, "/usr/etc/npmrc"),
        settings(&npm, "/usr/local/etc/npmrc"),
        settings(&uv, "/etc/uv/uv.toml"),
        // Whoever runs a server in the machine may add to its caches; nothing of it outlives the machine.
        format!("chmod -R a+rwX {}", command::quoted(&place)),
        format!(
            "rm -f {} {}",
            command::quoted(&inside(CERTIFICATES)),
            command::quoted(&inside("/etc/resolv.conf"))
        ),
    ])
}

fn sh(steps: &[String]) -> Result<()> {
    command::capture(command::as_root("sh").args(["-c", &steps.join(" && ")])).map(drop)
}

/// `line` run inside the root by its user, with /proc and /dev that disappear with it.
fn in_root(tree: &Path, line: &str) -> Command {
    let tree = command::quoted(&tree.display().to_string());
    let settings = [
        "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
        "HOME=/home/user".to_owned(),
        format!("npm_config_cache={PLACE}/npm"),
        format!("UV_CACHE_DIR={PLACE}/uv"),
        "UV_PYTHON_DOWNLOADS=never".to_owned(),
        format!("SSL_CERT_FILE={CERTIFICATES}"),
        format!("NODE_EXTRA_CA_CERTS={CERTIFICATES}"),
    ];
    let proxies = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
    let proxies = proxies.iter().filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
    let settings: Vec<String> =
        settings.into_iter().chain(proxies).map(|one| command::quoted(&one)).collect();
    let script = format!(
        "mount -t proc proc {tree}/proc && mount --rbind /dev {tree}/dev && \
         exec chroot --userspec=1000:1000 {tree} env -i {} sh -c {}",
        settings.join(" "),
        command::quoted(&format!("cd /home/user && {line}"))
    );
    let mut unshare = command::as_root("unshare");
    unshare.args(["--mount", "sh", "-c", &script]);
    unshare
}
