"""Talks to an MQTT broker (the port is the first argument) through paho-mqtt.

Operations are written down where they are asked for and where the library says that they are through,
messages where it hands them out. One connection is older than "ready"; the rest waits for a line on
standard input.
"""
import queue
import sys
import time

import record_keeper as keeper

keeper.importable("paho.mqtt.client")
from paho.mqtt import client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

server = int(sys.argv[1])
LATER = 30_000_000_000


def error(reason):
    if not getattr(reason, "is_failure", False):
        return None
    return str(reason).lower().replace(" ", "_")


class Talker:
    """A client that is connected, and what it waits for by number.

    The library calls back under its own locks, and takes them where it is asked for something: what it
    calls back with goes through a queue, so that no lock of ours is ever held around one of its own.
    """

    def __init__(self, name, version, user=None, password=None):
        self.name, self.waiting, self.over, self.got = name, {}, queue.SimpleQueue(), 0
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=version,
                                  reconnect_on_failure=False)
        self.client.max_inflight_messages_set(0)
        self.five = version == mqtt.MQTTv5
        if user:
            self.client.username_pw_set(user, password)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.end("connect", [reason])
        self.client.on_publish = lambda client, data, mid, reason, properties: self.end(mid, [reason])
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self.end(mid, reasons)
        self.client.on_unsubscribe = lambda client, data, mid, reasons, properties: self.end(mid, reasons)
        self.client.on_message = self.message
        start = time.time_ns()
        self.client.connect("127.0.0.1", server, keepalive=60)
        self.port = self.client.socket().getsockname()[1]
        self.waiting["connect"] = self.note("connect", None, start=start)
        self.client.loop_start()
        self.wait()

    def note(self, operation, topic, **known):
        now = time.time_ns()
        entry = dict(dict(connection=self.port, operation=operation, text=None, collection=topic, status=None,
                          sent=None, received=None, body=None, start=now, end=now + LATER), **known)
        with keeper.lock:
            keeper.records.append(entry)
        return entry

    def end(self, number, reasons):
        self.over.put((number, next((error(one) for one in reasons if error(one)), None), time.time_ns()))

    def wait(self):
        while self.waiting:
            try:
                number, status, now = self.over.get(timeout=20)
            except queue.Empty:
                raise AssertionError(f"{self.name} waits in vain for {self.waiting}") from None
            entry = self.waiting.pop(number, None)
            if entry is not None:
                entry.update(status=status, end=entry["end"] if entry["received"] == 0 else now)

    def wait_for_messages(self, at_least):
        """Until nothing more comes: the broker may drop what nobody has to acknowledge."""
        seen, end = -1, time.time() + 20
        while (seen < self.got or self.got < at_least) and time.time() < end:
            seen = self.got
            time.sleep(1)
        assert self.got >= at_least, (self.got, at_least)

    def message(self, client, data, message):
        self.note("deliver", message.topic, body=len(message.payload), start=1)
        self.got += 1

    def publish(self, topic, payload, qos, retain=False, properties=None):
        start = time.time_ns()
        info = self.client.publish(topic, payload, qos, retain, properties)
        self.waiting[info.mid] = self.note("publish", topic, body=self.body(payload), start=start,
                                           received=0 if qos == 0 else None)

    def body(self, payload):
        """Without the beginning of a connection, its version is not known, and so where payload begins."""
        return None if self.name == "older" else len(payload)

    def ask(self, operation, topic, *what):
        start = time.time_ns()
        _, mid = getattr(self.client, operation)(*what)
        self.waiting[mid] = self.note(operation, topic, start=start)
        self.wait()

    def close(self):
        self.wait()
        self.client.disconnect()
        self.client.loop_stop()


def publishing(talker, tag, rounds):
    for i in range(rounds):
        properties = None
        if talker.five and i % 4 == 0:
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = [("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"), ("kind", "test")]
            properties.ResponseTopic, properties.CorrelationData = f"back/{tag}", b"c%d" % i
        talker.publish(f"plant/{tag}/{i % 5}", b"v" * (i * 37 % 5_000), i % 3, properties=properties)
        if i % 10 == 0:
            talker.wait()
    talker.publish(f"plant/{tag}/large", b"w" * 100_000, 1)
    talker.publish(f"kept/{tag}", b"k" * 11, 1, retain=True)
    talker.wait()


def subscribing(name, version, topic, qos):
    talker = Talker(name, version)
    talker.ask("subscribe", topic, topic, qos)
    talker.ask("subscribe", "other/#", "other/#", 0)
    talker.ask("subscribe", "forbidden", "forbidden", 1)
    talker.ask("unsubscribe", "other/#", "other/#")
    talker.ask("subscribe", None, [("a/#", SubscribeOptions(0)), ("b", SubscribeOptions(1))] if talker.five
               else [("a/#", 0), ("b", 1)])
    return talker


def refused():
    for version in (mqtt.MQTTv5, mqtt.MQTTv311):
        talker = Talker(f"wrong{version}", version, "someone", "wrong")
        talker.client.loop_stop()
    # Whoever sends what is not allowed is told so, and sent away.
    denied = Talker("denied", mqtt.MQTTv5)
    denied.publish("forbidden", b"?" * 3, 1)
    denied.wait()
    denied.client.loop_stop()
    right = Talker("right", mqtt.MQTTv5, "someone", "pa55word")
    right.close()


older = Talker("older", mqtt.MQTTv311)
keeper.ready()
# Amid a connection, signs of life tell who is who.
older.client._send_pingreq()
time.sleep(0.5)
ROUNDS = 60
readers = [subscribing("r0", mqtt.MQTTv5, "plant/#", 0), subscribing("r1", mqtt.MQTTv311, "plant/+/3", 1),
           subscribing("r2", mqtt.MQTTv5, "plant/#", 2), subscribing("r3", mqtt.MQTTv5, "$share/team/plant/#", 1)]
writers = [Talker("five", mqtt.MQTTv5), Talker("three", mqtt.MQTTv311)]
keeper.together(lambda: publishing(older, "o", ROUNDS), lambda: publishing(writers[0], "f", ROUNDS),
                lambda: publishing(writers[1], "t", ROUNDS), refused)
for reader, of_writer in zip(readers, (0, ROUNDS // 5, ROUNDS, ROUNDS)):
    reader.wait_for_messages(3 * of_writer)
time.sleep(0.5)
[talker.close() for talker in (older, *writers, *readers)]
keeper.finish()
