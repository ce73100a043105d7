"""Asks an Icecore by the ADBC Flight SQL driver, and prints what it answered as JSON.

Arguments: the address (`grpc://host:port`), and the statements to answer as a JSON list. The process
ends itself where an answer takes too long.
"""

import datetime
import json
import os
import sys
import threading
import time

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import pyarrow as pa


def end_in(seconds):
    """A driver that waits for ever must not hold the tests up."""
    timer = threading.Timer(seconds, lambda: os._exit(97))
    timer.daemon = True
    timer.start()


def refused(work):
    """What an error says."""
    try:
        work()
    except adbc_driver_manager.Error as error:
        return str(error)
    return None


def values(rows):
    plain = lambda value: value.isoformat() if hasattr(value, "isoformat") else value
    return [[plain(value) for value in row] for row in rows]


def cancelled(connection):
    """How long a query runs on after it was cancelled, and what it says then."""
    heavy = (
        "SELECT sum(a.value * b.value % 7) FROM generate_series(1, 2000000) AS a "
        "CROSS JOIN generate_series(1, 20000) AS b"
    )
    with connection.cursor() as cursor:
        said = []

        def ask():
            said.append(refused(lambda: (cursor.execute(heavy), cursor.fetchall())))

        asked = threading.Thread(target=ask)
        asked.start()
        time.sleep(1)
        start = time.monotonic()
        cursor.adbc_cancel()
        asked.join()
        return {"said": said[0], "seconds": time.monotonic() - start}


def main():
    end_in(120)
    address, statements = sys.argv[1], json.loads(sys.argv[2])
    answer = {}
    with flight_sql.connect(address, autocommit=True) as connection:
        info = connection.adbc_get_info()
        answer["info"] = {str(key): str(value) for key, value in info.items()}
        answer["table_types"] = connection.adbc_get_table_types()
        objects = connection.adbc_get_objects(depth="columns").read_all().to_pylist()
        answer["objects"] = {
            table["table_name"]: [
                table["table_type"],
                [column["column_name"] for column in table["table_columns"] or []],
            ]
            for catalog in objects
            for schema in catalog["catalog_db_schemas"] or []
            for table in schema["db_schema_tables"] or []
        }
        answer["schema"] = connection.adbc_get_table_schema("spans").names
        with connection.cursor() as cursor:
            answer["statements"] = []
            for statement in statements:
                cursor.execute(statement)
                answer["statements"].append(values(cursor.fetchall()))
            prepared = (
                "SELECT count(*), $2 FROM spans WHERE name = $1 AND duration_ns >= $3 "
                "AND start_time < $4"
            )
            late = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
            answer["prepared"] = []
            for name in ("operation 3", "operation 4", "it's none"):
                cursor.execute(prepared, (name, True, 0.5, late))
                answer["prepared"].append(values(cursor.fetchall()))
            cursor.execute("SELECT value FROM generate_series(1, 200000)")
            table = cursor.fetch_arrow_table()
            answer["rows"] = [table.num_rows, pa.compute.sum(table.column(0)).as_py()]
            answer["wrong"] = refused(lambda: cursor.execute("SELECT nam FROM spans"))
            answer["writes"] = refused(lambda: cursor.execute("DROP TABLE spans"))
            answer["late"] = refused(
                lambda: (
                    cursor.execute("SELECT 1 / (value - 100000) FROM generate_series(1, 200000)"),
                    cursor.fetchall(),
                )
            )
        answer["cancelled"] = cancelled(connection)
    print(json.dumps(answer))


main()
