"""Asks an Icecore by drivers of the PostgreSQL protocol, and prints what they answered as JSON.

Arguments: the port on this machine, and the statements to answer as a JSON list. The process ends
itself where an answer takes too long.
"""

import asyncio
import datetime
import decimal
import json
import os
import sys
import threading
import time

import asyncpg
import pg8000.dbapi
import psycopg

TYPED = (
    "SELECT true AS a, 7::smallint AS b, 8::int AS c, 9::bigint AS d, 1.5::real AS e, 0.1::double AS f, "
    "12345.678::decimal(12, 3) AS g, 'it''s é' AS h, X'00ff' AS i, DATE '1969-12-31' AS j, "
    "TIMESTAMP '2026-11-26T09:00:00.123456' AS k, arrow_cast('2026-11-26T09:00:00.123456Z', "
    "'Timestamp(Nanosecond, Some(\"UTC\"))') AS l, INTERVAL '1 day 2 hours' AS m, [1, NULL, 3] AS n, "
    "['a', NULL, 'b \"c\"', ''] AS o, [1.5, 2.5] AS p, NULL AS q, named_struct('x', 1, 'y', [2]) AS r, "
    "9::bigint unsigned AS s, -0.0001::decimal(8, 4) AS t, 1e300::double AS u, 'NaN'::double AS v"
)
HEAVY = (
    "SELECT sum(a.value * b.value % 7) FROM generate_series(1, 2000000) AS a "
    "CROSS JOIN generate_series(1, 20000) AS b"
)
MANY = "SELECT value FROM generate_series(1, 200000)"
LATE = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
CHOSEN = "SELECT count(*) FROM spans WHERE name = $1 AND duration_ns >= $2 AND start_time < $3"


def end_in(seconds):
    """A driver that waits for ever must not hold the tests up."""
    timer = threading.Timer(seconds, lambda: os._exit(97))
    timer.daemon = True
    timer.start()


def plain(value):
    match value:
        case datetime.timedelta():
            return value.total_seconds()
        case datetime.date():
            return value.isoformat()
        case decimal.Decimal():
            return str(value)
        case bytes() | memoryview():
            return bytes(value).hex()
        case float() if value != value:
            return "NaN"
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def fault(error):
    """What an error of psycopg says."""
    diag = error.diag
    return [diag.sqlstate, diag.message_primary, diag.message_hint, diag.statement_position]


def refused(connection, sql):
    try:
        connection.execute(sql).fetchall()
    except psycopg.Error as error:
        return fault(error)
    return None


def by_psycopg(connect, statements):
    answer = {}
    with connect(autocommit=True) as connection:
        for form in ("text", "binary"):
            with connection.cursor(binary=form == "binary") as cursor:
                rows = lambda sql, *args, **named: plain(cursor.execute(sql, *args, **named).fetchall())
                answer[form] = [rows(statement) for statement in statements]
                answer[f"typed {form}"] = rows(TYPED)[0]
                typed = "SELECT %t, %t, %t, %t, %t, %t" if form == "text" else "SELECT %b, %b, %b, %b, %b, %b"
                values = (7, 0.5, True, LATE, decimal.Decimal("12.50"), b"\x00\xff")
                answer[f"given {form}"] = rows(typed, values)[0]
                many = "SELECT count(*) FROM spans WHERE name = ANY(%s) AND duration_ns = ANY(%s)"
                wanted = (["operation 3", 'b "c" {}', None, ""], [777, 0, -1])
                answer[f"any {form}"] = rows(many, wanted)
                # Prepared at the third time, and asked by its name from then on.
                named = "SELECT count(*) FROM spans WHERE name = %s AND duration_ns >= %s AND start_time < %s"
                answer[f"prepared {form}"] = [
                    rows(named, (name, 1, LATE), prepare=True)[0][0]
                    for name in ("operation 3", "operation 4", "it's none", None)
                ]
        with connection.cursor() as cursor:
            numbers = [row[0] for row in cursor.stream(MANY)]
            answer["streamed"] = [len(numbers), sum(numbers)]
            several = cursor.execute("SELECT 1; BEGIN; SELECT 2, 3; COMMIT")
            answer["several"] = [several.fetchall()]
            while several.nextset():
                answer["several"].append(several.fetchall() if several.description else several.statusmessage)
        for what, sql in (
            ("wrong", "SELECT name,\n  nam FROM spans"),
            ("no table", "SELECT * FROM span"),
            ("no function", "SELECT nonsense(1)"),
            ("no SQL", "SELECT FROM WHERE"),
            ("writes", "DROP TABLE spans"),
            ("late", "SELECT 1 / (value - 100000) FROM generate_series(1, 200000)"),
            ("too few", "SELECT $1"),
        ):
            answer[what] = refused(connection, sql)
        notices = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute("SET statement_timeout = 1000")
        answer["notices"] = notices
        answer["cancelled"] = cancelled(connection)
    answer["transaction"] = transaction(connect)
    return answer


def transaction(connect):
    """How a transaction stands after an error in it, and after its end."""
    states = []
    with connect() as connection:
        state = lambda: states.append(connection.info.transaction_status.name)
        connection.execute("SELECT 1")
        state()
        states.append(refused(connection, "SELECT nam FROM spans")[0])
        state()
        states.append(refused(connection, "SELECT 1")[0])
        connection.rollback()
        state()
        with connection.transaction():
            try:
                with connection.transaction():
                    connection.execute("SELECT nam FROM spans")
            except psycopg.Error:
                states.append(connection.execute("SELECT 5").fetchone()[0])
        state()
    return states


def cancelled(connection):
    """How long a query runs on after it was cancelled, and what it says then."""
    said = []
    asked = threading.Thread(target=lambda: said.append(refused(connection, HEAVY)))
    asked.start()
    time.sleep(1)
    start = time.monotonic()
    connection.cancel_safe(timeout=30)
    asked.join()
    return {"said": said[0], "seconds": time.monotonic() - start, "then": plain(connection.execute("SELECT 1").fetchall())}


def by_pg8000(port, statements):
    connection = pg8000.dbapi.connect(user="anyone", host="127.0.0.1", port=port, database="icecore")
    cursor = connection.cursor()
    answers = []
    for statement in statements:
        cursor.execute(statement)
        answers.append(plain(cursor.fetchall()))
    cursor.execute(CHOSEN.replace("$1", "%s").replace("$2", "%s").replace("$3", "%s"), ("operation 3", 1, LATE))
    chosen = plain(cursor.fetchall())
    connection.close()
    return {"statements": answers, "chosen": chosen}


async def by_asyncpg(port, statements):
    connection = await asyncpg.connect(f"postgresql://anyone@127.0.0.1:{port}/icecore")
    answer = {"statements": []}
    for statement in statements:
        rows = await connection.fetch(statement)
        answer["statements"].append(plain([tuple(row.values()) for row in rows]))
    answer["typed"] = plain(tuple((await connection.fetchrow(TYPED)).values()))
    chosen = await connection.prepare(CHOSEN)
    answer["types"] = [of.name for of in chosen.get_parameters()]
    answer["columns"] = [[column.name, column.type.name] for column in chosen.get_attributes()]
    answer["chosen"] = await chosen.fetchval("operation 3", 1, LATE)
    trace = await connection.prepare("SELECT name FROM trace($1) LIMIT $2")
    answer["trace"] = [
        [of.name for of in trace.get_parameters()],
        len(await trace.fetch("000000000000000000000000000000ff", 5)),
    ]
    async with connection.transaction():
        sums = [0, 0]
        async for row in connection.cursor(MANY, prefetch=1000):
            sums = [sums[0] + 1, sums[1] + row[0]]
        answer["by portal"] = sums
    await connection.close()
    return answer


def main():
    end_in(150)
    port, statements = int(sys.argv[1]), json.loads(sys.argv[2])
    connect = lambda **named: psycopg.connect(
        f"host=127.0.0.1 port={port} user=anyone dbname=icecore connect_timeout=20", **named
    )
    answer = {
        "psycopg": by_psycopg(connect, statements),
        "pg8000": by_pg8000(port, statements),
        "asyncpg": asyncio.run(by_asyncpg(port, statements)),
    }
    print(json.dumps(answer))


main()
