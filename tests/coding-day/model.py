"""A model on loopback that answers with one tool call after another: Anthropic's messages and OpenAI's responses.

`model.py PORT-FILE SCRIPT`: each line of SCRIPT is a shell command. The n-th request with tools gets the n-th command as a
call of the client's shell tool; after the last one the answer is a plain text, which ends the client's turn. For `@wait FILE`
the client is kept waiting until FILE is there.
"""
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

commands = [line.rstrip("\n") for line in open(sys.argv[2]) if line.strip()]
lock = threading.Lock()
state = {"next": 0, "waited": 0}


def next_command():
    with lock:
        number = state["next"]
        if number < len(commands) and commands[number].startswith("@wait "):
            if not os.path.exists(commands[number][len("@wait "):]):
                state["waited"] += 1
                return (100000 + state["waited"], "sleep 0.5")
            number += 1
        state["next"] = number + 1
    return (number, commands[number]) if number < len(commands) else (number, None)


class Stub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = json.dumps({"data": [], "object": "list"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            asked = json.loads(body)
        except ValueError:
            asked = {}
        if "count_tokens" in self.path:
            return self.plain({"input_tokens": 10})
        if "/messages" in self.path:
            return self.answer_messages(asked)
        if "/responses" in self.path:
            return self.answer_responses(asked)
        if "/chat/completions" in self.path:
            return self.answer_completions(asked)
        self.plain({})

    def plain(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, events):
        text = "".join(events).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def answer_messages(self, asked):
        shell = any(tool.get("name") == "Bash" for tool in asked.get("tools") or [])
        number, command = next_command() if shell else (0, None)
        if command is None:
            block = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": "done"}
            stop = "end_turn"
        else:
            block = {"type": "tool_use", "id": f"toolu_{number:06}", "name": "Bash", "input": {}}
            given = json.dumps({"command": command, "description": "work"})
            delta = {"type": "input_json_delta", "partial_json": given}
            stop = "tool_use"
        message = {"id": f"msg_{number:06}", "type": "message", "role": "assistant", "model": asked.get("model"), "content": [],
                   "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1}}
        if not asked.get("stream"):
            content = {"type": "text", "text": "done"} if command is None else {**block, "input": {"command": command}}
            return self.plain({**message, "content": [content], "stop_reason": stop})
        parts = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ]
        self.stream(f"event: {part['type']}\ndata: {json.dumps(part)}\n\n" for part in parts)

    def answer_responses(self, asked):
        names = [tool.get("name") for tool in asked.get("tools") or []]
        number, command = next_command() if names else (0, None)
        if command is None:
            item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "done", "annotations": []}]}
        else:
            name = "exec_command" if "exec_command" in names else "shell_command" if "shell_command" in names else "shell"
            given = {"exec_command": {"cmd": command, "yield_time_ms": 120000}, "shell_command": {"command": command},
                     "shell": {"command": ["bash", "-lc", command]}}[name]
            item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": name,
                    "arguments": json.dumps(given), "status": "completed"}
        answer = {"id": f"resp_{number}", "object": "response", "status": "completed", "output": [item],
                  "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
                            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}}
        parts = [
            {"type": "response.created", "response": {**answer, "status": "in_progress", "output": []}},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": answer},
        ]
        self.stream(f"event: {part['type']}\ndata: {json.dumps(part)}\n\n" for part in parts)

    def answer_completions(self, asked):
        shell = any(tool.get("function", {}).get("name") == "bash" for tool in asked.get("tools") or [])
        number, command = next_command() if shell else (0, None)
        if command is None:
            delta, stop = {"role": "assistant", "content": "done"}, "stop"
        else:
            given = json.dumps({"command": command, "description": "work"})
            call = {"index": 0, "id": f"call_{number}", "type": "function", "function": {"name": "bash", "arguments": given}}
            delta, stop = {"role": "assistant", "tool_calls": [call]}, "tool_calls"
        base = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": asked.get("model")}
        parts = [
            {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": stop}],
             "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}},
        ]
        self.stream([f"data: {json.dumps(part)}\n\n" for part in parts] + ["data: [DONE]\n\n"])


server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
with open(sys.argv[1], "w") as file:
    file.write(str(server.server_address[1]))
server.serve_forever()
