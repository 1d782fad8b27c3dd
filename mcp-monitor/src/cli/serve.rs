//! What `run` and `watch` serve beside their stream: the control socket, and metrics where they are asked for.

use crate::control::{
    client::run_directory,
    server::{SOCKET_NAME, Settings},
};
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Port of the metrics unless another is given.
const METRICS_PORT: u16 = 9465;

/// Options of what is served.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Control socket")]
pub(super) struct ServeOptions {
    /// Serve /metrics, /healthz and /readyz there [default ADDRESS: 127.0.0.1:9465]
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true,
        default_missing_value = "127.0.0.1:9465", value_parser = address)]
    metrics: Option<SocketAddr>,
    /// Let --metrics listen on an address that other hosts reach. Anybody there can read them.
    #[arg(long, requires = "metrics")]
    metrics_exposed: bool,
    /// Let the kernel count runs and time of the programs, for --metrics; costs some 20 ns for each run.
    #[arg(long, requires = "metrics")]
    program_stats: bool,
}

impl ServeOptions {
    /// Settings of the server; an address that other hosts reach is refused unless it is wanted.
    pub(super) fn settings(&self) -> Result<Settings, String> {
        if let Some(address) = self.metrics
            && !address.ip().to_canonical().is_loopback()
            && !self.metrics_exposed
        {
            return Err(format!(
                "--metrics {address}: other hosts reach this address, and metrics name workloads. Give a loopback \
                 address, or --metrics-exposed as well"
            ));
        }
        Ok(Settings {
            socket: run_directory().join(SOCKET_NAME),
            metrics: self.metrics,
            program_stats: self.program_stats,
        })
    }
}

/// `ADDRESS:PORT`, `ADDRESS` or `PORT`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let port = || text.parse().map(|port: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).ok();
    let alone = || text.parse().map(|address: IpAddr| SocketAddr::new(address, METRICS_PORT)).ok();
    text.parse()
        .ok()
        .or_else(alone)
        .or_else(port)
        .ok_or_else(|| "must be ADDRESS:PORT, ADDRESS or PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_stay_on_this_host_unless_wanted_otherwise() {
        let options = |text: &str, metrics_exposed| ServeOptions {
            metrics: Some(address(text).unwrap()),
            metrics_exposed,
            program_stats: false,
        };
        for loopback in ["127.0.0.1:1", "9465", "[::1]:9", "::1", "127.9.9.9", "[::ffff:127.0.0.1]:80"] {
            assert!(options(loopback, false).settings().is_ok(), "{loopback}");
        }
        for exposed in ["0.0.0.0:9465", "192.0.2.1", "[::]:1"] {
            assert!(options(exposed, false).settings().unwrap_err().contains("--metrics-exposed"));
            assert!(options(exposed, true).settings().is_ok());
        }
        assert!(address("localhost").is_err());
    }
}
