"""Records what the probes tell of a small shop, as the tests of the named scripts read it.

    record_capture.py ICECORE OUT     runs the shop under `ICECORE run`, as root, and writes
                                      OUT/{traces,metrics,logs}.json.gz, OUT/profiles.gz and OUT/truth.json
    record_capture.py web PORTS…      the shop itself
    record_capture.py shopper …       who asks it
    record_capture.py mail PORT       who gets letters
    record_capture.py courier PORT    who brings them, over a way on which some segments are lost

What the shop does is counted where it is done: `truth.json` holds the figures that the answers must have. It
needs redis-server, PostgreSQL, dnsmasq, tansu, nftables, and the packages of the tests' Python.
"""

import base64
import contextlib
import glob
import gzip
import http.client
import http.server
import json
import os
import pwd
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

CACHE = os.environ.get("ICECORE_CACHE", os.path.expanduser("~/.cache/icecore"))
# Name, node: each is a pod of its own in the namespace `shop`.
PODS = {"web": "node-a", "shopper": "node-b", "cache": "node-a", "db": "node-b", "queue": "node-b", "names": "node-a"}
PODS |= {"mail": "node-a", "courier": "node-b"}
# Requests of the first half, and of the second, in which orders fail and users are slow.
USERS, ORDERS, MISSING, BROKEN = 24, 10, 4, 2
SLOW_S = 0.12
# Letters, of which each fourth segment is lost on its way.
LETTERS = 24
# The machine that recorded is nobody's business.
PRIVATE = {"host.id", "service.instance.id", "process.command", "process.command_args", "process.executable.path"}
PRIVATE |= {"exception.stacktrace", "code.file.path"}
# The rule by which segments are lost, and its counter.
RULES = "icecore_recording"


def env_of(name):
    attributes = {
        "k8s.cluster.name": "eu-1",
        "k8s.namespace.name": "shop",
        "k8s.pod.name": f"{name}-0",
        "k8s.node.name": PODS[name],
    }
    said = ",".join(f"{key}={value}" for key, value in attributes.items())
    return os.environ | {"OTEL_SERVICE_NAME": name, "OTEL_RESOURCE_ATTRIBUTES": said, "PYTHONUNBUFFERED": "1"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listening(port):
    for _ in range(600):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"nobody listens on {port}")


# The shop.


def look_up(port, name, number):
    """Asks for an address by UDP; the code of the answer."""
    question = struct.pack(">6H", number, 0x100, 1, 0, 0, 0)
    question += b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        one.connect(("127.0.0.1", port))
        one.send(question)
        return one.recv(1024)[3] & 15


def busy_with_prices(seconds):
    """Work for the profiler to see: so much time of a processor."""
    end, total = time.thread_time() + seconds, 0
    while time.thread_time() < end:
        total = (total * 31 + 7) % 1_000_003
    return total


def told_by_itself(service, otlp):
    """What a program tells through the official SDK: a tracer and a logger."""
    import logging

    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    url = f"http://127.0.0.1:{otlp}/v1"
    resource = {"process.pid": os.getpid(), "process.executable.name": "python", "host.name": socket.gethostname()}
    resource = Resource.create(resource)
    traces, logs = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    spans = OTLPSpanExporter(endpoint=f"{url}/traces")
    traces.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=500))
    records = OTLPLogExporter(endpoint=f"{url}/logs")
    logs.add_log_record_processor(BatchLogRecordProcessor(records, schedule_delay_millis=500))
    logger = logging.getLogger(service)
    logger.propagate = False
    logger.addHandler(LoggingHandler(logger_provider=logs))
    return traces.get_tracer(service), logger


def web(port, cache, db, queue, names, otlp):
    # Connections begin when the probes are there.
    sys.stdin.readline()
    import kafka
    import psycopg
    import redis

    tracer, logger = told_by_itself("web", otlp)
    store = redis.Redis(port=cache)
    tables = psycopg.connect(f"host=127.0.0.1 port={db} user=tester dbname=shop", autocommit=True)
    tables.prepare_threshold = None
    producer = kafka.KafkaProducer(bootstrap_servers=f"127.0.0.1:{queue}", linger_ms=0)
    producer.partitions_for("orders")
    numbers = iter(range(1, 65_000))

    def user(number, slow):
        look_up(names, f"user-{number % 3}.some.test", next(numbers))
        store.get(f"user:{number}")
        if slow:
            busy_with_prices(SLOW_S)
        tables.execute(f"SELECT name, price FROM items WHERE id = {number}").fetchall()
        return 200, b"user"

    def order(number, fails):
        if fails:
            look_up(names, "bank.none.test", next(numbers))
        try:
            tables.execute(f"INSERT INTO orders VALUES ({1 if fails else number})")
        except psycopg.errors.UniqueViolation as failed:
            with tracer.start_as_current_span("place order") as span:
                span.record_exception(failed)
                logger.exception("no order")
            return 500, b"no order"
        producer.send("orders", b"order %d" % number).get(timeout=30)
        return 201, b"order"

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            kind, _, rest = self.path.strip("/").partition("/")
            number = int(rest.partition("?")[0] or 0)
            late = self.headers.get("x-half") == "2"
            match kind:
                case "users":
                    status, text = user(number, late)
                case "orders":
                    status, text = order(number, late)
                case "broken":
                    status, text = 503, b"broken"
                case _:
                    status, text = 404, b"missing"
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            del body

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", port), Handler)
    print("ready", flush=True)
    server.serve_forever()


def shopper(port):
    """Asks in two halves, each when a line comes, on one connection each."""
    for half in ("1", "2"):
        sys.stdin.readline()
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def ask(method, path, body=None):
            connection.request(method, path, body, {"x-half": half})
            connection.getresponse().read()

        base = 1000 * int(half)
        for at in range(USERS):
            ask("GET", f"/users/{base + at}")
            if at < ORDERS:
                ask("POST", f"/orders/{base + at}", b"x" * 64)
            if at < MISSING:
                ask("GET", f"/nothing/{base + at}")
            if at < BROKEN:
                ask("GET", f"/broken/{base + at}")
        connection.close()
        print("done", flush=True)
    sys.stdin.readline()


def mail(port):
    """Takes a line, and says that it has it."""
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            letters, _ = server.accept()
            with letters, letters.makefile("rwb", buffering=0) as lines:
                for line in lines:
                    lines.write(line[:4] + b"\n")


def courier(port):
    """Brings letters one by one whenever a line comes, each once the one before has arrived."""
    sys.stdin.readline()
    with socket.create_connection(("127.0.0.1", port)) as way, way.makefile("rwb", buffering=0) as lines:
        while True:
            for letter in range(LETTERS):
                lines.write(b"%04d dear friend\n" % letter)
                assert lines.readline() == b"%04d\n" % letter
            print("done", flush=True)
            sys.stdin.readline()


def nft(*words, **options):
    return subprocess.run(["nft", *words], check=True, capture_output=True, text=True, **options).stdout


def lost():
    """What the kernel has counted."""
    said = json.loads(nft("-j", "list", "table", "inet", RULES))["nftables"]
    (rule,) = [one["rule"] for one in said if "rule" in one]
    (counter,) = [one["counter"] for one in rule["expr"] if "counter" in one]
    return counter["packets"]


# The recording.


class Recorder:
    """An OTLP/HTTP receiver that keeps what it is sent."""

    def __init__(self):
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
        from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.kept = {"traces": [], "metrics": [], "logs": [], "profiles": []}
        kinds = {
            "/v1/traces": ExportTraceServiceRequest,
            "/v1/metrics": ExportMetricsServiceRequest,
            "/v1/logs": ExportLogsServiceRequest,
            "/v1development/profiles": ExportProfilesServiceRequest,
        }
        kept = self.kept

        class Receive(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                kept[self.path.rpartition("/")[2]].append(kinds[self.path].FromString(body))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receive)
        self.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def spans(self, service):
        return sum(
            len(scope.spans)
            for message in self.kept["traces"]
            for resource in message.resource_spans
            if value_of(resource.resource, "service.name").string_value == service
            for scope in resource.scope_spans
        )


def value_of(resource, key):
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

    values = [one.value for one in resource.attributes if one.key == key]
    return values[0] if values else AnyValue()


def descendants(pids):
    """These processes and those that they have started."""
    parents = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stat = open(path).read()
            parents[int(stat.split()[0])] = int(stat.rpartition(")")[2].split()[1])
    while more := {pid for pid, parent in parents.items() if parent in pids} - pids:
        pids |= more
    return pids


def plain(message, parts, pids):
    """OTLP/JSON of the shop's processes alone, ids in hex as that wants them."""
    from google.protobuf.json_format import MessageToDict

    ours = [part for part in getattr(message, parts) if value_of(part.resource, "process.pid").int_value in pids]
    said = [MessageToDict(part, use_integers_for_enums=True) for part in ours]

    def mend(value):
        if isinstance(value, list):
            return [mend(one) for one in value if not (isinstance(one, dict) and one.get("key") in PRIVATE)]
        if not isinstance(value, dict):
            return value
        for key in ("traceId", "spanId", "parentSpanId"):
            if key in value:
                value[key] = base64.b64decode(value[key]).hex()
        if value.get("key") == "host.name":
            value["value"] = {"stringValue": "recorder"}
        return {key: mend(one) for key, one in value.items()}

    return [mend(one) for one in said]


# What points into the tables of profiles.
POINTERS = {"mapping_index": "mapping_table", "function_index": "function_table", "stack_index": "stack_table"}
POINTERS |= {"link_index": "link_table", "location_indices": "location_table", "attribute_indices": "attribute_table"}


def profiles_of(message, pids):
    """The profiles of the shop's processes alone, and of the tables what they point to; `None` where there are none."""
    ours = [part for part in message.resource_profiles if value_of(part.resource, "process.pid").int_value in pids]
    if not ours:
        return None
    tables, reached = message.dictionary, set()

    def reach(message):
        for field, value in message.ListFields():
            table = "string_table" if field.name.endswith("strindex") else POINTERS.get(field.name)
            for one in value if hasattr(value, "append") else [value]:
                if table and (table, one) not in reached:
                    reached.add((table, one))
                    if table != "string_table":
                        reach(getattr(tables, table)[one])
                elif not table and field.message_type:
                    reach(one)

    kept = type(message)()
    for part in ours:
        attributes = [one for one in part.resource.attributes if one.key not in PRIVATE]
        del part.resource.attributes[:]
        part.resource.attributes.extend(attributes)
        for one in part.resource.attributes:
            if one.key == "host.name":
                one.value.string_value = "recorder"
        reach(part)
        kept.resource_profiles.append(part)
    for field, table in tables.ListFields():
        for at in range(1, len(table)):
            if field.name == "string_table":
                text = table[at] if (field.name, at) in reached else ""
                table[at] = text.replace(CACHE, "/opt/tests")
            elif (field.name, at) not in reached:
                table[at].Clear()
    kept.dictionary.CopyFrom(tables)
    return kept


def cpu_s(pid):
    """The time of a processor that a process has had."""
    stat = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def as_postgres(folder, program, *arguments):
    newest = max(glob.glob("/usr/lib/postgresql/*/bin"))
    command = [f"{newest}/{program}", "-D", f"{folder}/data", *arguments]
    if os.getuid() == 0:
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
    return command


def ask(process, answer="done"):
    """Has a process do what it is there for."""
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == f"{answer}\n"


def main(icecore, out):
    recorder, running = Recorder(), []
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o777)
    cache, db, queue, names, shop, letters, otlp = (free_port() for _ in range(7))

    def start(name, command, **options):
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder} | options
        running.append(subprocess.Popen(command, env=env_of(name), **options))
        return running[-1]

    try:
        redis = ["redis-server", "--port", str(cache), "--save", "", "--bind", "127.0.0.1"]
        # A title would stand where its environment is.
        start("cache", [*redis, "--set-proc-title", "no"])
        if os.getuid() == 0:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        made = as_postgres(folder, "initdb", "-U", "tester", "-A", "trust", "--no-sync")
        subprocess.run(made, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        options = [f"-cunix_socket_directories={folder}", "-cfsync=off", "-clisten_addresses=127.0.0.1", f"-p{db}"]
        start("db", as_postgres(folder, "postgres", *options))
        url = f"tcp://127.0.0.1:{queue}"
        tansu = [f"{CACHE}/bin/tansu", "broker", "--storage-engine", "memory://tansu/"]
        start("queue", [*tansu, "--listener-url", url, "--advertised-listener-url", url])
        dnsmasq = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
        dnsmasq += ["--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=", "--user=root"]
        start("names", [*dnsmasq, "--address=/some.test/192.0.2.7", "--address=/none.test/", f"--port={names}"])
        for port in (cache, db, queue, names):
            listening(port)
        psql = ["psql", "-q", "-h", "127.0.0.1", "-p", str(db), "-U", "tester"]
        subprocess.run([*psql, "postgres", "-c", "CREATE DATABASE shop"], check=True)
        tables = "CREATE TABLE items (id int, name text, price int); CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1)"
        subprocess.run([*psql, "shop", "-c", tables], check=True)
        topic = f"import kafka.admin as k; k.KafkaAdminClient(bootstrap_servers='127.0.0.1:{queue}').create_topics([k.NewTopic('orders', 1, 1)])"
        subprocess.run([sys.executable, "-c", topic], check=True)
        myself = [sys.executable, os.path.abspath(__file__)]
        ports = [str(port) for port in (shop, cache, db, queue, names, otlp)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": sys.stderr, "text": True}
        serves = start("web", [*myself, "web", *ports], **pipes)
        asks = start("shopper", [*myself, "shopper", str(shop)], **pipes)
        start("mail", [*myself, "mail", str(letters)])
        courier = start("courier", [*myself, "courier", str(letters)], **pipes)
        nft("add", "table", "inet", RULES)
        nft("add", "chain", "inet", RULES, "way", "{ type filter hook input priority 0; }")
        # On its way in: what is lost on its way out was never sent.
        each = "tcp flags & psh == psh numgen inc mod 4 == 3 counter drop"
        nft("add", "rule", "inet", RULES, "way", "tcp", "dport", str(letters), *each.split())
        with open(f"{folder}/icecore.toml", "w") as config:
            config.write(f'[[forward]]\nurl = "http://127.0.0.1:{recorder.port}"\nprotocol = "http"\ncompression = "none"\n')
        probe = [icecore, "run", f"--config={folder}/icecore.toml", f"--data-dir={folder}/data"]
        probe += [f"--{part}-addr=127.0.0.1:0" for part in ("http", "grpc", "otlp-grpc")]
        probe += [f"--otlp-http-addr=127.0.0.1:{otlp}", "--log-format=json", "--probe-profile-hertz=97"]
        probe += [f"--probe-{what}-interval=2s" for what in ("network", "process", "profile", "metrics")]
        log = open(f"{folder}/probe.log", "w")
        agent = subprocess.Popen(probe, stderr=log)
        running.append(agent)
        while "probes attached" not in open(log.name).read():
            if agent.poll() is not None:
                sys.exit(open(log.name).read())
            time.sleep(0.2)
        ask(serves, "ready")
        # A series begins with the first that is lost: what is counted here comes after it.
        ask(courier)
        time.sleep(5)
        moments, worked, dropped = [], -cpu_s(serves.pid), -lost()
        for half in range(2):
            moments.append(time.time_ns())
            ask(asks)
            if half == 0:
                ask(courier)
            time.sleep(5)
        moments.append(time.time_ns())
        worked += cpu_s(serves.pid)
        asked = 2 * (USERS + ORDERS + MISSING + BROKEN)
        for _ in range(240):
            if recorder.spans("shopper") == asked and recorder.spans("web") >= 3 * asked:
                break
            time.sleep(0.5)
        # What comes behind the last spans: metrics of the second half.
        time.sleep(5)
        ours = descendants({process.pid for process in running} - {agent.pid})
        figures = {"cpu_s": round(worked, 2), "dropped": dropped + lost()}
        agent.send_signal(signal.SIGTERM)
        agent.wait(60)
    finally:
        subprocess.run(["nft", "delete", "table", "inet", RULES], check=False)
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(30)
    write(recorder, out, moments, ours, figures)


def write(recorder, out, moments, ours, figures):
    os.makedirs(out, exist_ok=True)
    parts = {"traces": "resource_spans", "metrics": "resource_metrics", "logs": "resource_logs"}
    for name, part in parts.items():
        camel = "resource" + part.removeprefix("resource_").capitalize()
        said = [one for message in recorder.kept[name] for one in plain(message, part, ours)]
        # No name and no time: the same recording is the same file.
        with open(f"{out}/{name}.json.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
            packed.write(json.dumps({camel: said}, separators=(",", ":")).encode())
    profiles = [profiles_of(message, ours) for message in recorder.kept["profiles"]]
    with open(f"{out}/profiles.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        # Each behind its length: a request has its own tables.
        for one in (one.SerializeToString() for one in profiles if one):
            packed.write(len(one).to_bytes(4, "big") + one)
    said = [time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 10**9)) + f".{at % 10**9:09d}Z" for at in moments]
    truth = dict(zip(("from", "at", "to"), said)) | {"users": USERS, "orders": ORDERS}
    truth |= {"missing": MISSING, "broken": BROKEN, **figures}
    json.dump(truth, open(f"{out}/truth.json", "w"), indent=1)
    print({service: recorder.spans(service) for service in [*PODS, "postgres"]})


match sys.argv[1:]:
    case ["web", *ports]:
        web(*map(int, ports))
    case ["shopper", port]:
        shopper(int(port))
    case ["mail", port]:
        mail(int(port))
    case ["courier", port]:
        courier(int(port))
    case [icecore, out]:
        main(icecore, out)
    case _:
        sys.exit(__doc__)
