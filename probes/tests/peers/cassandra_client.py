"""Talks to a server of Cassandra's protocol (the port is the first argument) through DataStax's drivers, this one
and that for Node.js, which writes down what it does by itself.

Every message of the library is written down where it is handed to a connection, its own among them; its
size where it is encoded, and that of its answer where it comes. One connection is older than "ready", with a
statement that was prepared then; the rest waits for a line on standard input.
"""
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time

import record_keeper as keeper

keeper.importable("cassandra", "lz4", "snappy")
from cassandra import ConsistencyLevel, DriverException
from cassandra.cluster import Cluster, ExecutionProfile, EXEC_PROFILE_DEFAULT
from cassandra.concurrent import execute_concurrent, execute_concurrent_with_args
from cassandra.connection import Connection
from cassandra.io.asyncioreactor import AsyncioConnection
from cassandra.policies import FallthroughRetryPolicy, WhiteListRoundRobinPolicy
from cassandra.protocol import BatchMessage, ErrorMessage, ExecuteMessage, PrepareMessage, QueryMessage
from cassandra.query import BatchStatement, BatchType, SimpleStatement

logging.disable(logging.CRITICAL)
server = int(sys.argv[1])
TEXT_BYTES_MAX, WORD_BYTES_MAX = 8 << 10, 512
TOLD = (QueryMessage, PrepareMessage, ExecuteMessage, BatchMessage)
# Statements by the names that the server has given them, since the agent came.
prepared = {}
# Bytes of answers, by connection and stream.
answered = {}


def word(text):
    """The first word, where it is one of the language; nothing is told of others."""
    first = text.split(None, 1)[0].upper()
    return first if first in ("SELECT", "INSERT", "DELETE", "CREATE", "USE") else ""


def collection(text):
    found = re.search(r"\b(?:FROM|INTO|TABLE) ([\w.]+)", text)
    return found and found[1]


def one(values):
    return values[0] if len(set(values)) == 1 else None


def shown_text(text):
    """What an agent tells of a text by default: of a longer one its beginning, without the end of the word that it
    was cut in, and that there was more."""
    if text is None or len(text) <= TEXT_BYTES_MAX:
        return text
    return text[:TEXT_BYTES_MAX - WORD_BYTES_MAX] + "REDACTED\u2026"


def described(message):
    """Operation, text and collection."""
    if isinstance(message, PrepareMessage):
        return "PREPARE", message.query, collection(message.query)
    if isinstance(message, QueryMessage):
        return word(message.query), message.query, collection(message.query)
    if isinstance(message, ExecuteMessage):
        text = prepared.get(message.query_id)
        return (word(text), text, collection(text)) if text else ("", None, None)
    texts = [prepared[what] if by_name else what for by_name, what, _ in message.queries]
    operation = one([word(text) for text in texts])
    batch = "BATCH" if operation is None else operation if len(texts) == 1 else f"BATCH {operation}"
    return batch, one(texts) or "; ".join(texts), one([collection(text) for text in texts])


plain_send, plain_process = Connection.send_msg, Connection.process_msg


def process(self, header, body):
    answered[id(self), header.stream] = 9 + len(body)
    return plain_process(self, header, body)


def send(self, message, request_id, cb, encoder, *rest, **named):
    if not isinstance(message, TOLD):
        return plain_send(self, message, request_id, cb, encoder, *rest, **named)
    start, size = time.time_ns(), []
    operation, text, table = described(message)
    number = None

    def sized(*arguments, **options):
        data = encoder(*arguments, **options)
        size.append(len(data))
        nonlocal number
        number = keeper.begin(self._socket.getsockname()[1], operation, len(data))
        return data

    def done(answer):
        status = str(answer.code) if isinstance(answer, ErrorMessage) else None
        if isinstance(message, PrepareMessage) and status is None:
            prepared[answer.query_id] = message.query
        status = "cut_off" if isinstance(answer, Exception) and not isinstance(answer, ErrorMessage) else status
        keeper.end(number, start, status, table, shown_text(text), answered.get((id(self), request_id)))
        return cb(answer)

    return plain_send(self, message, request_id, done, sized, *rest, **named)


def send_by_keywords(self, message, request_id, cb, encoder=None, *rest, **named):
    from cassandra.protocol import ProtocolHandler
    return send(self, message, request_id, cb, encoder or ProtocolHandler.encode_message, *rest, **named)


Connection.send_msg, Connection.process_msg = send_by_keywords, process


def connect(compression, keyspace=None):
    profile = ExecutionProfile(WhiteListRoundRobinPolicy(["127.0.0.1"]), FallthroughRetryPolicy(),
                               consistency_level=ConsistencyLevel.LOCAL_QUORUM, request_timeout=60)
    cluster = Cluster(["127.0.0.1"], port=server, protocol_version=4, compression=compression,
                      connection_class=AsyncioConnection, schema_metadata_enabled=False, token_metadata_enabled=False,
                      execution_profiles={EXEC_PROFILE_DEFAULT: profile}, connect_timeout=20)
    return cluster, cluster.connect(keyspace)


def attempt(session, statement, *rest):
    try:
        session.execute(statement, *rest)
    except (DriverException, ErrorMessage):
        pass


def working(session, tag, rounds):
    table = f"people_{tag}"
    session.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, name text, note text)")
    insert = session.prepare(f"INSERT INTO {table} (id, name, note) VALUES (?, ?, ?)")
    find = session.prepare(f"SELECT id, name, note FROM {table} WHERE id = ?")
    for i in range(rounds):
        session.execute(f"INSERT INTO {table} (id, name, note) VALUES ({i}, '{tag}{i}', '{'v' * (i * 1_137 % 40_000)}')")
        session.execute(insert, (1_000 + i, f"{tag}{i}", "w" * (i * 2_137 % 60_000)))
        session.execute(find, (1_000 + i,))
        if i % 4 == 0:
            attempt(session, f"SELECT id FROM nowhere_{tag} WHERE id = {i}")
            attempt(session, f"SELEKT {i}")
            session.execute(f"DELETE FROM {table} WHERE id = {i}")
    # Many streams of one connection.
    notes = [(2_000 + i, tag, "c" * (i * 331 % 9_000)) for i in range(60)]
    execute_concurrent_with_args(session, insert, notes, concurrency=25)
    execute_concurrent_with_args(session, find, [(id_,) for id_, _, _ in notes], concurrency=25)
    statements = [(SimpleStatement(f"SELECT name FROM {table} WHERE id = {id_}"), ()) for id_, _, _ in notes]
    execute_concurrent(session, statements, concurrency=25)
    for kind in (BatchType.LOGGED, BatchType.UNLOGGED):
        batch = BatchStatement(kind, consistency_level=ConsistencyLevel.ONE)
        batch.add(SimpleStatement(f"INSERT INTO {table} (id, name) VALUES (1, 'one')"))
        batch.add(insert, (3_000, tag, "in a batch"))
        batch.add(SimpleStatement(f"DELETE FROM {table} WHERE id = 2"))
        session.execute(batch)
    same = BatchStatement()
    [same.add(insert, (4_000 + i, tag, "same" * i)) for i in range(40)]
    session.execute(same)
    session.execute(f"SELECT * FROM {table}")


def by_node():
    if not shutil.which("node"):
        return
    script = os.path.join(os.path.dirname(__file__), "cassandra_client.mjs")
    shown = subprocess.run(["node", script, str(server)], capture_output=True, check=True, text=True)
    with keeper.lock:
        keeper.records.extend(dict(row, text=shown_text(row["text"])) for row in json.loads(shown.stdout))


older_cluster, older = connect(False)
older.execute("CREATE KEYSPACE shop WITH REPLICATION = {'class': 'SimpleStrategy', 'replication_factor': 1}")
older.set_keyspace("shop")
older.execute("CREATE TABLE before (id int PRIMARY KEY, name text)")
forgotten = older.prepare("INSERT INTO before (id, name) VALUES (?, ?)")
prepared.clear()
keeper.ready()
ROUNDS = 24
others = [connect(compression, "shop") for compression in (False, "lz4", "snappy")]
keeper.together(by_node, lambda: working(older, "o", ROUNDS),
                *[lambda session=session, tag=tag: working(session, tag, ROUNDS) for (_, session), tag in zip(others, "abc")])
older.execute(forgotten, (1, "again"))
[cluster.shutdown() for cluster in (older_cluster, *(cluster for cluster, _ in others))]
time.sleep(0.5)
keeper.finish()
