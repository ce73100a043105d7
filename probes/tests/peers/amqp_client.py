"""Talks to RabbitMQ (the port is the first argument) through pika.

Methods are written down where the library marshals and unmarshals them, its own among them; messages
with their exchange, key and size. One connection is older than "ready"; the rest waits for a line on
standard input.
"""
import sys
import time

import record_keeper as keeper

keeper.importable("pika")
import pika
from pika import exceptions, spec

server = int(sys.argv[1])
LATER = 30_000_000_000
# By connection and channel: what waits for an answer, the consumers, and the number of the next message
# where messages are confirmed; by delivery: where it came from.
asked, consumers, counted, confirms, places, declared = {}, {}, {}, {}, {}, {}
# What came last on a channel, the connection that is being made, channels that opened here.
current, opening, opened = {}, {}, set()
plain = {name: getattr(pika.connection.Connection, name) for name in ("_send_method", "_process_frame")}


def port(connection):
    return connection._transport._sock.getsockname()[1] if hasattr(connection._transport, "_sock") else \
        connection._transport.get_extra_info("sockname")[1]


def operation(method):
    group, _, name = method.NAME.partition(".")
    words = []
    for letter in name:
        words.append(("_" if letter.isupper() and words else "") + letter.lower())
    name = "".join(words)
    return name if group == "Basic" else f"{group.lower()}.{name}"


def place(*parts):
    kept = [part for part in parts if part]
    kept = [part for at, part in enumerate(kept) if at == 0 or part != kept[at - 1]]
    return ":".join(kept) or "amq.default"


def note(connection, method, destination, start=None, **known):
    now = time.time_ns()
    entry = dict(dict(connection=port(connection), operation=operation(method), text=None, collection=destination,
                      status=None, sent=None, received=None, body=None, start=start or now, end=now + LATER), **known)
    with keeper.lock:
        keeper.records.append(entry)
    return entry


def about(key, method):
    """What a request is about: a queue, an exchange, or a consumer of a queue."""
    if isinstance(method, spec.Basic.Cancel):
        return consumers.get(key, {}).get(method.consumer_tag)
    if isinstance(method, spec.Exchange.Bind):
        return method.destination
    name = getattr(method, "queue", None)
    if name == "" and not isinstance(method, spec.Queue.Declare):
        name = declared.get(key)
    return name or (getattr(method, "exchange", None) if not hasattr(method, "queue") else None) or None


def send_method(self, channel, method, content=None):
    key = (port(self), channel)
    if isinstance(method, spec.Basic.Publish):
        entry = note(self, method, place(method.exchange, method.routing_key), body=len(content[1]))
        if key in counted:
            counted[key] += 1
            confirms[key, counted[key]] = entry
        elif key in opened:
            entry["received"] = 0
    elif isinstance(method, (spec.Basic.Ack, spec.Basic.Nack, spec.Basic.Reject)):
        multiple = getattr(method, "multiple", False)
        mine = [one for one in places if one[0] == key and (one[1] == method.delivery_tag or
                multiple and (one[1] <= method.delivery_tag or method.delivery_tag == 0))]
        settled = {places.pop(one) for one in mine}
        note(self, method, settled.pop() if len(settled) == 1 else None, received=0)
    elif not isinstance(method, (spec.Channel.CloseOk, spec.Connection.CloseOk, spec.Connection.StartOk,
                                 spec.Connection.TuneOk, spec.Connection.Open)):
        entry = note(self, method, about(key, method))
        asked.setdefault(key, []).append((method, entry))
        if isinstance(method, spec.Channel.Open):
            opened.add(key)
        if isinstance(method, spec.Confirm.Select):
            counted[key] = 0
        if isinstance(method, spec.Basic.Consume):
            queue = about(key, method)
            consumers.setdefault(key, {})[method.consumer_tag] = queue
            if method.no_ack:
                consumers[key, "silent"] = consumers.get((key, "silent"), set()) | {method.consumer_tag}
    plain["_send_method"](self, channel, method, content)


def over(entry, status=None):
    entry.update(status=entry["status"] or status, end=time.time_ns())


def announced(self, key, method):
    """A message is announced; its size comes with its header."""
    if isinstance(method, spec.Basic.Deliver):
        destination = place(method.exchange, method.routing_key, consumers[key].get(method.consumer_tag))
        entry = note(self, method, destination, received=0, start=1)
        if method.consumer_tag not in consumers.get((key, "silent"), ()):
            places[key, method.delivery_tag] = destination
    elif isinstance(method, spec.Basic.Return):
        destination = place(method.exchange, method.routing_key)
        entry = note(self, method, destination, received=0, start=1, status=str(method.reply_code))
        back = [one for (of, _), one in confirms.items() if of == key and one["collection"] == destination
                and not one["status"]]
        if back:
            back[0]["status"] = str(method.reply_code)
    else:
        request, entry = asked[key].pop(0)
        destination = entry["collection"] = place(method.exchange, method.routing_key, entry["collection"])
        if not request.no_ack:
            places[key, method.delivery_tag] = destination
        over(entry)
    current[key] = entry


def process_frame(self, frame):
    key = (port(self), frame.channel_number)
    method = getattr(frame, "method", None)
    if isinstance(frame, pika.frame.Header):
        current[key]["body"] = frame.body_size
    elif method is None or isinstance(method, (spec.Connection.Start, spec.Connection.Tune, spec.Connection.OpenOk)):
        pass
    elif isinstance(method, (spec.Basic.Deliver, spec.Basic.Return, spec.Basic.GetOk)):
        announced(self, key, method)
    elif isinstance(method, (spec.Basic.Ack, spec.Basic.Nack)):
        status = "nack" if isinstance(method, spec.Basic.Nack) else None
        for of in [one for one in confirms if one[0] == key and (one[1] == method.delivery_tag or
                   method.multiple and one[1] <= method.delivery_tag)]:
            over(confirms.pop(of), status)
    elif isinstance(method, (spec.Channel.Close, spec.Connection.Close)):
        status = str(method.reply_code)
        for of in [one for one in confirms if one[0] == key]:
            over(confirms.pop(of), status)
        for _, entry in asked.pop(key, []):
            over(entry, status)
        counted.pop(key, None)
        if opening.get("entry"):
            over(opening.pop("entry"), status)
        note(self, method, None, received=0, start=1, status=status)
    elif asked.get(key):
        request, entry = asked[key].pop(0)
        if isinstance(method, spec.Queue.DeclareOk):
            declared[key] = entry["collection"] = method.queue
        if isinstance(method, spec.Channel.CloseOk):
            counted.pop(key, None)
        over(entry)
    plain["_process_frame"](self, frame)


pika.connection.Connection._send_method = send_method
pika.connection.Connection._process_frame = process_frame


def connect(name, user="guest", password="guest", host="/"):
    start = time.time_ns()
    entry = dict(connection=None, operation="connect", text=None, collection=None, status=None, sent=None,
                 received=None, body=None, start=start, end=start + LATER)
    opening["entry"] = entry
    keeper.records.append(entry)
    parameters = pika.ConnectionParameters(
        "127.0.0.1", server, host, pika.PlainCredentials(user, password), heartbeat=0, connection_attempts=1,
        client_properties={"connection_name": name})
    seen = len(keeper.records)
    try:
        connection = pika.BlockingConnection(parameters)
        entry["connection"] = port(connection._impl)
        return connection
    except exceptions.AMQPError:
        entry["connection"] = keeper.records[seen]["connection"]
        return None
    finally:
        opening.clear()


def topology(channel):
    channel.exchange_declare("orders", "topic")
    channel.exchange_declare("copies", "fanout", auto_delete=False)
    channel.exchange_bind("copies", "orders", "order.#")
    for queue, key in (("all", "order.#"), ("some", "order.*.1")):
        channel.queue_declare(queue)
        channel.queue_bind(queue, "orders", key)
    channel.queue_declare("full", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    channel.queue_unbind("some", "orders", "order.*.1")
    channel.queue_bind("some", "orders", "order.*.1")


def publishing(connection, tag, rounds, confirmed):
    channel = connection.channel()
    if confirmed:
        channel.confirm_delivery()
    for i in range(rounds):
        properties = pika.BasicProperties(message_id=f"{tag}{i}", correlation_id=f"c{i}", delivery_mode=1 + i % 2)
        if i % 3 == 0:
            properties.headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "n": i, "list": [1, "two"]}
        channel.basic_publish("orders", f"order.{tag}.{i % 4}", b"v" * (i * 37 % 5_000), properties)
        if confirmed and i % 10 == 0:
            for attempt in (("orders", "nowhere", b"lost" * i, True), ("", "full", b"more", False)):
                try:
                    channel.basic_publish(*attempt[:3], mandatory=attempt[3])
                except (exceptions.UnroutableError, exceptions.NackError):
                    pass
    channel.basic_publish("orders", f"order.{tag}.large", b"w" * 300_000)
    channel.close()


def pipelining(rounds):
    """Many messages before the first is confirmed, as a library without waiting does it."""
    connection = connect("pipeliner")
    channel = connection.channel()
    channel._impl.confirm_delivery(lambda frame: None, lambda frame: None)
    connection.process_data_events(0.2)
    for i in range(rounds):
        channel._impl.basic_publish("orders", f"order.p.{i % 2}", b"p" * i)
    end = time.time() + 20
    while any(of[0][0] == port(connection._impl) for of in confirms) and time.time() < end:
        connection.process_data_events(0.1)
    channel.close()
    connection.close()


def consuming(queue, at_least, silent=False):
    connection = connect(f"eater of {queue}")
    channel = connection.channel()
    channel.basic_qos(prefetch_count=20)
    seen = []

    def eat(channel, method, properties, body):
        seen.append(method.delivery_tag)
        if silent:
            pass
        elif len(seen) % 10 == 3:
            channel.basic_nack(method.delivery_tag, requeue=False)
        elif len(seen) % 10 == 4:
            channel.basic_reject(method.delivery_tag, requeue=False)
        elif len(seen) % 10 in (5, 6, 7):
            pass
        else:
            channel.basic_ack(method.delivery_tag, multiple=len(seen) % 10 == 8)
    tag = channel.basic_consume(queue, eat, auto_ack=silent)
    end, before = time.time() + 30, -1
    while (len(seen) < at_least or before < len(seen)) and time.time() < end:
        before = len(seen)
        connection.process_data_events(1)
    assert len(seen) >= at_least, (queue, len(seen))
    channel.basic_cancel(tag)
    connection.close()


def fetching(connection, rounds):
    channel = connection.channel()
    channel.queue_declare("fetched")
    for i in range(rounds):
        channel.basic_publish("", "fetched", b"f" * i)
    for i in range(rounds):
        method, _, _ = channel.basic_get("fetched", auto_ack=i % 3 == 0)
        if method and i % 3:
            channel.basic_ack(method.delivery_tag) if i % 3 == 1 else channel.basic_reject(method.delivery_tag, False)
    channel.basic_get("fetched")
    channel.queue_purge("fetched")
    channel.queue_delete("fetched")
    channel.close()


def failing():
    connection = connect("failing")
    for wrong in (lambda channel: channel.queue_declare("missing", passive=True),
                  lambda channel: channel.exchange_declare("orders", "direct"),
                  lambda channel: channel.queue_declare("all", durable=True),
                  lambda channel: channel.queue_delete("all", if_empty=True, if_unused=True),
                  lambda channel: channel.basic_consume("missing", print),
                  lambda channel: (channel.basic_publish("no exchange", "key", b"?"), channel.basic_get("all")),
                  lambda channel: (channel.confirm_delivery(), channel.basic_publish("no exchange", "key", b"?"))):
        channel = connection.channel()
        try:
            wrong(channel)
            connection.process_data_events(0.2)
        except exceptions.AMQPError:
            pass
        if channel.is_open:
            channel.close()
    channel = connection.channel()
    channel.tx_select()
    channel.basic_publish("", "nobody", b"in a transaction")
    channel.tx_commit()
    channel.basic_publish("", "nobody", b"and not")
    channel.tx_rollback()
    connection.close()
    assert connect("wrong", password="wrong") is None
    assert connect("nowhere", host="nowhere") is None


older = connect("older")
setup = older.channel()
topology(setup)
keeper.ready()
# Whether messages are confirmed there, only who saw it open can know.
opened.clear()
ROUNDS = 40
pika_connections = [connect(name) for name in ("a", "b", "f")]
setup.queue_declare("late")
setup.queue_bind("late", "orders", "order.o.*")
setup.basic_publish("orders", "order.o.1", b"older")
failing()
keeper.together(lambda: publishing(pika_connections[0], "a", ROUNDS, False), lambda: publishing(pika_connections[1], "b", ROUNDS, True),
                lambda: fetching(pika_connections[2], ROUNDS), lambda: publishing(older, "o", ROUNDS, True))
pipelining(ROUNDS)
keeper.together(lambda: consuming("all", 3 * ROUNDS), lambda: consuming("some", ROUNDS // 2, silent=True))
[connection.close() for connection in (*pika_connections, older)]
keeper.finish()
