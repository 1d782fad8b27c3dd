//! Where npx and uvx ask for packages, even for those they have: on this host that may be a mirror or a proxy.
//!
//! The demo's client runs in a home of its own, so the person's settings are read here and handed on by environment.

use std::{
    env,
    ffi::{OsStr, OsString},
    process::Command,
};

use crate::command;

/// Where uv asks unless told otherwise.
const PYPI: &str = "https://pypi.org/simple";
/// Where pypi.org and most mirrors of it keep the files themselves.
const PYPI_FILES: &str = "files.pythonhosted.org:443";
/// Where npm asks unless told otherwise.
const NPM: &str = "https://registry.npmjs.org/";
/// Variables that put a proxy before everything else.
const PROXIES: &[&str] =
    &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The registries of this host.
pub(super) struct Registries {
    npm: String,
    index: String,
    /// Whether uv has to be told of `index`.
    index_for_uv: bool,
    proxies: Vec<String>,
}

impl Registries {
    /// Reads the settings of npm, uv and pip with `search_path`.
    pub(super) fn read(search_path: &OsStr) -> Self {
        let ask = |program: &str, question: &[&str]| {
            let said =
                command::capture(Command::new(program).env("PATH", search_path).args(question)).ok()?;
            let said = said.trim();
            (destination(said).is_some()).then(|| said.to_owned())
        };
        let set = |name: &&str| env::var(name).ok().filter(|value| destination(value).is_some());
        let of_uv = ["UV_DEFAULT_INDEX", "UV_INDEX_URL"].iter().find_map(set);
        let index_for_uv = of_uv.is_none();
        // uv does not read pip's settings, but a host that has them has them for a reason.
        let index = of_uv
            .or_else(|| set(&"PIP_INDEX_URL"))
            .or_else(|| ask("python3", &["-m", "pip", "config", "get", "global.index-url"]))
            .or_else(|| ask("python3", &["-m", "pip", "config", "get", "user.index-url"]));
        Self {
            npm: ask("npm", &["config", "get", "registry"]).unwrap_or_else(|| NPM.to_owned()),
            index_for_uv: index_for_uv && index.is_some(),
            index: index.unwrap_or_else(|| PYPI.to_owned()),
            proxies: PROXIES.iter().filter_map(set).collect(),
        }
    }

    /// For `--allow-egress`.
    pub(super) fn destinations(&self) -> Vec<String> {
        let urls = [&self.npm, &self.index].into_iter().chain(&self.proxies);
        let mut all: Vec<String> = urls.filter_map(|url| destination(url)).collect();
        all.push(PYPI_FILES.to_owned());
        all.sort();
        all.dedup();
        all
    }

    /// What tells npx and uvx of them in a home without settings.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("npm_config_registry", OsString::from(&self.npm))];
        if self.index_for_uv {
            variables.push(("UV_DEFAULT_INDEX", OsString::from(&self.index)));
        }
        variables
    }
}

/// `HOST:PORT` of a URL, without user and password.
fn destination(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let usual = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    match host {
        "" => None,
        host if has_port => Some(host.to_owned()),
        host => Some(format!("{host}:{usual}")),
    }
}

#[cfg(test)]
mod tests {
    use super::destination;

    #[test]
    fn host_and_port_of_a_url() {
        let of = |url| destination(url).unwrap_or_default();
        assert_eq!(of("https://registry.npmjs.org/"), "registry.npmjs.org:443");
        assert_eq!(of("http://mirror.example:4873/npm/"), "mirror.example:4873");
        assert_eq!(of("https://someone:word@pypi.example/simple"), "pypi.example:443");
        assert_eq!(of("http://[::1]:3128"), "[::1]:3128");
        assert_eq!(of("http://[::1]"), "[::1]:80");
        assert_eq!(of("undefined"), "");
        assert_eq!(of("file:///srv/simple"), "");
    }
}
