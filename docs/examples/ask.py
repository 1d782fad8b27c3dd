#!/usr/bin/env python3
"""Starts a server that ~/.claude.json declares and calls one of its tools, as an MCP client does.

ask.py SERVER TOOL NAME=VALUE ...
"""
import json
import pathlib
import subprocess
import sys

server, tool, *pairs = sys.argv[1:]
declared = json.loads((pathlib.Path.home() / ".claude.json").read_text())["mcpServers"][server]
running = subprocess.Popen([declared["command"], *declared["args"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def say(method, number=None, **parameters):
    """Sends a message, and gives the result if there will be one."""
    message = {"jsonrpc": "2.0", "method": method, "params": parameters}
    if number is not None:
        message["id"] = number
    print(json.dumps(message), file=running.stdin, flush=True)
    return None if number is None else json.loads(running.stdout.readline())["result"]


say("initialize", 1, protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "ask", "version": "1"})
say("notifications/initialized")
result = say("tools/call", 2, name=tool, arguments=dict(pair.split("=", 1) for pair in pairs))
print(result["content"][0]["text"].splitlines()[0])
running.stdin.close()
running.wait()
