"""An HTTP/1.1 server that answers with what it was sent, and its client, which sends secrets.

Prints its port. For each line `STAGE COUNT` on standard input it sends so many requests over one connection
that stays open, each with fresh secrets in its path's query, headers and body, and prints them as JSON.
"""
import base64
import http.client
import json
import random
import string
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

chance = random.Random(17)


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "sid=" + self.headers["X-Secret"])
        self.end_headers()
        self.wfile.write(body)


def word(length, letters=string.ascii_letters + string.digits):
    return "".join(chance.choice(letters) for _ in range(length))


def card():
    prefix, length = chance.choice([("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("6011", 16), ("36", 14)])
    digits = [int(d) for d in prefix + word(length - len(prefix) - 1, string.digits)]
    total = sum(sum(divmod(d * 2, 10)) if at % 2 == 0 else d for at, d in enumerate(reversed(digits)))
    number = "".join(map(str, digits)) + str(-total % 10)
    mark = chance.choice(["", " ", "-"])
    return mark.join(number[at:at + 4] for at in range(0, len(number), 4))


def secrets():
    name = word(10, string.ascii_lowercase)
    basic = base64.b64encode(f"{name}:{word(12)}".encode()).decode()
    return {
        "card": card(), "password": word(14), "email": f"{name}@shop.example", "github": "ghp_" + word(36),
        "jwt": "eyJ" + word(20) + "." + word(30) + "." + word(20), "bearer": word(24), "basic": basic,
        "cookie": word(20), "key": word(20), "query": word(20), "employee": "EMP-" + word(6, string.digits),
    }


def bodies(s):
    yield json.dumps({"order": "order-17", "card": s["card"], "password": s["password"], "to": s["email"],
                      "note": f"use {s['github']} or {s['jwt']}", "n": {"apiKey": s["key"]}, "by": s["employee"]})
    yield f"order=order-17&card={s['card']}&password={s['password']}&note={s['github']}&apiKey={s['key']}&by={s['employee']}"
    yield (f"order-17\nAuthorization: Bearer {s['bearer']}\nCookie: sid={s['cookie']}\n"
           f"postgres://app:{s['password']}@db/shop\npay with {s['card']} ({s['email']}), {s['employee']}\n")


def send(connection, stage, number):
    s = secrets()
    body = list(bodies(s))[number % 3]
    scheme = ["Bearer " + s["bearer"], "Basic " + s["basic"]][number % 2]
    path = f"/{stage}/{number}?number={number}&access_token={s['query']}&to={s['email']}"
    headers = {"Authorization": scheme, "Cookie": "sid=" + s["cookie"], "X-Api-Key": s["key"],
               "X-Secret": s["cookie"], "X-Note": s["github"]}
    connection.request("POST", path, body.encode(), headers)
    answer = connection.getresponse()
    assert answer.read() == body.encode()
    return s


server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
for line in sys.stdin:
    stage, count = line.split()
    print(json.dumps([list(send(connection, stage, number).values()) for number in range(int(count))]), flush=True)
