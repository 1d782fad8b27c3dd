"""A real MCP client that carries out a plan: starts servers as a user's client would and makes the calls given.

Usage: client.py PLAN

PLAN is a JSON file:

    {"environment": {"HOME": "..."},            what every server gets on top of this client's own environment
     "servers": [
       {"name": "filesystem",
        "command": ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/me"],
        "directory": "/home/me",                optional
        "idle": 0.5,                            seconds to do nothing after the start, optional
        "calls": [{"tool": "list_directory", "arguments": {"path": "/home/me"},
                   "times": 1,                  how often, optional
                   "together": false}]}]}       at the same time, optional

One line on stderr for each call. Ends with 0 if every call was answered without an error. Uses the official Python
SDK and nothing else; an answer's text is never printed, only its size.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

# A server that is slower than this to start or to answer is broken; generous, for machines under load.
PATIENCE = 240


def say(text):
    print(f"client: {text}", file=sys.stderr, flush=True)


def field(thing, *names):
    """The first of `names` that `thing` has: SDK 1 and 2 spell fields differently."""
    for name in names:
        if hasattr(thing, name):
            return getattr(thing, name)
    return None


def shown(call):
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in call.get("arguments", {}).items())
    return f"{call['tool']}({arguments if len(arguments) <= 120 else arguments[:119] + '…'})"


async def one(session, server, call):
    """Makes `call` once; true if the answer is no error."""
    try:
        answer = await asyncio.wait_for(session.call_tool(call["tool"], call.get("arguments", {})), PATIENCE)
    except Exception as error:
        say(f"{server['name']}: {shown(call)} failed: {type(error).__name__}: {error}")
        return False
    text = "".join(getattr(part, "text", "") for part in answer.content)
    if field(answer, "is_error", "isError"):
        say(f"{server['name']}: {shown(call)} was refused: {text[:200]}")
        return False
    say(f"{server['name']}: {shown(call)} answered, {len(text)} characters")
    return True


async def drive(server, environment):
    """Starts `server`, makes its calls and ends it; the number of calls that failed."""
    command, *arguments = server["command"]
    parameters = StdioServerParameters(
        command=command,
        args=arguments,
        env={**os.environ, **environment, **server.get("environment", {})},
        cwd=server.get("directory"),
    )
    say(f"{server['name']}: starting {' '.join(server['command'])}")
    failed = 0
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await asyncio.wait_for(session.initialize(), PATIENCE)
        tools = await asyncio.wait_for(session.list_tools(), PATIENCE)
        say(f"{server['name']}: ready, {len(tools.tools)} tools")
        await asyncio.sleep(server.get("idle", 0))
        for call in server["calls"]:
            times = call.get("times", 1)
            if call.get("together"):
                done = await asyncio.gather(*(one(session, server, call) for _ in range(times)))
            else:
                done = [await one(session, server, call) for _ in range(times)]
            failed += done.count(False)
    return failed


async def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    failed = 0
    for server in plan["servers"]:
        try:
            failed += await drive(server, plan.get("environment", {}))
        except Exception as error:
            say(f"{server['name']}: did not start: {type(error).__name__}: {error}")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: client.py PLAN")
    sys.exit(asyncio.run(main()))
