//! The home that a day is spent in.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Result;

/// A home with credentials, as people have them, and documents.
pub fn furnish(home: &Path) -> Result<()> {
    for folder in [".ssh", ".aws", ".claude", ".config/gh", "Documents"] {
        fs::create_dir_all(home.join(folder))?;
    }
    fs::write(home.join(".npmrc"), "fund=false\n")?;
    fs::write(home.join(".bashrc"), "")?;
    fs::write(home.join(".claude/settings.json"), "{\"theme\": \"dark\"}\n")?;
    fs::write(home.join(".config/gh/hosts.yml"), "github.com:\n  user: day\n  oauth_token: none\n")?;
    fs::write(
        home.join(".aws/credentials"),
        "[default]\naws_access_key_id = none\naws_secret_access_key = none\n",
    )?;
    for number in 0..150 {
        fs::write(home.join(format!("Documents/{number}.odt")), "a document")?;
    }
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(home.join(".ssh/id_ed25519"))
        .stdin(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        fs::write(home.join(".ssh/id_ed25519"), "no key")?;
    }
    Ok(())
}
