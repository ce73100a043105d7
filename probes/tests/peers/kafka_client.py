"""Talks to a Kafka broker (the port is the first argument) through kafka-python.

Every request of the library is written down where it makes one, its own among them. One producer is
older than "ready"; the rest waits for a line on standard input.
"""
import sys
import time

import record_keeper as keeper

keeper.importable("kafka")
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.net.connection import KafkaConnection

broker = f"127.0.0.1:{sys.argv[1]}"
WORDS = {"Produce": "send", "Fetch": "poll", "OffsetCommit": "commit"}
# Of these an error is looked for, and where it stands is the same for all of them: first.
TOLD = ["Produce", "Fetch", "ListOffsets", "Metadata", "OffsetCommit", "OffsetFetch", "FindCoordinator",
        "JoinGroup", "Heartbeat", "LeaveGroup", "SyncGroup", "ApiVersions", "CreateTopics",
        "DeleteTopics", "InitProducerId", "ListGroups", "DescribeCluster"]


def first_error(value):
    if isinstance(value, dict):
        own = [value[key] for key in value if key.lower().replace("_", "") == "errorcode"]
        found = own + [first_error(one) for key, one in value.items() if key != "partitions" or "name" not in value]
        found += [first_error(value["partitions"])] if "name" in value and "partitions" in value else []
        return next((one for one in found if one), 0)
    if isinstance(value, (list, tuple)):
        return next((one for one in map(first_error, value) if one), 0)
    return 0


def error_name(code):
    known = [one for one in vars(errors).values() if isinstance(one, type) and getattr(one, "errno", None) == code]
    message = getattr(known[0], "message", "") if known else ""
    return message or f"ERROR_{code}"


def one_topic(request):
    topics = request.to_dict().get("topics") or request.to_dict().get("topic_data") or request.to_dict().get("topicData") or []
    names = [topic.get("name") or topic.get("topic") for topic in topics if isinstance(topic, dict)]
    return names[0] if len(names) == 1 else None


plain_send = KafkaConnection._send_request


def send(self, request, future=None, timeout_at=None):
    start, port = time.time_ns(), self.transport.getHost()[1]
    future = plain_send(self, request, future=future, timeout_at=timeout_at)
    name = type(request).__name__.removesuffix("Request")
    size = len(request.encode(framed=True, header=True)) if name == "Produce" else None
    number = keeper.begin(port, WORDS.get(name, name), size)
    topic = one_topic(request) if name == "Produce" else None

    def done(answer):
        code = first_error(answer.to_dict()) if answer is not None and name in TOLD else 0
        keeper.end(number, start, error_name(code) if code else None, topic)

    future.add_callback(done)
    future.add_errback(lambda error: keeper.end(number, start, "cut_off", topic))
    return future


KafkaConnection._send_request = send


def producing(producer, topic, rounds, tag):
    waits = []
    for i in range(rounds):
        headers = [("kind", b"test")] if i % 2 else None
        waits.append(producer.send(topic, key=f"{tag}{i}".encode(), value=b"v" * (i * 37 % 5_000), headers=headers))
        if i % 2:
            producer.flush()
    for wait in waits:
        wait.get(timeout=20)


def consuming(topic, wanted, group):
    consumer = KafkaConsumer(bootstrap_servers=broker, group_id=group, auto_offset_reset="earliest",
                             enable_auto_commit=False, fetch_max_wait_ms=200)
    parts = [TopicPartition(topic, at) for at in range(2)]
    consumer.assign(parts)
    seen, end = 0, time.time() + 10
    while seen < wanted and time.time() < end:
        seen += sum(map(len, consumer.poll(timeout_ms=500).values()))
    assert seen >= wanted, seen
    consumer.seek(parts[0], 1_000_000)
    for _ in range(3):
        try:
            consumer.poll(timeout_ms=200)
        except errors.KafkaError:
            pass
    consumer.close()


def administering(rounds):
    admin = KafkaAdminClient(bootstrap_servers=broker)
    for i in range(rounds):
        for _ in range(2):
            try:
                admin.create_topics([NewTopic(f"made{i}", num_partitions=1, replication_factor=1)])
            except errors.KafkaError:
                pass
        admin.list_topics()
        for _ in range(2):
            try:
                admin.delete_topics([f"made{i}"])
            except errors.KafkaError:
                pass
    admin.close()


def compressed(rounds):
    producer = KafkaProducer(bootstrap_servers=broker, compression_type="gzip", linger_ms=20)
    producing(producer, "orders", rounds, "z")
    producer.close()


admin = KafkaAdminClient(bootstrap_servers=broker)
admin.create_topics([NewTopic("orders", num_partitions=2, replication_factor=1)])
admin.close()
older = KafkaProducer(bootstrap_servers=broker, linger_ms=0)
older.send("orders", b"first").get(timeout=20)
keeper.ready()
producing(older, "orders", 100, "o")


def fresh(tag):
    producer = KafkaProducer(bootstrap_servers=broker, linger_ms=0)
    producing(producer, "orders", 90, tag)
    producer.close()


keeper.together(lambda: fresh("a"), lambda: fresh("b"), lambda: administering(5), lambda: compressed(30))
keeper.together(lambda: consuming("orders", 100, None), lambda: consuming("orders", 100, "readers"))
older.close()
keeper.finish()
