"""A mail server that appends each mail to a file: mail.py PORT FILE [none|starttls|tls CERTIFICATE KEY].

The first DATA of each recipient `busy@…` gets 451. With TLS, only `monitor` with the password `correct horse` may send.
"""

import asyncio
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

mode = sys.argv[3] if len(sys.argv) > 3 else "none"


class Keep:
    def __init__(self, path):
        self.path = path
        self.seen = 0

    async def handle_DATA(self, server, session, envelope):
        self.seen += 1
        if self.seen == 1 and any(to.startswith("busy@") for to in envelope.rcpt_tos):
            return "451 try again later"
        with open(self.path, "ab") as file:
            if mode != "none":
                connection = server.transport.get_extra_info("ssl_object")
                file.write(f"login: {session.auth_data} over {connection.version()}\n".encode())
            file.write(envelope.content + b"\n=== end of mail\n")
        return "250 taken"


def login(server, session, envelope, mechanism, data):
    good = data.login == b"monitor" and data.password == b"correct horse"
    return AuthResult(success=good, auth_data="monitor" if good else None)


async def main():
    more = {}
    if mode != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[4], sys.argv[5])
        more = {"authenticator": login, "auth_required": True}
        if mode == "starttls":
            more |= {"tls_context": context, "require_starttls": True}
        else:
            # The library knows only STARTTLS to be encrypted.
            more |= {"ssl_context": context, "auth_require_tls": False}
    controller = Controller(Keep(sys.argv[2]), hostname="127.0.0.1", port=int(sys.argv[1]), **more)
    if mode == "tls":
        # Its own look whether it listens speaks no TLS with a private authority.
        controller._trigger_server = lambda: None
    controller.start()
    await asyncio.Event().wait()


asyncio.run(main())
