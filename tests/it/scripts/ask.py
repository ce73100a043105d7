"""Asks questions of an Icecore by the ADBC Flight SQL driver, or of its files by DuckDB, and prints
the answers as JSON: a list of rows for each question, or a text where it is refused.

    ask.py flight ADDRESS
    ask.py duckdb FILES_LIST

Questions come as a JSON list from standard input. FILES_LIST names the Parquet files that count, one a line. The
process ends itself where an answer takes too long.
"""

import json
import os
import sys
import threading
import time

import pyarrow as pa

# Keys of attributes that are asked for, with the type that their values are said in.
KEYS = {
    "spans": {
        "attributes": {
            "number": "BIGINT",
            "share": "DOUBLE",
            "even": "BOOLEAN",
            "words": "VARCHAR",
            "mixed": "VARCHAR",
            "huge": "BIGINT",
            "nowhere": "VARCHAR",
            "http.request.method": "VARCHAR",
            "http.response.status_code": "BIGINT",
            "http.route": "VARCHAR",
            "url.path": "VARCHAR",
            "db.system.name": "VARCHAR",
            "db.query.text": "VARCHAR",
        },
        "resource": {"k8s.pod.name": "VARCHAR", "process.pid": "BIGINT"},
    },
    "metrics": {"attributes": {"number": "BIGINT"}, "resource": {"k8s.pod.name": "VARCHAR"}},
    "logs": {"attributes": {"number": "BIGINT"}, "resource": {"k8s.pod.name": "VARCHAR"}},
}
# How a column of files is said in SQL, by table.
IDS = ("trace_id", "span_id", "parent_span_id")
TIMES = ("start_time", "end_time", "time", "observed_time")


def end_in(seconds):
    """A driver that waits for ever must not hold the tests up."""
    timer = threading.Timer(seconds, lambda: os._exit(97))
    timer.daemon = True
    timer.start()


def text_of(nanos):
    seconds, rest = divmod(nanos, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def counted(kind):
    """A type with numbers of nanoseconds for its times, which have more digits than Python's."""
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_list(kind):
        return pa.list_(counted(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(of.name, counted(of.type)) for of in kind])
    return kind


def said(value, kind):
    """A value as JSON has it: times as texts with all their digits, bytes as hex."""
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return text_of(value * {"us": 1000, "ns": 1}[kind.unit])
    if pa.types.is_list(kind):
        return [said(one, kind.value_type) for one in value]
    if pa.types.is_struct(kind):
        return {of.name: said(value[of.name], of.type) for of in kind}
    return value.hex() if isinstance(value, bytes) else value


def column(array):
    values = array.cast(counted(array.type)).to_pylist()
    return [said(value, array.type) for value in values]


def rows(table):
    columns = [column(table.column(at).combine_chunks()) for at in range(table.num_columns)]
    return [[column[row] for column in columns] for row in range(table.num_rows)]


def flight(address, questions):
    import adbc_driver_flightsql.dbapi as flight_sql
    import adbc_driver_manager

    with flight_sql.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
        for question in questions:
            try:
                cursor.execute(question)
                yield rows(cursor.fetch_arrow_table())
            except adbc_driver_manager.Error as error:
                yield str(error)


def of_key(known, of, key, kind):
    """A value of a key: from its own column where files have one, or from the overflow text."""
    path = key.replace('"', '\\"')
    rest = f"""CAST(json_extract_string("{of}", '$."{path}"') AS {kind})"""
    return f'coalesce("{of}.{key}"::{kind}, {rest})' if f"{of}.{key}" in known else rest


def view(connection, table, files):
    """The files of a table under the names and shapes that SQL has for them."""
    names = ", ".join(f"'{path}'" for path in files)
    source = f"read_parquet([{names}], hive_partitioning = false, union_by_name = true)"
    known = [row[0] for row in connection.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    said = []
    for name in known:
        if name in IDS:
            said.append(f'lower(hex("{name}")) AS "{name}"')
        elif name in TIMES:
            said.append(f'"{name}"')
            said.append(f'epoch_us("{name}") * 1000 + "{name}_ns" AS "{name}_nanos"')
        elif "." not in name and name not in KEYS[table] and not name.endswith("_ns"):
            said.append(f'"{name}"')
    said.extend(['"duration_ns"'] if "duration_ns" in known else [])
    for of, keys in KEYS[table].items():
        pairs = [f"'{key}': {of_key(known, of, key, kind)}" for key, kind in keys.items()]
        said.append("{" + ", ".join(pairs) + f"}} AS {of}")
    connection.sql(f"CREATE VIEW {table} AS SELECT {', '.join(said)} FROM {source}")


def duckdb(files_list, questions):
    import duckdb

    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    files = open(files_list).read().splitlines()
    for table in KEYS:
        view(connection, table, [path for path in files if f"/data/{table}/" in path])
    for question in questions:
        try:
            yield None if question is None else rows(connection.sql(question).to_arrow_table())
        except duckdb.Error as error:
            yield str(error)


def plain(value):
    """What DuckDB adds up has a type of 128 bits."""
    return int(value) if value == value.to_integral_value() else float(value)


end_in(400)
ways = {"flight": flight, "duckdb": duckdb}
answers = list(ways[sys.argv[1]](sys.argv[2], json.load(sys.stdin)))
print(json.dumps(answers, default=plain))
