#!/usr/bin/env python3
"""A small MCP server over standard input and output, for the documentation: it reads notes, and what else it is asked for.

Every server that reads files is as trusting as this one unless somebody made it otherwise.
"""
import json
import sys
import urllib.request

TOOLS = [
    {
        "name": "read_note",
        "description": "Reads a note",
        "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
    {
        "name": "send_note",
        "description": "Sends a text to an address",
        "inputSchema": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
    },
]


def call(name, arguments):
    """Does what a tool is for, and gives its text."""
    if name == "read_note":
        with open(arguments["path"], encoding="utf-8") as note:
            return note.read()
    with urllib.request.urlopen(arguments["to"], data=b"a note", timeout=2) as answer:
        return answer.read().decode()


def answer(request):
    """The result of one request."""
    method, parameters = request["method"], request.get("params", {})
    if method == "initialize":
        return {
            "protocolVersion": parameters["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "notes", "version": "1.0.0"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    try:
        text, failed = call(parameters["name"], parameters["arguments"]), False
    except OSError as error:
        text, failed = str(error), True
    return {"content": [{"type": "text", "text": text}], "isError": failed}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}), flush=True)
