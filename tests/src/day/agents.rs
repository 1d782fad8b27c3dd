//! The real agents, each told of a model on loopback that answers with one tool call after another.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;

/// An agent runner.
pub(super) struct Agent {
    /// As the monitor names it.
    pub(super) id: &'static str,
    /// Where npm put it, below the folder of all clients.
    program: &'static str,
    /// Settings that lead to the model at this port.
    settle: fn(&Path, u16) -> Result<()>,
    /// What follows the program's name.
    words: &'static [&'static str],
}

/// Every agent of the day.
pub(super) const AGENTS: &[Agent] = &[
    Agent {
        id: "claude-code",
        program: "claude-code/node_modules/.bin/claude",
        settle: |_, _| Ok(()),
        words: &["-p", "work", "--dangerously-skip-permissions"],
    },
    Agent {
        id: "codex",
        program: "codex/node_modules/.bin/codex",
        settle: |home, port| {
            fs::create_dir_all(home.join(".codex"))?;
            let text = format!(
                "model = \"day\"\nmodel_provider = \"day\"\n[model_providers.day]\nname = \"day\"\n\
                 base_url = \"http://127.0.0.1:{port}/v1\"\nwire_api = \"responses\"\nenv_key = \"DAY_KEY\"\n"
            );
            Ok(fs::write(home.join(".codex/config.toml"), text)?)
        },
        words: &["exec", "--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check", "work"],
    },
    Agent {
        id: "opencode",
        program: "opencode/node_modules/.bin/opencode",
        settle: |home, port| {
            let folder = home.join(".config/opencode");
            fs::create_dir_all(&folder)?;
            let provider = json!({
                "npm": "@ai-sdk/openai-compatible",
                "name": "day",
                "options": {"baseURL": format!("http://127.0.0.1:{port}/v1"), "apiKey": "none"},
                "models": {"day": {"name": "day", "tool_call": true}},
            });
            let text = json!({
                "$schema": "https://opencode.ai/config.json",
                "provider": {"day": provider},
                "permission": {"bash": "allow", "edit": "allow", "webfetch": "allow", "external_directory": "allow"},
                "autoupdate": false,
                "share": "disabled",
            });
            Ok(fs::write(folder.join("opencode.json"), text.to_string())?)
        },
        words: &["run", "--model", "day/day", "work"],
    },
];

impl Agent {
    /// Its program below `clients`, if it was fetched.
    pub(super) fn find(&self, clients: &Path) -> Option<PathBuf> {
        Some(clients.join(self.program)).filter(|program| program.exists())
    }

    /// The agent in `home`, working in `home/project`, with the model at `port`.
    pub(super) fn command(&self, program: &Path, home: &Path, port: u16) -> Result<Command> {
        (self.settle)(home, port)?;
        let project = home.join("project");
        fs::create_dir_all(&project)?;
        let mut command = Command::new(program);
        command.args(self.words).current_dir(&project).stdin(Stdio::null());
        // Some take it for the folder to work in, and a repository above it would be somebody else's.
        command.env("PWD", &project).env("GIT_CEILING_DIRECTORIES", home);
        for (name, value) in [
            ("IS_SANDBOX", "1"),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("BASH_DEFAULT_TIMEOUT_MS", "600000"),
            ("BASH_MAX_TIMEOUT_MS", "600000"),
            ("ANTHROPIC_API_KEY", "none"),
            ("DAY_KEY", "none"),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ] {
            command.env(name, value);
        }
        command.env("ANTHROPIC_BASE_URL", format!("http://127.0.0.1:{port}"));
        Ok(command)
    }
}

/// A model that makes an agent do this, command by command.
pub(super) struct Model {
    child: Child,
    /// Where it answers.
    pub(super) port: u16,
}

impl Model {
    /// Starts one; `scripts` is the folder with `model.py`.
    pub(super) fn start(scripts: &Path, folder: &Path, commands: &[String]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let (port, work) = (folder.join("port"), folder.join("work"));
        let _ = fs::remove_file(&port);
        fs::write(&work, commands.join("\n") + "\n")?;
        let mut model = Command::new("python3");
        model.arg(scripts.join("model.py")).arg(&port).arg(&work).stdin(Stdio::null());
        let child = model.spawn().context("start the model")?;
        let mut model = Self { child, port: 0 };
        for _ in 0..300 {
            // Written at one go, since a number has no end of its own.
            if let Some(number) = fs::read_to_string(&port).ok().and_then(|text| text.trim().parse().ok()) {
                model.port = number;
                return Ok(model);
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("the model does not say its port in {}", port.display())
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
