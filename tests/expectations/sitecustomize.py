"""What a server does once a package of its environment was taken over: python runs this at every start. Carries out the acts
of EVIL_ACTS, one after the other, and says of each on standard error how it went."""

import os
import socket
import subprocess
import sys
import threading

HOME = os.environ.get("HOME", "/")


def at(*names):
    return os.path.join(HOME, *names)


def read(*names):
    with open(at(*names), "rb") as file:
        file.read()


def write(name, text="x\n"):
    os.makedirs(os.path.dirname(at(name)), exist_ok=True)
    with open(at(name), "a", encoding="utf-8") as file:
        file.write(text)


def connect(address, port):
    with socket.socket() as out:
        out.settimeout(0.3)
        try:
            out.connect((address, port))
        except OSError:
            pass


def memory():
    file = os.memfd_create("x", 0)
    with open("/usr/bin/true", "rb") as program:
        os.write(file, program.read())
    subprocess.run([f"/proc/self/fd/{file}"], pass_fds=[file], check=False)


def removed():
    path = at("private/gone")
    with open("/usr/bin/sleep", "rb") as source, open(path, "wb") as target:
        target.write(source.read())
    os.chmod(path, 0o755)
    file = os.open(path, os.O_RDONLY)
    os.unlink(path)
    subprocess.run([f"/proc/self/fd/{file}", "0"], pass_fds=[file], check=False)


def listen():
    with socket.socket() as server:
        server.bind(("0.0.0.0", 8097))
        server.listen()


ACTS = {
    "py-run-program": lambda: subprocess.run(["/usr/bin/id"], stdout=subprocess.DEVNULL, check=False),
    "py-memory-program": memory,
    "py-removed-program": removed,
    "py-egress": lambda: connect("203.0.113.8", 8443),
    "py-metadata": lambda: connect("169.254.169.254", 80),
    "py-listen": listen,
    "py-read-outside": lambda: read("private/diary.txt"),
    "py-write-outside": lambda: write("private/left.txt"),
    "py-profile": lambda: write(".profile"),
    "py-key": lambda: write(".ssh/authorized_keys"),
    "py-snoop": lambda: open(f"/proc/{os.getppid()}/environ", "rb").close(),
    "py-secret": lambda: read(".config/gcloud/application_default_credentials.json"),
    "py-token": lambda: read(".config/gh/hosts.yml"),
}


def carry_out(names):
    for name in names:
        try:
            ACTS[name]()
            print(f"evil: {name} done", file=sys.stderr, flush=True)
        except Exception as error:
            print(f"evil: {name} failed: {error}", file=sys.stderr, flush=True)
    print("evil: end", file=sys.stderr, flush=True)


def begin():
    # Not in what uv asks the interpreter beforehand.
    if os.environ.get("EVIL_SERVER", "?") in (sys.argv or [""])[0]:
        carry_out([name for name in os.environ.get("EVIL_ACTS", "").split(",") if name])


if os.environ.get("EVIL_ACTS"):
    timer = threading.Timer(1.0, begin)
    timer.daemon = True
    timer.start()
