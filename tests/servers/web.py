"""A web server for demo and tests whose log proves what arrived.

Usage: web.py ADDRESS PORT

Prints `ready PID PORT` and then one line for each request on stdout. Ends when its stdin ends, so that it never
outlives the program that started it, whatever becomes of that one (and, in a network namespace of its own, the
namespace ends with it). PORT 0 takes a free one.
"""

import http.server
import os
import sys
import threading
import time

PLAIN = "The ferry leaves at nine.\n" * 40
PAGE = (
    "<!doctype html><html><head><title>Timetable</title></head><body><article><h1>Timetable</h1>"
    + "<p>The ferry leaves at nine and comes back at five. Bring a coat, for it is windy on the water.</p>" * 12
    + "</article></body></html>"
)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith(".txt"):
            self.answer(200, "text/plain", PLAIN)
        elif self.path == "/robots.txt":
            self.answer(404, "text/plain", "none\n")
        else:
            self.answer(200, "text/html", PAGE)

    def answer(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        peer, port = self.client_address[:2]
        when = time.strftime("%H:%M:%S")
        # repr: the request line is the peer's text and must stay on one line.
        print(f"{when} {peer}:{port} {self.requestline!r} answered {status}", flush=True)

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"ready {os.getpid()} {server.server_address[1]}", flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: web.py ADDRESS PORT")
    main()
