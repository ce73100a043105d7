// The page: services, requests, a trace, a SQL box. It asks only /api/v1/sql and /api/v1/traces.
import { draw, duration, element } from '/ui/trace.js';
import { drawFlame, isFlame, treesOf } from '/ui/flame.js';

const $ = (id) => document.getElementById(id);
let service = null;

async function sql(query, params = []) {
  const answer = await fetch('/api/v1/sql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ query, params }),
  });
  const body = await answer.json();
  if (body.error) throw Object.assign(new Error(body.error.message), { hint: body.error.hint });
  return body;
}

function since() {
  return new Date(Date.now() - Number($('window').value) * 60000).toISOString();
}

// A request is what a server or a consumer did; where nobody says what it is, a root span.
const REQUEST = `(kind IN ('SERVER', 'CONSUMER') OR parent_span_id IS NULL)`;

async function refresh() {
  const seconds = Number($('window').value) * 60;
  const from = since();
  const [services, requests] = await Promise.all([
    sql(`SELECT service_name, count(*) AS requests,
                count(*) FILTER (WHERE status_code = 'ERROR') AS errors,
                approx_percentile_cont(duration_ns, 0.5) AS p50,
                approx_percentile_cont(duration_ns, 0.99) AS p99
         FROM spans WHERE start_time >= CAST($1 AS TIMESTAMP) AND ${REQUEST}
         GROUP BY service_name ORDER BY requests DESC LIMIT 50`, [from]),
    sql(`SELECT start_time, service_name, concat_ws(' ', name, attributes['url.path']) AS name, status_code,
                attributes['http.response.status_code'] AS status, duration_ns, trace_id
         FROM spans WHERE start_time >= CAST($1 AS TIMESTAMP) AND ${REQUEST}
           AND ($2 IS NULL OR service_name = $2)
         ORDER BY start_time DESC LIMIT 50`, [from, service]),
  ]);
  showServices(services.rows, seconds);
  showRequests(requests.rows);
  const nothing = services.rows.length === 0;
  $('empty').hidden = !nothing;
  $('services-section').hidden = nothing;
  $('requests-section').hidden = nothing;
  const missing = services.stats.incomplete.length ? ` Incomplete: ${services.stats.incomplete.join('; ')}` : '';
  $('state').textContent = `${new Date().toLocaleTimeString()}, ${services.stats.elapsed_ms.toFixed(0)} ms.${missing}`;
  $('state').className = missing ? 'error' : '';
}

function cell(text, className = '') {
  return element('td', { className }, text);
}

function showServices(rows, seconds) {
  $('services').tBodies[0].replaceChildren(...rows.map(([name, requests, errors, p50, p99]) => {
    const choose = element('a', { href: '#' }, name);
    choose.addEventListener('click', (event) => { event.preventDefault(); choose_service(name); });
    const share = requests ? 100 * errors / requests : 0;
    return element('tr', {}, element('td', {}, choose), cell(requests.toLocaleString(), 'n'),
      cell((requests / seconds).toFixed(2), 'n'),
      cell(errors ? `${share.toFixed(share < 1 ? 2 : 1)} %` : '–', errors ? 'n error' : 'n none'),
      cell(duration(p50), 'n'), cell(duration(p99), 'n'));
  }));
}

function choose_service(name) {
  service = name;
  $('clear-service').hidden = name === null;
  $('clear-service').textContent = `of ${name} only: show all`;
  update();
}

function showRequests(rows) {
  $('requests').tBodies[0].replaceChildren(...rows.map(([time, from, name, code, status, nanos, trace]) => {
    const open = element('a', { href: `#trace=${trace}` }, name || '(no name)');
    const bad = code === 'ERROR';
    return element('tr', {}, cell(new Date(time).toLocaleString()), cell(from), element('td', {}, open),
      cell(String(status ?? code), bad ? 'error' : ''), cell(duration(nanos), 'n'));
  }));
}

async function showTrace() {
  const id = new URLSearchParams(location.hash.slice(1)).get('trace');
  $('trace-section').hidden = !id;
  if (!id) return;
  $('trace-id').textContent = id;
  $('trace-summary').textContent = 'Reading…';
  $('waterfall').replaceChildren();
  $('span').hidden = true;
  $('work').hidden = true;
  try {
    const answer = await fetch(`/api/v1/traces/${encodeURIComponent(id)}`);
    const body = await answer.json();
    if (body.error) throw new Error(body.error.message);
    const [first, last] = draw(body, $('waterfall'), $('span'), $('trace-summary'),
      (span) => showWork(id, first, last, span));
    showWork(id, first, last, null);
  } catch (error) {
    $('trace-summary').textContent = error.message;
  }
  $('trace-title').focus();
  $('trace-section').scrollIntoView({ block: 'start' });
}

let asked = 0;

// What CPUs were seen doing for a trace, or for one span of it, where the profiler knows that. A profile begins
// before the samples in it.
async function showWork(id, first, last, span) {
  const ask = asked += 1;
  const time = (nanos, seconds) => new Date(Number(nanos / 1000000n) + seconds * 1000).toISOString();
  const { columns, rows } = await sql(`SELECT * FROM flamegraph($1, $2, trace_id => $3, span_id => $4)`,
    [time(first, -120), time(last, 120), id, span?.spanId ?? null]).catch(() => ({ columns: [], rows: [] }));
  if (ask !== asked) return; // another one was chosen meanwhile
  const trees = showFlames($('work-flames'), columns, rows);
  const samples = trees.reduce((sum, tree) => sum + tree.total, 0);
  $('work-title').textContent = `Work on CPUs for ${span ? span.name || 'this span' : 'this trace'}: ${samples.toLocaleString()} samples`;
  $('work').hidden = trees.length === 0;
}

function shown(value) {
  if (value === null) return element('span', { className: 'null' }, 'null');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

// Where the rows of an answer are frames, they are drawn as well.
function showFlames(into, columns, rows) {
  const trees = isFlame(columns) ? treesOf(columns, rows) : [];
  into.replaceChildren(...trees.map((tree) => {
    const place = element('div', { className: 'flame', role: 'group', 'aria-label': `Flame graph of ${tree.name}` });
    drawFlame(tree, place);
    return place;
  }));
  return trees;
}

const ROWS_SHOWN_MAX = 1000;

async function runSql(event) {
  event?.preventDefault();
  const [state, trouble, result] = [$('sql-state'), $('sql-error'), $('result')];
  state.textContent = 'Running…';
  trouble.hidden = true;
  try {
    const { columns, rows, stats } = await sql($('sql').value);
    const numeric = columns.map(({ type }) => /^(U?Int|Float|Decimal)/.test(type));
    result.tHead.replaceChildren(element('tr', {}, ...columns.map(({ name, type }, at) =>
      element('th', { scope: 'col', title: type, className: numeric[at] ? 'n' : '' }, name))));
    result.tBodies[0].replaceChildren(...rows.slice(0, ROWS_SHOWN_MAX).map((row) =>
      element('tr', {}, ...row.map((value, at) => cell(shown(value), numeric[at] ? 'n' : '')))));
    showFlames($('flames'), columns, rows);
    const cut = rows.length > ROWS_SHOWN_MAX ? `, the first ${ROWS_SHOWN_MAX} shown` : '';
    const missing = stats.incomplete.length ? `; incomplete: ${stats.incomplete.join('; ')}` : '';
    state.textContent = `${rows.length} rows${cut} in ${stats.elapsed_ms.toFixed(1)} ms; ` +
      `${stats.live_rows} live rows and ${stats.files_read} of ${stats.files_considered} files read${missing}`;
  } catch (error) {
    state.textContent = '';
    result.tHead.replaceChildren();
    result.tBodies[0].replaceChildren();
    showFlames($('flames'), [], []);
    trouble.textContent = error.hint ? `${error.message}. ${error.hint}` : error.message;
    trouble.hidden = false;
  }
}

let running = false;
let again = false;

// One refresh at a time; a choice made meanwhile is shown by one more.
async function update() {
  again = running;
  if (running) return;
  running = true;
  try {
    await refresh();
  } catch (error) {
    $('state').textContent = error.message;
    $('state').className = 'error';
  } finally {
    running = false;
    if (again) update();
  }
}

$('window').addEventListener('change', update);
$('clear-service').addEventListener('click', () => choose_service(null));
$('close-trace').addEventListener('click', () => { location.hash = ''; });
$('sql-form').addEventListener('submit', runSql);
$('sql').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) runSql(event);
});
addEventListener('hashchange', showTrace);
setInterval(() => { if ($('auto').checked && !document.hidden) update(); }, 5000);
update();
showTrace();
