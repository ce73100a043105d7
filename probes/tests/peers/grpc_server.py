"""A gRPC server; prints its port. With `CERTIFICATE KEY` it speaks TLS. Methods are told by the letters they
begin with:

Unary     the message twice          Up     one message, of all that came together
Fail_S_…  status number S            Down   as many messages as the request has bytes
Both      each message as it comes   Slow   nothing for a long time
Late_S_…  a message, then status S   Nothing (and anything else) is not implemented
"""
import re
import sys
import time
from concurrent import futures

import grpc

STATUS = {code.value[0]: code for code in grpc.StatusCode}


def fail(context, name):
    context.abort(STATUS[int(name.split("_")[1])], "as was asked")


def unary(name):
    def answer(request, context):
        if name.startswith("Fail"):
            fail(context, name)
        if name.startswith("Slow"):
            while context.is_active():
                time.sleep(0.01)
        return request * 2
    return grpc.unary_unary_rpc_method_handler(answer)


def down(name):
    def answer(request, context):
        for size in range(len(request)):
            yield b"d" * size
        if name.startswith("Late"):
            fail(context, name)
    return grpc.unary_stream_rpc_method_handler(answer)


class Methods(grpc.GenericRpcHandler):
    def service(self, details):
        name = details.method.rsplit("/")[-1]
        kind = re.match("[A-Za-z]+", name)[0]
        if kind in ("Unary", "Fail", "Slow"):
            return unary(name)
        if kind in ("Down", "Late"):
            return down(name)
        if kind == "Up":
            return grpc.stream_unary_rpc_method_handler(lambda requests, _: b"".join(requests))
        if kind == "Both":
            return grpc.stream_stream_rpc_method_handler(lambda requests, _: requests)
        return None


server = grpc.server(futures.ThreadPoolExecutor(32), handlers=[Methods()])
if len(sys.argv) > 2:
    certificate, key = (open(path, "rb").read() for path in sys.argv[1:3])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
sys.stdin.readline()
server.stop(None)
