"""An OTLP receiver made of the official messages: otlp.py http|grpc PORT FILE FIRST [CERTIFICATE KEY CA].

Appends each log record as a line of JSON. FIRST says what becomes of the first request: `good`, `busy` (503 or
UNAVAILABLE), `slowly` (429 with Retry-After: 2, or RESOURCE_EXHAUSTED with RetryInfo), `partial` (one record is not kept),
`poison` (whoever sends `event-1` is refused for ever).
"""

import gzip
import json
import ssl
import sys
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf import any_pb2, duration_pb2, json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as service

kind, port, path, first = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
tls = sys.argv[5:8]
seen = 0


def keep(request, skip=0):
    with open(path, "a") as file:
        for resource in request.resource_logs:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert names["service.name"] == "mcp-monitor" and names["host.name"], names
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    assert record.time_unix_nano and record.observed_time_unix_nano and record.severity_number
                    if skip:
                        skip -= 1
                        continue
                    file.write(json.dumps(json_format.MessageToDict(record)) + "\n")


def behaviour(request):
    """What becomes of a request: taken, busy, slowly, partial or poison."""
    global seen
    seen += 1
    if first == "poison":
        return "poison" if b"event-1\"" in request.SerializeToString() else "good"
    return first if seen == 1 else "good"


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/logs" and self.headers["content-type"] == "application/x-protobuf"
        request = logs.ExportLogsServiceRequest.FromString(body)
        response, status, more = logs.ExportLogsServiceResponse(), 200, {}
        match behaviour(request):
            case "busy":
                status = 503
            case "slowly":
                status, more = 429, {"retry-after": "2"}
            case "poison":
                status = 400
            case "partial":
                response.partial_success.rejected_log_records = 1
                response.partial_success.error_message = "one is too old"
                keep(request, 1)
            case _:
                keep(request)
        answer = response.SerializeToString()
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Grpc(service.LogsServiceServicer):
    def Export(self, request, context):
        if first == "token":
            metadata = dict(context.invocation_metadata())
            assert metadata["authorization"] == "Bearer t0ken", metadata
        match behaviour(request):
            case "busy":
                context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
            case "slowly":
                detail = any_pb2.Any()
                detail.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2)))
                status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="slowly", details=[detail])
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slowly")
            case "poison":
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no good: 400")
            case "partial":
                keep(request, 1)
                response = logs.ExportLogsServiceResponse()
                response.partial_success.rejected_log_records = 1
                response.partial_success.error_message = "one is too old"
                return response
        keep(request)
        return logs.ExportLogsServiceResponse()


if kind == "http":
    server = ThreadingHTTPServer(("127.0.0.1", port), Http)
    server.serve_forever()
else:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    service.add_LogsServiceServicer_to_server(Grpc(), server)
    if tls:
        certificate, key, authority = (open(name, "rb").read() for name in tls)
        credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
        server.add_secure_port(f"127.0.0.1:{port}", credentials)
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()
