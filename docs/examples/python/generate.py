"""A client of Soma in Python: python generate.py NAME.creds "a prompt". Needs nats-py, nkeys and msgpack; docs/clients.md says what it does."""

import asyncio
import base64
import json
import os
import re
import sys
import uuid

import msgpack
import nats

WINDOW = 32  # The service waits after 64 chunks of which nobody said that they were read.


def name_of(creds: str) -> str:
    """Who the credential is for: the name in its JWT, which is the caller in every subject."""
    jwt = re.search(r"BEGIN NATS USER JWT-+\s+(\S+)", open(creds).read()).group(1)
    body = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["name"]


def broker() -> str:
    home = os.environ.get("SOMA_HOME", os.path.expanduser("~/.soma"))
    with open(os.path.join(home, "run", "system.json")) as file:
        return json.load(file)["url"]


async def generate(creds: str, request: dict) -> int:
    name = name_of(creds)
    replies: asyncio.Queue = asyncio.Queue()

    async def refused(error):  # The broker refuses what the grant does not hold.
        await replies.put(error)

    try:
        # Without trying again: a credential that was revoked or has expired is refused for ever.
        client = await nats.connect(
            broker(),
            user_credentials=creds,
            inbox_prefix=f"_INBOX.{name}".encode(),
            error_cb=refused,
            allow_reconnect=False,
            max_reconnect_attempts=1,
        )
    except nats.errors.NoServersError:
        print(f"EIO: no broker at {broker()}: soma start", file=sys.stderr)
        return 74
    except nats.errors.Error as error:
        print(f"EPERM: the broker did not take {creds} ({error!r}): ask for a new one", file=sys.stderr)
        return 77
    id = uuid.uuid4().hex
    inbox = client.new_inbox()
    await client.subscribe(inbox, cb=replies.put)
    headers = {"id": id, "abi": "1", "ttl": "60000"}
    await client.publish(f"sys.{name}.model.any.generate", msgpack.packb(request), reply=inbox, headers=headers)
    instance, read = "any", 0
    try:
        while True:
            reply = await asyncio.wait_for(replies.get(), 60)
            if isinstance(reply, Exception):
                print(f"EPERM: {reply}: soma app grant {name} --call model.generate", file=sys.stderr)
                return 77
            if (reply.headers or {}).get("Status") == "503":
                print("ESERVICEDOWN: nobody serves model: soma ps", file=sys.stderr)
                return 69
            body = msgpack.unpackb(reply.data)
            kind = reply.headers["type"]
            if kind == "accepted":
                instance = body["instance"]
            elif kind == "chunk":
                print(body.get("text", ""), end="", flush=True)
                read += 1
                if read % WINDOW == 0:
                    credit = msgpack.packb({"id": id, "read": read})
                    await client.publish(f"sys.{name}.model.{instance}.credit", credit)
            elif kind == "error":
                print(f"{body['code']}: {body['message']}", file=sys.stderr)
                return 77 if body["code"] == "EPERM" else 1
            else:
                print()
                return 0
    finally:
        await client.close()


if __name__ == "__main__":
    creds, prompt, *more = sys.argv[1:]
    options = json.loads(more[0]) if more else {}
    sys.exit(asyncio.run(generate(creds, {"prompt": prompt, **options})))
