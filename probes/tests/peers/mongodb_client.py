"""Talks to a server of MongoDB's protocol (the port is the first argument) through pymongo.

Commands are written down where the library tells its listeners of them; their connection and size where
it hands them to the socket. One connection is older than "ready"; the rest waits for a line on standard
input.
"""
import struct
import sys
import time

import record_keeper as keeper

keeper.importable("pymongo")
import pymongo
from pymongo import errors, monitoring
from pymongo.synchronous import pool

server = int(sys.argv[1])
# By the number of a message: the port that it was sent from, its length, and when.
sent = {}
plain = pool.sendall


def sendall(connection, data):
    number = struct.unpack_from("<i", data, 4)[0]
    sent[number] = connection.getsockname()[1], len(data), time.time_ns()
    plain(connection, data)


pool.sendall = sendall


class Listener(monitoring.CommandListener):
    """What the library says of its commands."""

    def __init__(self):
        self.open = {}

    def started(self, event):
        # The commands of other kinds name no collection.
        about = event.command[event.command_name]
        collection = event.command.get("collection") if event.command_name == "getMore" else about
        self.open[event.request_id] = collection if isinstance(collection, str) else None

    def end(self, event, status):
        port, size, start = sent[event.request_id]
        keeper.note(port, event.command_name, None, status, size, None, start, collection=self.open.pop(event.request_id))

    def succeeded(self, event):
        failed = event.reply.get("writeErrors")
        self.end(event, str(failed[0]["code"]) if failed else None)

    def failed(self, event):
        code = event.failure.get("code")
        self.end(event, str(code) if code else "_OTHER")


def connect(**options):
    return pymongo.MongoClient("127.0.0.1", server, event_listeners=[Listener()], serverMonitoringMode="poll",
                               serverSelectionTimeoutMS=20_000, heartbeatFrequencyMS=60_000, **options)


def attempt(work):
    try:
        work()
    except errors.PyMongoError:
        pass


def working(client, tag, rounds):
    people = client.shop[f"people_{tag}"]
    people.create_index("name", unique=True)
    for i in range(rounds):
        people.insert_one({"name": f"{tag}{i}", "age": i, "note": "v" * (i * 137 % 20_000)})
        people.find_one({"name": f"{tag}{i}"})
        if i % 4 == 0:
            attempt(lambda: people.insert_one({"name": f"{tag}{i}"}))
            people.update_one({"name": f"{tag}{i}"}, {"$set": {"age": i + 1}})
        if i % 5 == 0:
            people.count_documents({"age": {"$gt": 2}})
            people.distinct("age")
    attempt(lambda: people.insert_many([{"name": f"{tag}x{i % 5}"} for i in range(20)], ordered=False))
    people.insert_many([{"name": f"{tag}y{i}", "note": "w" * 1_000} for i in range(300)])
    list(people.find({"age": {"$gte": 0}}, batch_size=7))
    list(people.aggregate([{"$match": {"age": {"$gt": 1}}}, {"$limit": 3}]))
    people.find_one_and_update({"name": f"{tag}1"}, {"$set": {"age": 99}})
    people.delete_one({"name": f"{tag}0"})
    people.delete_many({"age": {"$lt": 3}})
    people.drop()


older = connect()
older.shop.people_o.insert_one({"name": "before"})
keeper.ready()
ROUNDS = 20
clients = [connect() for _ in range(3)]
keeper.together(lambda: working(older, "o", ROUNDS), *[lambda client=client, tag=tag: working(client, tag, ROUNDS)
                                                       for client, tag in zip(clients, "abc")])
attempt(lambda: clients[0].shop.command("getMore", 12345, collection="nothing"))
attempt(lambda: list(clients[0].shop.people_a.find({"age": {"$nonsense": 1}})))
attempt(lambda: clients[0].shop.people_a.update_one({}, {"$nonsense": {"a": 1}}))
clients[0].list_database_names()
clients[0].shop.list_collection_names()
[client.close() for client in (older, *clients)]
keeper.finish()
