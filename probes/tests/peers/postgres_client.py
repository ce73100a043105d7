"""Talks to PostgreSQL (the port is the first argument) through psycopg, pg8000 and asyncpg.

One connection is older than "ready"; the rest waits for a line on standard input.
"""
import asyncio
import sys
import time

import record_keeper as keeper

keeper.importable("psycopg", "pg8000", "asyncpg")
import asyncpg
import pg8000.native
import psycopg

port = int(sys.argv[1])
SETTINGS = dict(host="127.0.0.1", port=port, user="tester", dbname="shop", autocommit=True)


class Client:
    """One connection of psycopg, of which every statement is written down."""

    def __init__(self, **settings):
        self.connection = psycopg.connect(**SETTINGS, **settings)
        # The port is in no function of libpq, but the server knows it.
        self.name = self.connection.execute("SELECT inet_client_port()").fetchone()[0]

    def note(self, operation, text, start, status=None, collection=None, end=None):
        keeper.note(self.name, operation, text, status, None, None, start, end, collection)

    def run(self, text, values=None, sent=None, collection=None, **options):
        """`sent`: the text as it goes over the wire."""
        start, status = time.time_ns(), None
        try:
            cursor = self.connection.execute(text, values, **options)
        except psycopg.Error as error:
            cursor, status = None, error.sqlstate
        operation = text.split()[0].upper().strip(";")
        self.note(operation, sent or text, start, status, collection)
        return cursor


def noted(**settings):
    start = time.time_ns()
    client = Client(**settings)
    client.note("SELECT", "SELECT inet_client_port()", start)
    return client


def one_by_one(client, rounds, tag):
    table = f"t_{tag}"
    client.run(f"CREATE TABLE {table} (id int PRIMARY KEY, word text)", collection=table)
    for i in range(rounds):
        client.run(f"INSERT INTO {table} VALUES ({i}, 'w{i}')", collection=table)
        client.run(f"INSERT INTO {table} VALUES (%s, %s)", (i + 1000, "x" * i * 50),
                   f"INSERT INTO {table} VALUES ($1, $2)", table, prepare=False)
        client.run(f"INSERT INTO {table} VALUES ({i}, 'twice')", collection=table)
        client.run(f"SELECT * FROM {table} WHERE id < {i * 3}", collection=table)
        client.run(f"SELECT nothing FROM {table} WHERE id = %s", (i,),
                   f"SELECT nothing FROM {table} WHERE id = $1", table, prepare=False)
        client.run(f"SELECT 1/{i % 2}")
        client.run(f"UPDATE {table} SET word = 'new' WHERE id = {i}", collection=table)
    client.run(f"DROP TABLE {table}", collection=table)


def prepared(client, rounds, tag):
    for i in range(rounds):
        start = time.time_ns()
        text = f"SELECT $1::int + {tag}"
        if i == 0:
            # Its preparation is a round trip of its own.
            client.connection.execute(text.replace("$1", "%s"), (i,), prepare=True)
            client.note("PREPARE", text, start)
            client.note("SELECT", text, start)
        else:
            client.run(text.replace("$1", "%s"), (i,), text, prepare=True)


def in_pipelines(client, rounds):
    for i in range(rounds):
        start, texts = time.time_ns(), []
        with client.connection.pipeline():
            for j in range(i % 9 + 2):
                texts.append(f"SELECT {i} + $1::int + {j}")
                client.connection.execute(texts[-1].replace("$1", "%s"), (j,), prepare=False)
        end = time.time_ns()
        for text in texts:
            client.note("SELECT", text, start, end=end)
        failing(client, i)


def failing(client, i):
    """The second fails, the third is skipped, and the fourth is behind a synchronisation."""
    start = time.time_ns()
    texts = [f"SELECT {i} + $1::int", f"SELECT {i} / $1::int", f"SELECT {i} - $1::int"]
    states = [None, "22012", "pipeline_aborted"]
    try:
        with client.connection.pipeline() as pipeline:
            for text in texts:
                client.connection.execute(text.replace("$1", "%s"), (0,), prepare=False)
            pipeline.sync()
    except psycopg.Error:
        pass
    end = time.time_ns()
    for text, status in zip(texts, states):
        client.note("SELECT", text, start, status, end=end)
    client.run(f"SELECT 'behind {i}'")


def copies(client, rounds, tag):
    table = f"c_{tag}"
    client.run(f"CREATE TABLE {table} (id int, word text)", collection=table)
    for i in range(rounds):
        start, text = time.time_ns(), f"COPY {table} FROM STDIN"
        with client.connection.cursor().copy(text) as copy:
            for j in range(i * 300 + 1):
                copy.write_row((j, "w" * 20))
        client.note("COPY", text, start, collection=table)
        start, text = time.time_ns(), f"COPY {table} TO STDOUT"
        with client.connection.cursor().copy(text) as copy:
            rows = sum(1 for _ in copy)
        client.note("COPY", text, start, collection=table)
        start, text = time.time_ns(), f"COPY {table} FROM STDIN WHERE id = {i}"
        try:
            with client.connection.cursor().copy(text) as copy:
                copy.write(b"no number\tx\n")
        except psycopg.Error as error:
            client.note("COPY", text, start, error.sqlstate, table)
    client.run(f"DROP TABLE {table}", collection=table)


def several_at_once(client, rounds):
    for i in range(rounds):
        client.run(f"SELECT {i}; SELECT {i + 1}; SELECT 'three'")
        client.run(f"BEGIN; SELECT 'in {i}'; COMMIT")
        client.run("DROP TABLE IF EXISTS not_there", collection="not_there")


def other_library(rounds):
    """pg8000 prepares each statement that has values, in a round trip of its own."""
    start = time.time_ns()
    connection = pg8000.native.Connection("tester", host="127.0.0.1", port=port, database="shop")
    name = connection.run("SELECT inet_client_port()")[0][0]
    keeper.note(name, "SELECT", "SELECT inet_client_port()", None, None, None, start)
    for i in range(rounds):
        start = time.time_ns()
        connection.run(f"SELECT '{i}'")
        keeper.note(name, "SELECT", f"SELECT '{i}'", None, None, None, start)
    connection.close()


class Flushing:
    """One connection of asyncpg, which prepares with a flush, and each text once."""

    async def begin(self):
        self.connection = await asyncpg.connect(host="127.0.0.1", port=port, user="tester", database="shop")
        self.known = set()
        start, text = time.time_ns(), "SELECT inet_client_port()"
        self.name = await self.connection.fetchval(text)
        self.note(["PREPARE", "SELECT"], text, start, None)

    def note(self, operations, text, start, collection, status=None):
        end = time.time_ns()
        for operation in operations:
            keeper.note(self.name, operation, text, status if operation == operations[-1] else None, None, None,
                        start, end, collection)

    async def run(self, text, ask, collection, times=1):
        """`ask` has it done; the operation is the first word, and before it the text is prepared."""
        start, status = time.time_ns(), None
        try:
            await ask(text)
        except asyncpg.PostgresError as error:
            status = error.sqlstate
        operations = [text.split()[0]] * times
        # What cannot be prepared is not run.
        if status == "42703":
            operations = ["PREPARE"]
        elif text not in self.known:
            operations.insert(0, "PREPARE")
            self.known.add(text)
        self.note(operations, text, start, collection, status)

    async def simple(self, text, ask, collection):
        start = time.time_ns()
        await ask()
        self.note([text.split()[0].strip(";")], text, start, collection)


async def flushing(rounds):
    client = Flushing()
    await client.begin()
    own = client.connection
    text = "CREATE TABLE f (id int PRIMARY KEY, word text)"
    await client.simple(text, lambda: own.execute(text), "f")
    for i in range(rounds):
        for _ in range(2):
            await client.run("INSERT INTO f VALUES ($1, $2)", lambda text: own.execute(text, i, "w"), "f")
        await client.run("SELECT * FROM f WHERE id < $1", lambda text: own.fetch(text, i), "f")
        await client.run(f"SELECT nothing{i} FROM f", lambda text: own.fetch(text), "f")
        pairs = [(j, "x") for j in range(4)]
        await client.run("UPDATE f SET word = $2 WHERE id = $1", lambda text: own.executemany(text, pairs), "f", 4)
        text = f"COPY (SELECT * FROM f WHERE id < {i}) TO STDOUT (FORMAT 'binary')"
        await client.simple(text, lambda: own.copy_from_query(f"SELECT * FROM f WHERE id < {i}", output=nowhere,
                                                              format="binary"), "f")
    await client.run("DROP TABLE f", lambda text: own.fetch(text), "f")
    await own.close()


async def nowhere(_):
    pass


older = Client()
keeper.ready()
older.run("SELECT 'first'")
one_by_one(older, 2, "older")
one_by_one(noted(), 3, "plain")
prepared(noted(), 8, 1)
copies(noted(), 3, "plain")
several_at_once(noted(), 4)
other_library(10)
asyncio.run(flushing(4))
keeper.together(lambda: one_by_one(noted(), 6, "a"), lambda: one_by_one(noted(), 6, "b"),
                lambda: in_pipelines(noted(), 8), lambda: prepared(noted(), 20, 2))
keeper.finish()
