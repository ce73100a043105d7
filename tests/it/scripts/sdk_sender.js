// Sends traces, metrics and logs through the official OpenTelemetry SDK and prints what it sent.
//
//   sdk_sender.js grpc|http ENDPOINT RUN      (NODE_PATH names the folder with the SDK)
//
// The last line of the output is a JSON object with the three export requests as OTLP JSON, made by
// the SDK's own serialisers from the same objects that its exporters sent.
'use strict';

const { SpanKind, SpanStatusCode, trace, context } = require('@opentelemetry/api');
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } = require('@opentelemetry/sdk-logs');
const { AggregationTemporality, AggregationType, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } = require('@opentelemetry/sdk-metrics');
const { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { JsonLogsSerializer, JsonMetricsSerializer, JsonTraceSerializer } = require('@opentelemetry/otlp-transformer');
const { resourceFromAttributes } = require('@opentelemetry/resources');

const [protocol, endpoint, run] = process.argv.slice(2);
const exporter = (signal, kind) => {
  const name = { grpc: 'grpc', http: 'proto' }[protocol];
  const module = require(`@opentelemetry/exporter-${signal}-otlp-${name}`);
  const path = { trace: 'traces', metrics: 'metrics', logs: 'logs' }[signal];
  return new module[kind]({ url: protocol === 'grpc' ? endpoint : `${endpoint}/v1/${path}` });
};
const resource = resourceFromAttributes({ 'service.name': `node-${run}`, 'host.cpus': 4, share: 0.5, tags: ['a', 'b'] });
const every = { run, text: 'grüße 🧊 "q"\n', empty: '', int: -7, double: 0.25, yes: true, no: false, texts: ['x', ''], ints: [1, 2] };

const send = (exporter, items) =>
  new Promise((resolve, reject) =>
    exporter.export(items, (result) => (result.code === 0 ? resolve() : reject(result.error ?? new Error('export failed')))));

async function traces() {
  const memory = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(memory)] });
  const tracer = provider.getTracer('shop', '2.0.0', { schemaUrl: 'https://opentelemetry.io/schemas/1.30.0' });
  const parent = tracer.startSpan('POST /pay', { kind: SpanKind.SERVER, attributes: every });
  parent.addEvent('retry', { attempt: 2, reason: 'timeout' });
  const under = trace.setSpan(context.active(), parent);
  const child = tracer.startSpan('charge', { kind: SpanKind.CLIENT, links: [{ context: parent.spanContext(), attributes: { n: 1 } }] }, under);
  child.setStatus({ code: SpanStatusCode.ERROR, message: 'declined' });
  child.recordException(new Error('card declined'));
  child.end();
  parent.end();
  const spans = memory.getFinishedSpans();
  await send(exporter('trace', 'OTLPTraceExporter'), spans);
  return JsonTraceSerializer.serializeRequest(spans);
}

async function metrics() {
  const memory = new InMemoryMetricExporter(AggregationTemporality.DELTA);
  const reader = new PeriodicExportingMetricReader({ exporter: memory, exportIntervalMillis: 3_600_000 });
  const views = [{ instrumentName: 'latency.exponential', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }];
  const provider = new MeterProvider({ resource, readers: [reader], views });
  const meter = provider.getMeter('meters', '0.1');
  const tags = { run, route: '/pay', code: 200 };
  meter.createCounter('requests', { unit: '1', description: 'served' }).add(3, tags);
  meter.createUpDownCounter('in_flight').add(-2, tags);
  meter.createGauge('temperature', { unit: 'Cel' }).record(-40.5, tags);
  for (const name of ['latency', 'latency.exponential']) {
    const histogram = meter.createHistogram(name, { unit: 's' });
    [0, 0.001, 2, 30].forEach((value) => histogram.record(value, tags));
  }
  await reader.forceFlush();
  const [data] = memory.getMetrics();
  await send(exporter('metrics', 'OTLPMetricExporter'), data);
  return JsonMetricsSerializer.serializeRequest(data);
}

async function logs() {
  const memory = new InMemoryLogRecordExporter();
  const provider = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor({ exporter: memory })] });
  const logger = provider.getLogger('audit');
  ['plain', { user: 'u1', n: 2 }, 17, true].forEach((body, number) =>
    logger.emit({ body, severityNumber: SeverityNumber.INFO, severityText: 'INFO', eventName: `event.${number}`, attributes: { ...every, number } }));
  const records = memory.getFinishedLogRecords();
  await send(exporter('logs', 'OTLPLogExporter'), records);
  return JsonLogsSerializer.serializeRequest(records);
}

(async () => {
  const sent = {};
  for (const [name, work] of Object.entries({ traces, metrics, logs })) {
    sent[name] = JSON.parse(new TextDecoder().decode(await work()));
  }
  console.log(JSON.stringify(sent));
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
