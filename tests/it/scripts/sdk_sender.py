"""Sends traces, metrics and logs through the official OpenTelemetry SDK and prints what it sent.

    sdk_sender.py grpc|http ENDPOINT RUN

The last line of the output is a JSON object with the three export requests as OTLP JSON, encoded by
the SDK's own encoder from the same objects that its exporters sent.
"""

import base64
import json
import sys

from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

protocol, endpoint, run = sys.argv[1:4]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporters = [kind(endpoint=endpoint, insecure=True) for kind in (OTLPSpanExporter, OTLPMetricExporter, OTLPLogExporter)]
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporters = [
        OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", compression=Compression.Gzip),
        OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics"),
        OTLPLogExporter(endpoint=f"{endpoint}/v1/logs", compression=Compression.Gzip),
    ]

EVERY_TYPE = {
    "run": run, "text": "häußlich \"quoted\"\n\u0000 and 🧊", "empty": "", "int": -(2**53) - 1, "large": 2**63 - 1,
    "double": 0.1, "whole": 3.0, "yes": True, "no": False, "texts": ["a", "", "c"], "ints": [1, -2], "doubles": [1.5, 2.0],
    "flags": [True, False], "bytes": b"\x00\xff\x10", "http.response.status_code": 503,
}
resource = Resource.create({
    "service.name": f"shop-{run}", "service.instance.id": "i-1", "k8s.pod.name": "shop-5c9", "host.cpus": 8, "share": 0.5,
})


def traces():
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("checkout", "1.2.3", schema_url="https://opentelemetry.io/schemas/1.30.0", attributes={"scope.key": 7})
    with tracer.start_as_current_span("GET /cart", kind=SpanKind.SERVER, attributes=EVERY_TYPE) as parent:
        parent.add_event("cache miss", {"key": "cart:7", "size": 12, "ratio": 0.25, "hot": False})
        parent.add_event("no attributes")
        for kind in (SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL):
            link = Link(parent.get_span_context(), {"why": "batch", "n": 3})
            with tracer.start_as_current_span(f"child {kind.name}", kind=kind, links=[link], attributes={"run": run}) as child:
                child.set_status(Status(StatusCode.ERROR, "upstream said no") if kind is SpanKind.CLIENT else Status(StatusCode.OK))
        try:
            with tracer.start_as_current_span("raises"):
                raise ValueError("out of stock")
        except ValueError:
            pass
    # Another library, without a version, in a trace of its own, with equal start and end.
    other = provider.get_tracer("other").start_span("instant", start_time=1_700_000_000_123_456_789)
    other.end(1_700_000_000_123_456_789)
    spans = memory.get_finished_spans()
    return encode_spans(spans), exporters[0].export(spans)


def metrics():
    reader = InMemoryMetricReader()
    view = View(instrument_name="latency.exponential", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], resource=resource, views=[view])
    meter = provider.get_meter("meters", "0.1", schema_url="https://opentelemetry.io/schemas/1.30.0")
    tags = {"run": run, "route": "/cart", "code": 200, "cached": True}
    meter.create_counter("requests", "1", "requests served").add(41, tags)
    meter.create_counter("bytes", "By", "double sum").add(1.5, tags)
    meter.create_up_down_counter("in_flight", "{request}").add(-3, tags)
    meter.create_gauge("temperature", "Cel", "room").set(-273.15, tags)
    meter.create_observable_gauge("queue", callbacks=[lambda _: [__import__("opentelemetry.metrics", fromlist=["x"]).Observation(7, tags)]])
    for name in ("latency", "latency.exponential"):
        histogram = meter.create_histogram(name, "s", "time taken")
        for value in (0.001, 0.02, 0.02, 1.5, 90.0, 0.0):
            histogram.record(value, tags)
    data = reader.get_metrics_data()
    return encode_metrics(data), exporters[1].export(data)


def logs():
    memory = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    logger = provider.get_logger("audit", "9", schema_url="https://opentelemetry.io/schemas/1.30.0")
    context = trace.set_span_in_context(trace.NonRecordingSpan(trace.SpanContext(0xABCDEF, 0x1234, False, trace.TraceFlags(1))))
    bodies = ["plain text", {"user": "u1", "ids": [1, 2], "deep": {"x": 1.0}}, ["a", 2], 17, 2.0, True, b"\x01\x02"]
    for number, body in enumerate(bodies):
        logger.emit(LogRecord(
            timestamp=1_700_000_000_000_000_001 + number, observed_timestamp=1_700_000_000_000_009_999, context=context,
            severity_text="WARN", severity_number=SeverityNumber.WARN, body=body, event_name=f"event.{number}",
            attributes={**EVERY_TYPE, "number": number},
        ))
    logger.emit(LogRecord(observed_timestamp=1_700_000_000_000_000_777, body="no time of its own", attributes={"run": run, "number": 99}))
    records = memory.get_finished_logs()
    return encode_logs(records), exporters[2].export(records)


def as_otlp_json(message):
    """Protobuf's JSON with ids in hex, as OTLP/JSON has them."""

    def walk(value):
        if isinstance(value, dict):
            return {
                key: base64.b64decode(inner).hex() if key in ("traceId", "spanId", "parentSpanId") else walk(inner)
                for key, inner in value.items()
            }
        return [walk(item) for item in value] if isinstance(value, list) else value

    return walk(MessageToDict(message, use_integers_for_enums=True))


sent = {}
for name, send in (("traces", traces), ("metrics", metrics), ("logs", logs)):
    request, result = send()
    if result.name != "SUCCESS":
        sys.exit(f"{name}: the exporter says {result}")
    sent[name] = as_otlp_json(request)
for exporter in exporters:
    exporter.shutdown()
print(json.dumps(sent))
