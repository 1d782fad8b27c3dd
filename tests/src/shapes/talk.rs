//! The client's side of a server: started with pipes as clients do, greeted, and kept until it is let go.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// What a client says first.
const GREETING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"shapes","version":"1"}}}"#;

/// A server that answered.
pub(super) struct Server {
    child: Child,
    input: Option<ChildStdin>,
}

impl Server {
    /// Starts `command` and waits until it answers.
    pub(super) fn start(mut command: Command, log: &Path, patience: Duration) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("make {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let mut input = child.stdin.take().context("a pipe to it")?;
        let output = child.stdout.take().context("a pipe from it")?;
        writeln!(input, "{GREETING}").context("greet it")?;
        let (send, answered) = mpsc::channel();
        // Read to its end, or it would block.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.contains("\"result\"") {
                    let _ = send.send(());
                }
            }
        });
        let server = Self { child, input: Some(input) };
        if answered.recv_timeout(patience).is_err() {
            bail!("it does not answer");
        }
        Ok(server)
    }

    /// Its first process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server ends when its input does; one that does not is ended.
        drop(self.input.take());
        for _ in 0..100 {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of ours: a script that a client may be told of.
pub(super) fn own_server(folder: &Path, name: &str, first: &str) -> Result<String> {
    let script = folder.join(format!("{name}.py"));
    fs::write(
        &script,
        format!(
            "{first}\nimport json, sys\nfor line in sys.stdin:\n    request = json.loads(line)\n    if 'id' not in request: continue\n    \
             method = request.get('method')\n    result = {{'protocolVersion': '2025-06-18', 'capabilities': {{'tools': {{}}}}, \
             'serverInfo': {{'name': '{name}', 'version': '1'}}}} if method == 'initialize' else {{'tools': []}}\n    \
             print(json.dumps({{'jsonrpc': '2.0', 'id': request['id'], 'result': result}}), flush=True)\n"
        ),
    )?;
    Ok(script.display().to_string())
}
