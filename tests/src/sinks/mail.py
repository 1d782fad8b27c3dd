"""A mail server that appends each mail to a file: mail.py PORT FILE. The first DATA of each recipient `busy@…` gets 451."""

import asyncio
import sys

from aiosmtpd.controller import Controller


class Keep:
    def __init__(self, path):
        self.path = path
        self.seen = 0

    async def handle_DATA(self, server, session, envelope):
        self.seen += 1
        if self.seen == 1 and any(to.startswith("busy@") for to in envelope.rcpt_tos):
            return "451 try again later"
        with open(self.path, "ab") as file:
            file.write(envelope.content + b"\n=== end of mail\n")
        return "250 taken"


async def main():
    controller = Controller(Keep(sys.argv[2]), hostname="127.0.0.1", port=int(sys.argv[1]))
    controller.start()
    await asyncio.Event().wait()


asyncio.run(main())
