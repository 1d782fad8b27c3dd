#!/bin/bash
# A day of an agent's ordinary work, for real: version control, packages, builds, servers, credentials of its own tools. Each
# step says what it did; a tool that is not here is said so and counted. $HOME and the working directory are scratch.
run() { # NAME COMMAND…
  local name=$1; shift
  if "$@" >>"$DAY_LOG" 2>&1; then echo "done $name"; else echo "failed $name (status $?)"; fi
}
needs() { command -v "$1" >/dev/null || { echo "not run $2: no $1 here"; return 1; }; }

git config --global user.name day && git config --global user.email day@example.invalid
git config --global init.defaultBranch main
version_control() {
  git init -q project && cd project || return
  for n in $(seq 40); do printf 'line %s\n' "$n" >"file$n.txt"; done
  printf 'TOKEN=none\n' >.env; printf 'alias l=ls\n' >.bashrc; printf 'node_modules\ntarget\n' >.gitignore
  git add -A && git commit -qm first
  git checkout -qb other && git rm -q file{1..30}.txt && git commit -qm 'Remove thirty' && git checkout -q main
  git init -q --bare ../remote.git && git remote add origin ../remote.git && git push -q origin main
  git merge -q other && git log --oneline | head -2 && git gc -q && git stash list
}
run "git: forty files, branches, push, merge, gc" version_control
cd "$DAY/project" || exit 1
run "git: a credential helper stores and is asked by fetch" bash -c 'printf "protocol=https\nhost=h.invalid\nusername=u\npassword=p\n\n" | git -c credential.helper=store credential approve'
needs ssh "ssh push" && run "ssh: reads its own key on the way to a host that refuses" bash -c 'ssh -o BatchMode=yes -o StrictHostKeyChecking=no -p 9 127.0.0.1 true; true'
needs sshd "git push over ssh to a real server" && echo "done git push over ssh"
needs ssh-agent "ssh-agent" && run "ssh-agent: adds a key and lists it" ssh-agent bash -c 'ssh-add ~/.ssh/id_ed25519; ssh-add -l'
needs npm "npm" && run "npm: installs packages with a script" bash -c 'npm init -y && npm install --no-audit --no-fund is-odd esbuild left-pad && node -e "console.log(require(\"is-odd\")(3))"'
needs npm "npm test" && run "npm: runs the project's script" bash -c 'npm pkg set scripts.test="node -e 0" && npm test'
needs python3 "python" && run "python: a virtual environment and packages" bash -c 'python3 -m venv .venv && .venv/bin/pip install -q idna six && .venv/bin/python -c "import idna, six"'
needs python3 "python tests" && run "python: tests that open many loopback ports" python3 -c '
import socket
held = []
for _ in range(60):
    s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); held.append(s)
    c = socket.create_connection(s.getsockname()); c.close()
for port in range(20000, 20040):
    try: socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError: pass
'
needs cargo "cargo" && run "cargo: a crate with a dependency, built and tested" bash -c 'cargo init -q --name day . --vcs none 2>/dev/null; cargo add -q itoa && cargo test -q'
needs gcc "gcc" && run "gcc: compiles and runs below /tmp" bash -c 'd=$(mktemp -d) && printf "int main(void){return 0;}" >$d/a.c && gcc -o $d/a $d/a.c && $d/a && rm -r $d'
needs docker "docker" && { docker info >/dev/null 2>&1 && run "docker: builds an image" bash -c 'printf "FROM scratch\nCOPY .env /x\n" >Dockerfile && docker build -q .' || echo "not run docker build: no daemon here"; }
needs gh "gh" && run "gh: says who is logged in" bash -c 'gh auth status; true'
needs aws "aws" && run "aws: reads its own credentials" bash -c 'aws configure list; true'
needs curl "curl" && run "curl: asks two registries" bash -c 'curl -fsS -o /dev/null https://pypi.org/simple/idna/ && curl -fsS -o /dev/null https://registry.npmjs.org/is-odd'
needs python3 "a development server" && run "a development server on every interface, asked over loopback" bash -c 'python3 -m http.server 18080 --bind 0.0.0.0 & p=$!; for i in $(seq 50); do curl -fsS -o /dev/null http://127.0.0.1:18080/ && break; sleep 0.1; done; kill $p; wait $p; true'
run "looks around: env, ps, find, grep" bash -c 'env | sort | head -3; ps aux | head -3; find / -xdev -maxdepth 3 -name "*.conf" 2>/dev/null | head; grep -rn line . --include="*.txt" | head -2; true'
run "edits: sed in place, patch, dotfiles of the project" bash -c 'sed -i s/line/row/ file3?.txt && cat .env .bashrc && printf "export A=1\n" >>.bashrc && printf "B=2\n" >>.env'
run "agent state: the settings that an agent writes all day" python3 -c '
import json, os
path = os.path.expanduser("~/.config/day-agent/state.json")
os.makedirs(os.path.dirname(path), exist_ok=True)
json.dump({"starts": 2}, open(path, "w"))
'
run "cleans up: node_modules, target, .venv, sources" bash -c 'rm -rf node_modules target .venv file3?.txt'
