"""Talks to a NATS server (the port is the first argument) through nats-py.

Operations and messages are written down where the library makes and takes them, its own among them.
One connection is older than "ready"; the rest waits for a line on standard input.
"""
import asyncio
import json
import re
import sys
import time

import record_keeper as keeper

keeper.importable("nats")
import nats
from nats import errors
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError

server = f"nats://127.0.0.1:{sys.argv[1]}"
LATER = 30_000_000_000
FETCH, ACK = "$JS.API.CONSUMER.MSG.NEXT.", "$JS.ACK."
WORDS = {b"": "ack", b"+ACK": "ack", b"-NAK": "nak", b"+TERM": "term", b"+WPI": "in_progress"}
# By connection and inbox: what waits for an answer there, and what was told to acknowledge where.
waiting, subjects, current = {}, {}, {}


def port(client):
    return client._transport._io_writer.get_extra_info("sockname")[1]


def note(client, operation, subject, sent=None, status=None, body=None, start=None, received=0, group=None):
    verbose = client.options["verbose"]
    now = time.time_ns()
    entry = dict(connection=port(client), operation=operation, text=None, collection=subject, status=status,
                 sent=sent, body=body, received=len(b"+OK\r\n") if verbose and received == 0 else received,
                 start=start or now, end=now + LATER)
    keeper.records.append(entry)
    return entry


plain = {name: getattr(Client, name) for name in (
    "_send_command", "_send_publish", "_send_subscribe", "_send_unsubscribe", "_process_msg", "_process_err",
    "_process_connect_init")}


async def send_command(self, cmd, *rest, **named):
    if (entry := current.pop(self, None)) is not None:
        entry["sent"] = len(cmd)
    await plain["_send_command"](self, cmd, *rest, **named)


async def send_publish(self, subject, reply, payload, size, headers):
    start = time.time_ns()
    entry = current[self] = note(self, "publish", subject, body=len(payload), start=start)
    if subject.startswith(ACK):
        entry.update(operation=WORDS[payload[:4] if payload[:1] == b"-" else payload.split()[0] if payload else b""],
                     body=None, collection=subjects[port(self), subject])
    if reply and not subject.startswith(ACK):
        entry.update(operation="fetch" if subject.startswith(FETCH) else "request", received=None, status="timeout")
        waiting[port(self), reply] = entry
    await plain["_send_publish"](self, subject, reply, payload, size, headers)


async def send_subscribe(self, sub):
    current[self] = note(self, "subscribe", sub._subject)
    await plain["_send_subscribe"](self, sub)


async def send_unsubscribe(self, sid, limit=0):
    current[self] = note(self, "unsubscribe", None)
    await plain["_send_unsubscribe"](self, sid, limit)


def answer(entry, status, code, data):
    entry.update(status=None, end=time.time_ns())
    fetches = entry["operation"] == "fetch"
    if status and not (fetches and status in ("404", "408")):
        entry["status"] = status
    elif code:
        entry["status"] = code
    elif data[:1] == b"{":
        said = json.loads(data)
        if "err_code" in said.get("error", {}):
            entry["status"] = str(said["error"]["err_code"])
        elif "stream" in said and "seq" in said:
            entry["operation"] = "publish"


async def process_msg(self, sid, subject, reply, data, headers):
    subject, reply = subject.decode(), reply.decode()
    status = re.match(rb"(?:NATS/1\.0)? *(\d{3})", bytes(headers or b""))
    status = status and status[1].decode()
    lines = bytes(headers or b"").split(b"\r\n")
    code = next((line.split(b":")[1].strip().decode() for line in lines if line.startswith(b"Nats-Service-Error-Code")), None)
    sub = self._subs.get(sid)
    inbox = sub._subject if sub else None
    if (entry := waiting.pop((port(self), subject), None)) is not None:
        answer(entry, status, code, bytes(data))
    else:
        fetch = waiting.get((port(self), inbox))
        if fetch is not None and fetch["operation"] == "fetch":
            answer(waiting.pop((port(self), inbox)), None, None, b"")
        if not status:
            entry = note(self, "deliver", subject, body=len(data), start=1)
            entry["received"] = 0
            if reply.startswith(ACK):
                subjects[port(self), reply] = subject
    await plain["_process_msg"](self, sid, subject.encode(), reply.encode(), data, headers)


async def process_err(self, message):
    if "Permissions Violation" in message.title() or "permissions violation" in message.lower():
        if self.options["verbose"]:
            last = [one for one in keeper.records if one["connection"] == port(self) and one["collection"] == "forbidden"][-1]
            last.update(status="Permissions Violation", received=None)
        else:
            note(self, "error", "forbidden", status="Permissions Violation", start=1)
    try:
        await plain["_process_err"](self, message)
    except errors.Error:
        pass


async def connect_init(self):
    entry = note(self, "connect", None, received=None)
    try:
        await plain["_process_connect_init"](self)
    except errors.Error as error:
        entry["status"] = str(error).removeprefix("nats: ").strip("'")
        raise


Client._send_command, Client._send_publish = send_command, send_publish
Client._send_subscribe, Client._send_unsubscribe = send_subscribe, send_unsubscribe
Client._process_msg, Client._process_err, Client._process_connect_init = process_msg, process_err, connect_init


async def ignore(*_):
    pass


async def connect(user="all", password="pa55word", **options):
    return await nats.connect(server, user=user, password=password, allow_reconnect=False, error_cb=ignore, **options)


async def publishing(client, tag, rounds):
    for i in range(rounds):
        headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "kind": "test"} if i % 3 == 0 else None
        await client.publish(f"orders.{tag}.{i % 4}", b"v" * (i * 37 % 5_000), headers=headers)
        if i % 7 == 0:
            await client.flush()
    await client.publish(f"orders.{tag}.large", b"w" * 100_000)
    await client.flush()


async def subscribing():
    client = await connect(name="reader")
    for subject, group in (("orders.>", ""), ("orders.*.1", ""), ("orders.a.2", ""), ("orders.>", "workers")):
        await client.subscribe(subject, queue=group, cb=ignore)
    once = await client.subscribe("orders.b.*", cb=ignore)
    await once.unsubscribe(limit=5)
    gone = await client.subscribe("nothing", cb=ignore)
    await gone.unsubscribe()
    await client.flush()
    return client


async def serving():
    client = await connect(name="service")

    async def echo(message):
        refused = message.data.startswith(b"no")
        headers = {"Nats-Service-Error-Code": "418", "Nats-Service-Error": "no"} if refused else None
        await message.respond(message.data * 2) if not refused else await client.publish(message.reply, b"", headers=headers)
    await client.subscribe("service.echo", cb=echo)
    await client.subscribe("service.silent", cb=ignore)
    await client.flush()
    return client


async def asking(rounds):
    client = await connect(name="asker")
    await asyncio.gather(*[client.request("service.echo", b"x" * (100 + i), timeout=20) for i in range(rounds)])
    for i in range(rounds):
        await client.request("service.echo", (b"no" if i % 5 == 0 else b"ye") * (i + 1), timeout=20)
    try:
        await client.request("service.nobody", b"?", timeout=5)
    except errors.NoRespondersError:
        pass
    try:
        await client.request("service.silent", b"?", timeout=5)
    except errors.TimeoutError:
        pass
    await client.flush()
    await client.close()


async def streaming(rounds):
    client = await connect(name="streamer")
    stream = client.jetstream(timeout=20)
    await stream.add_stream(StreamConfig(name="KEPT", subjects=["kept.>"], storage="memory"))
    for i in range(rounds):
        await stream.publish(f"kept.{i % 3}", b"s" * (i * 11 + 1))
    for attempt in (lambda: stream.publish("nowhere", b"?"), lambda: stream.consumer_info("KEPT", "none"),
                    lambda: stream.stream_info("NONE")):
        try:
            await attempt()
        except (APIError, NoStreamResponseError):
            pass
    pull = await stream.pull_subscribe("kept.>", durable="puller", config=ConsumerConfig(ack_wait=60))
    for i in range(rounds // 2):
        [message] = await pull.fetch(1, timeout=20)
        await [message.ack, message.nak, message.in_progress, message.term, message.ack][i % 5]()
    for message in await pull.fetch(5, timeout=20):
        await message.ack()
    ordered = await stream.subscribe("kept.1", cb=ignore, ordered_consumer=True)
    await client.flush()
    await asyncio.sleep(0.3)
    await ordered.unsubscribe()
    await client.flush()
    await client.close()


async def confirmed(rounds):
    client = await connect(user="some", verbose=True)
    for i in range(rounds):
        await client.publish("confirmed" if i % 3 else "forbidden", b"c" * i)
        await client.flush()
    # Its flush may overtake what it publishes.
    await client.flush()
    await asyncio.sleep(0.2)
    await client.close()
    plain_client = await connect(user="some")
    await plain_client.publish("forbidden", b"?")
    await plain_client.flush()
    await asyncio.sleep(0.2)
    await plain_client.close()
    try:
        await connect(password="wrong")
    except errors.Error:
        pass


async def main():
    older = await connect(name="older")
    older_sub = await older.subscribe("orders.o.*", cb=ignore)
    await older.flush()
    keeper.ready()
    reader, service = await asyncio.gather(subscribing(), serving())
    writers = [await connect(name=name) for name in ("a", "b")]
    await asyncio.gather(publishing(older, "o", 30), *[publishing(one, tag, 30) for one, tag in zip(writers, "ab")],
                         asking(20), streaming(30), confirmed(12))
    await asyncio.sleep(0.5)
    for client in (reader, service, older, *writers):
        await client.flush()
        await client.close()
    keeper.finish()


asyncio.run(main())
