"""Talks to MariaDB (the port is the first argument) through PyMySQL and mysql-connector.

One connection is older than "ready"; the rest waits for a line on standard input.
"""
import socket
import sys
import time

import record_keeper as keeper

keeper.importable("pymysql", "mysql.connector")
import mysql.connector
import pymysql
from pymysql.constants import CLIENT

port = int(sys.argv[1])
USER = dict(host="127.0.0.1", port=port, user="tester", password="pa55word", database="shop")


class Client:
    """One connection of PyMySQL, of which every command is written down."""

    def __init__(self):
        sock = keeper.CountingSocket()
        sock.connect(("127.0.0.1", port))
        self.name = sock.getsockname()[1]
        flags = CLIENT.MULTI_STATEMENTS | CLIENT.LOCAL_FILES
        self.connection = pymysql.connect(**USER, autocommit=None, client_flag=flags,
                                          local_infile=True, defer_connect=True)
        self.connection.connect(sock)
        keeper.taken()

    def run(self, text, collection=None, operation=None, sizes=True):
        start, status, cursor = time.time_ns(), None, self.connection.cursor()
        try:
            cursor.execute(text)
            while cursor.nextset():
                pass
        except pymysql.MySQLError as error:
            status = str(error.args[0])
        sent, received = keeper.taken()
        if not sizes:
            sent = received = None
        keeper.note(self.name, operation or text.split()[0].upper().strip(";"), text, status, sent,
                    received, start, collection=collection)
        return cursor

    def call(self, operation, text, function, *arguments):
        start = time.time_ns()
        function(*arguments)
        sent, received = keeper.taken()
        keeper.note(self.name, operation, text, None, sent, received, start)


def one_by_one(client, rounds, tag):
    table = f"t_{tag}"
    client.run(f"CREATE TABLE {table} (id int PRIMARY KEY, word longtext)", table)
    for i in range(rounds):
        client.run(f"INSERT INTO {table} VALUES ({i}, '{'w' * (i * 91 % 700)}')", table)
        client.run(f"INSERT INTO {table} VALUES ({i}, \"twice\")", table)
        client.run(f"SELECT * FROM {table} WHERE id <= {i}", table)
        client.run(f"SELECT nothing FROM {table}", table)
        client.run(f"SELECT * FROM {table} WHERE id = {-i - 1}", table)
        client.run(f"UPDATE {table} SET word = 'new' WHERE id = {i}", table)
        client.run(f"SELECT {i}; SELECT {i}, 'b'; DELETE FROM {table} WHERE id = 999")
        client.run("START TRANSACTION")
        client.run("ROLLBACK")
    client.call("USE", "USE mysql", client.connection.select_db, "mysql")
    client.run("USE shop")
    client.run(f"DROP TABLE {table}", table)


def large(client):
    client.run("CREATE TABLE large (word longtext)", "large")
    for size in (70_000, 1_000_000, 17_000_000):
        start = time.time_ns()
        client.connection.cursor().execute(f"INSERT INTO large VALUES ('{'L' * size}')")
        sent, received = keeper.taken()
        keeper.note(client.name, "INSERT", None, None, sent, received, start, collection="large")
        if size < 10_000_000:
            client.run("SELECT word FROM large", "large")
        client.run("SELECT LENGTH(word) FROM large", "large")
        client.run("DELETE FROM large", "large")
    with open("rows", "w") as rows:
        rows.writelines(f"row {i}\n" for i in range(5_000))
    client.run("LOAD DATA LOCAL INFILE 'rows' INTO TABLE large", "large")
    client.run("DROP TABLE large", "large")


def connector(**options):
    """A connection of mysql-connector and its local port, which the server tells; that is written down as well."""
    connection = mysql.connector.connect(**USER, use_pure=True, ssl_disabled=True, autocommit=True,
                                         **options)
    start = time.time_ns()
    cursor = connection.cursor()
    cursor.execute("SELECT connection_id()")
    number = cursor.fetchone()[0]
    cursor.execute(f"SELECT host FROM information_schema.processlist WHERE id = {number}")
    name = int(cursor.fetchone()[0].split(":")[1])
    for text, collection in (("SELECT connection_id()", None),
                 (f"SELECT host FROM information_schema.processlist WHERE id = {number}",
                  "information_schema.processlist")):
        keeper.note(name, "SELECT", text, None, None, None, start, collection=collection)
    return connection, name


def prepared(rounds, tag, **options):
    """mysql-connector: its own preparation, then executions; closes its statements."""
    connection, name = connector(**options)
    for text in (f"SELECT ? + {tag}", f"SELECT ?, 'x' FROM information_schema.engines WHERE {tag} = ?"):
        cursor, count = connection.cursor(prepared=True), text.count("?")
        for i in range(rounds):
            start = time.time_ns()
            cursor.execute(text, tuple(str(i) for _ in range(count)))
            cursor.fetchall()
            if i == 0:
                keeper.note(name, "PREPARE", text, None, None, None, start)
            keeper.note(name, "SELECT", text, None, None, None, start)
        cursor.close()
    connection.close()


def compressed():
    """Statements and rows, short and long, that travel in compressed packets."""
    connection, name = connector(compress=True)
    cursor = connection.cursor()
    for text, collection, status in (
            ("CREATE TABLE packed (word longtext)", "packed", None),
            (f"INSERT INTO packed VALUES ('{'p' * 300}')", "packed", None),
            (f"INSERT INTO packed VALUES ('{'p' * 200_000}')", "packed", None),
            ("SELECT word FROM packed", "packed", None),
            ("SELECT nothing FROM packed", "packed", "1054"),
            ("SELECT seq, 'a row' FROM seq_1_to_20000", "seq_1_to_20000", None),
            ("DROP TABLE packed", "packed", None)):
        start, found = time.time_ns(), None
        try:
            cursor.execute(text)
            if cursor.with_rows:
                cursor.fetchall()
        except mysql.connector.Error as error:
            found = str(error.errno)
        assert found == status, (text[:60], found)
        # Of a long one its text is cut.
        keeper.note(name, text.split()[0], text if len(text) < 1_000 else None, status, None, None,
                    start, collection=collection)
    connection.close()


older = Client()
keeper.ready()
older.run("SELECT 'first'")
one_by_one(older, 2, "older")
compressed()
large(Client())
prepared(5, 1)
prepared(5, 3, compress=True)
keeper.together(lambda: one_by_one(Client(), 8, "a"), lambda: one_by_one(Client(), 8, "b"),
                lambda: prepared(10, 2), lambda: one_by_one(Client(), 8, "c"))
keeper.finish()
