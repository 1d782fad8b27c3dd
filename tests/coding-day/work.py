"""The tool calls of a day, one shell command a line: packages, builds, a server, then rounds of edit, test, commit.

`work.py ROUNDS`. $DAY_SSH_PORT is the port of an SSH server on loopback that takes the day's key, $DOCKER_HOST a daemon;
without them what needs them is left out.
"""
import sys

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50

commands = [
    "git init -q -b main . && git config user.name day && git config user.email day@example.invalid",
    "git init -q --bare ../remote.git && git remote add origin ../remote.git",
    r'printf "node_modules\ntarget\n.venv\ntool\n" > .gitignore && printf "TOKEN=none\n" > .env.example && git add -A '
    "&& git commit -qm start && git push -q -u origin main",
    "npm init -y >/dev/null && npm install --no-audit --no-fund is-odd left-pad",
    'npm pkg set scripts.test="node --test" && npm test',
    "python3 -m venv .venv && .venv/bin/pip install -q idna six",
    '.venv/bin/python -c "import idna, six; print(idna.__version__)"',
    "curl -fsS -o /dev/null https://pypi.org/simple/idna/",
    "curl -fsS -o /dev/null https://registry.npmjs.org/is-odd",
    "(mkdir -p crate && cd crate && cargo init -q --name day --vcs none . && cargo build -q && cargo test -q)",
    'if [ -n "$DAY_SSH_PORT" ]; then git init -q --bare "$DAY/pushed.git"; GIT_SSH_COMMAND="ssh -p $DAY_SSH_PORT -i '
    '$HOME/.ssh/id_ed25519 -o StrictHostKeyChecking=no -o UserKnownHostsFile=$HOME/.ssh/known_hosts" '
    'git push -q "root@127.0.0.1:$DAY/pushed.git" main; fi',
    'if command -v gh >/dev/null; then gh auth status 2>&1 | head -3; fi',
    'if [ -n "$DOCKER_HOST" ]; then printf "FROM mcp/weather:1.0\\nCOPY .env.example /x\\n" > Dockerfile && '
    'DOCKER_BUILDKIT=0 docker build -q . && DOCKER_BUILDKIT=0 docker run --rm --network none --entrypoint /busybox '
    'mcp/weather:1.0 echo in a container; fi',
    "(PORT=$((20000 + $$ % 10000)); python3 -m http.server $PORT --bind 0.0.0.0 >/dev/null 2>&1 & echo $! > server.pid; sleep 1; "
    "curl -fsS -o /dev/null http://127.0.0.1:$PORT/; kill $(cat server.pid); rm server.pid)",
    "ps aux | head -3; df -h . ; uname -a",
    "cat /etc/os-release | head -2",
    "git log --oneline | head",
    'find . -maxdepth 2 -not -path "./node_modules/*" | head -20',
    "ls -la ~ | head",
]
for n in range(rounds):
    commands += [
        rf'mkdir -p src test && printf "exports.f{n} = () => {n};\n" > src/f{n}.js',
        rf'printf "const t = require(\"node:test\"); const a = require(\"node:assert\");\nt(\"f{n}\", () => '
        rf'a.equal(require(\"../src/f{n}.js\").f{n}(), {n}));\n" > test/f{n}.test.js',
        f"node --test test/f{n}.test.js 2>&1 | tail -3",
        rf'sed -i "s/=> {n};/=> {n}; \/\/ checked/" src/f{n}.js && cat src/f{n}.js && grep -rn "f{n}" src test | head -3',
        f'git add -A && git commit -qm "Add f{n}" && git diff --stat HEAD~1 | tail -1',
        "git push -q" if n % 5 == 0 else "git status --short | head",
    ]
commands += [
    "rm -rf node_modules",
    "rm -rf .venv crate/target",
    "git status --short | head",
    "git push -q && git log --oneline | wc -l",
]
print("\n".join(commands))
