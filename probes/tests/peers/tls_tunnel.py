"""Sends requests inside TLS through a proxy that makes tunnels, and prints what it did, as JSON, in the records
of `tls_client.py`.

`tls_tunnel.py NGINX_PORT PROXY_PORT COUNT`; the rest waits for a line on standard input.
"""
import http.client
import json
import ssl
import sys
import time

nginx, proxy, count = map(int, sys.argv[1:4])
SIZES = [0, 1, 100, 4_096, 65_536, 100_000, 1_048_576]
rows = []


def connect():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", proxy, context=context)
    connection.set_tunnel("localhost", nginx)
    return connection


print("ready", flush=True)
sys.stdin.readline()
while len(rows) < count:
    connection = connect()
    for size in SIZES:
        number, path, start = len(rows), f"/bytes/{size}", time.time_ns()
        connection.request("GET", f"{path}?number={number}")
        response = connection.getresponse()
        got = len(response.read())
        rows.append([number, nginx, "GET", path, response.status, 0, got, start, time.time_ns(), "1.3", "localhost"])
    connection.close()
print(json.dumps(rows))
