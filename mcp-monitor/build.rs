//! Builds the kernel programs with the pinned nightly and hands the object to `include_bytes_aligned!`.
//!
//! The toolchain is `MCP_MONITOR_EBPF_TOOLCHAIN` when that is set, else the dated nightly, else `nightly`; `cargo
//! xtask setup` makes sure that one of them is the pinned one. `MCP_MONITOR_BPF_OBJECT` names an object that was built
//! before and is taken as it is; the agent checks at start that it belongs to it.

use std::process::Command;

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

/// The nightly that the kernel programs are built with. aya-ebpf 0.2.1 does not build on those after 2026-07-07.
const PINNED_NIGHTLY: &str = "nightly-2026-05-20";
const TOOLCHAIN_VARIABLE: &str = "MCP_MONITOR_EBPF_TOOLCHAIN";
const OBJECT_VARIABLE: &str = "MCP_MONITOR_BPF_OBJECT";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={OBJECT_VARIABLE}");
    if let Some(object) = std::env::var_os(OBJECT_VARIABLE) {
        println!("cargo:rerun-if-changed={}", object.display());
        let target = std::path::Path::new(&std::env::var("OUT_DIR")?).join("mcp-monitor");
        std::fs::copy(&object, &target)
            .with_context(|| format!("{OBJECT_VARIABLE}={} cannot be copied", object.display()))?;
        return Ok(());
    }
    println!("cargo:rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
    println!("cargo:rerun-if-changed=../mcp-monitor-common/src");
    let toolchain = toolchain();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../mcp-monitor-ebpf");
    aya_build::build_ebpf(
        [Package { name: "mcp-monitor-ebpf", root_dir: root, no_default_features: false, features: &[] }],
        Toolchain::Custom(&toolchain),
    )
    .with_context(|| {
        format!(
            "the kernel programs could not be built with the toolchain {toolchain}; \
             `cargo xtask setup` installs what is missing"
        )
    })
}

fn toolchain() -> String {
    if let Ok(named) = std::env::var(TOOLCHAIN_VARIABLE) {
        return named;
    }
    let installed = Command::new("rustup").args(["toolchain", "list"]).output();
    let has_pinned = installed.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line.starts_with(PINNED_NIGHTLY))
    });
    if has_pinned { PINNED_NIGHTLY.to_owned() } else { "nightly".to_owned() }
}
