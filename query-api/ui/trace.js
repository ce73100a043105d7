// One trace as a waterfall, from OTLP JSON. Every text from outside becomes a text node, never markup.

/** The spans of an OTLP JSON trace, parents before children, each with its depth. */
export function spansOf(trace) {
  const spans = [];
  for (const resource of trace.resourceSpans ?? []) {
    const attributes = attributesOf(resource.resource?.attributes);
    const service = attributes.find(([key]) => key === 'service.name')?.[1] ?? 'unknown_service';
    for (const scope of resource.scopeSpans ?? []) {
      for (const span of scope.spans ?? []) {
        const start = BigInt(span.startTimeUnixNano ?? 0);
        const end = BigInt(span.endTimeUnixNano ?? 0);
        spans.push({ ...span, service, resource: attributes, start, end, children: [] });
      }
    }
  }
  return inOrder(spans);
}

function inOrder(spans) {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const roots = [];
  for (const span of spans) {
    const parent = span.parentSpanId && byId.get(span.parentSpanId);
    (parent && parent !== span ? parent.children : roots).push(span);
  }
  const ordered = [];
  const seen = new Set();
  const walk = (level, depth) => {
    const work = level.map((span) => [span, depth]).sort(byStart).reverse();
    while (work.length) {
      const [span, at] = work.pop();
      if (seen.has(span)) continue;
      seen.add(span);
      ordered.push({ span, depth: at });
      work.push(...span.children.map((child) => [child, at + 1]).sort(byStart).reverse());
    }
  };
  walk(roots, 0);
  // Spans that are each other's parents have no root; they are shown all the same.
  walk(spans.filter((span) => !seen.has(span)), 0);
  return ordered;
}

function byStart([one], [other]) {
  return one.start < other.start ? -1 : one.start > other.start ? 1 : 0;
}

/** Attributes as pairs of name and text. */
export function attributesOf(list) {
  return (list ?? []).map(({ key, value }) => [key, textOf(value)]);
}

function textOf(value) {
  if (!value) return 'null';
  if ('stringValue' in value) return value.stringValue;
  if ('arrayValue' in value) return '[' + (value.arrayValue.values ?? []).map(textOf).join(', ') + ']';
  if ('kvlistValue' in value) {
    const pairs = attributesOf(value.kvlistValue.values).map(([key, text]) => `${key}: ${text}`);
    return '{' + pairs.join(', ') + '}';
  }
  const [first = null] = Object.values(value);
  return String(first);
}

/** A duration in nanoseconds, for people. */
export function duration(nanos) {
  if (nanos === null || nanos === undefined) return '';
  const value = Number(nanos);
  if (!Number.isFinite(value)) return '';
  if (Math.abs(value) >= 1e9) return (value / 1e9).toFixed(2) + ' s';
  if (Math.abs(value) >= 1e6) return (value / 1e6).toFixed(1) + ' ms';
  return Math.round(value / 1e3) + ' µs';
}

/** An element with properties and children; texts become text nodes. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value; else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function svg(name, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function failed(span) {
  const code = span.status?.code;
  return code === 2 || code === 'STATUS_CODE_ERROR';
}

/** Draws the trace into `waterfall`; `detail` shows the span that is chosen, and `chosen` is told of it. Returns when it began and ended. */
export function draw(trace, waterfall, detail, summary, chosen) {
  const rows = spansOf(trace);
  const first = rows.reduce((least, { span }) => (span.start < least ? span.start : least), rows[0].span.start);
  const last = rows.reduce((most, { span }) => (span.end > most ? span.end : most), rows[0].span.end);
  const whole = Math.max(Number(last - first), 1);
  const services = new Set(rows.map(({ span }) => span.service));
  summary.textContent = `${rows.length} spans of ${services.size} services in ${duration(whole)}`;
  waterfall.replaceChildren(...rows.map(({ span, depth }) => {
    const name = element('span', { className: 'bar-name', title: `${span.service}: ${span.name}` },
      '\u2003'.repeat(Math.min(depth, 12)), span.name || '(no name)', ' ', element('small', {}, span.service));
    const from = 100 * Number(span.start - first) / whole;
    const width = Math.max(100 * Number(span.end - span.start) / whole, 0.2);
    const bar = svg('svg', { class: 'bar', role: 'presentation' });
    bar.append(svg('rect', { x: `${from}%`, width: `${width}%`, y: 5, height: 10, rx: 2, class: failed(span) ? 'bad' : '' }));
    const left = from + width > 80;
    bar.append(svg('text', { x: `${left ? from : from + width}%`, dx: left ? -4 : 4, y: 14, 'text-anchor': left ? 'end' : 'start' },
      duration(span.end - span.start)));
    const row = element('button', { type: 'button', className: 'bar-row', role: 'treeitem', 'aria-level': depth + 1, 'aria-selected': 'false' }, name, bar);
    row.addEventListener('click', () => {
      for (const other of waterfall.children) other.setAttribute('aria-selected', String(other === row));
      show(span, detail);
      chosen(span);
    });
    row.addEventListener('keydown', (event) => {
      const next = event.key === 'ArrowDown' ? row.nextElementSibling : event.key === 'ArrowUp' ? row.previousElementSibling : null;
      if (next) { event.preventDefault(); next.focus(); }
    });
    return row;
  }));
  detail.hidden = true;
  return [first, last];
}

function show(span, detail) {
  const facts = [
    ['service', span.service], ['span id', span.spanId], ['parent span id', span.parentSpanId || '(root)'],
    ['start', new Date(Number(span.start / 1000000n)).toISOString()], ['duration', duration(span.end - span.start)],
    ['status', [failed(span) ? 'ERROR' : span.status?.code ? 'OK' : 'UNSET', span.status?.message].filter(Boolean).join(': ')],
  ];
  const events = (span.events ?? []).map((event) => [
    `event ${event.name ?? ''} at +${duration(BigInt(event.timeUnixNano ?? 0) - span.start)}`,
    attributesOf(event.attributes).map(([key, text]) => `${key}: ${text}`).join('\n')]);
  const links = (span.links ?? []).map((link) => ['link', `${link.traceId} ${link.spanId}`]);
  const group = (title, pairs) => pairs.length ? [element('h3', {}, title), table(pairs)] : [];
  detail.replaceChildren(element('h3', {}, span.name ?? ''), table(facts),
    ...group('Attributes', attributesOf(span.attributes)), ...group('Events', events),
    ...group('Links', links), ...group('Resource', span.resource));
  detail.hidden = false;
}

function table(pairs) {
  return element('table', {}, element('tbody', {}, ...pairs.map(([key, text]) =>
    element('tr', {}, element('th', { scope: 'row' }, key), element('td', {}, text)))));
}
