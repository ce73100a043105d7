"""Makes gRPC calls inside TLS to the server at the port that is given, and prints
their methods as a JSON list.

`tls_grpc.py PORT CERTIFICATE`; the calls wait for a line on standard input.
"""
import json
import sys

from record_keeper import importable

importable("grpc")
import grpc  # noqa: E402

CALLS = 20

print("ready", flush=True)
sys.stdin.readline()
with open(sys.argv[2], "rb") as certificate:
    credentials = grpc.ssl_channel_credentials(certificate.read())
methods = [f"/shop.Hidden/Unary{number}" for number in range(CALLS)]
with grpc.secure_channel(f"localhost:{sys.argv[1]}", credentials) as channel:
    for method in methods:
        assert channel.unary_unary(method)(b"both") == b"bothboth"
print(json.dumps(methods))
