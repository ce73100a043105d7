//! What is asked in every way.

/// A question with one right order of its rows.
pub(super) struct Question {
    pub(super) sql: &'static str,
    files: Files,
}

/// How the same is asked of the files.
enum Files {
    /// In the same words.
    Same,
    /// In words of its own.
    Own(&'static str),
    /// Not at all: there is no such view or function.
    Not,
}

impl Question {
    /// The SQL that asks DuckDB for it.
    pub(super) fn of_files(&self) -> Option<&'static str> {
        match self.files {
            Files::Same => Some(self.sql),
            Files::Own(sql) => Some(sql),
            Files::Not => None,
        }
    }
}

const fn same(sql: &'static str) -> Question {
    Question { sql, files: Files::Same }
}

const fn own(sql: &'static str, files: &'static str) -> Question {
    Question { sql, files: Files::Own(files) }
}

const fn ours(sql: &'static str) -> Question {
    Question { sql, files: Files::Not }
}

/// Questions that are answered.
pub(super) const QUESTIONS: [Question; 34] = [
    // Counts.
    same(
        "SELECT count(*), count(DISTINCT trace_id), count(DISTINCT span_id), count(parent_span_id) FROM spans",
    ),
    same("SELECT count(*) FROM metrics UNION ALL SELECT count(*) FROM logs ORDER BY 1"),
    same("SELECT count(*) FROM spans WHERE name = 'nothing of that name'"),
    // Groups.
    same(
        "SELECT service_name, name, kind, count(*), sum(duration_ns), min(duration_ns), max(duration_ns), \
         avg(duration_ns) FROM spans GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    ),
    same(
        "SELECT attributes['http.route'], count(*) FILTER (WHERE attributes['http.response.status_code'] >= 500) \
         FROM spans GROUP BY 1 ORDER BY 1 NULLS FIRST",
    ),
    same(
        "SELECT name, count(*) AS n FROM spans GROUP BY 1 HAVING count(*) BETWEEN 5 AND 10 ORDER BY n DESC, name \
         LIMIT 3 OFFSET 1",
    ),
    same(
        "SELECT status_code, bool_and(attributes['even']), bool_or(attributes['even']) FROM spans GROUP BY 1 ORDER BY 1",
    ),
    // Time, down to the nanosecond.
    own(
        "SELECT date_bin(INTERVAL '2 minutes', start_time), count(*), max(duration_ns) FROM spans GROUP BY 1 ORDER BY 1",
        "SELECT time_bucket(INTERVAL '2 minutes', start_time), count(*), max(duration_ns) FROM spans GROUP BY 1 \
         ORDER BY 1",
    ),
    same(
        "SELECT date_trunc('hour', time), kind, count(*), sum(value) FROM metrics GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    own(
        "SELECT CAST(start_time AS BIGINT), CAST(end_time AS BIGINT) FROM spans ORDER BY 1, 2, span_id LIMIT 50",
        "SELECT start_time_nanos, end_time_nanos FROM spans ORDER BY 1, 2, span_id LIMIT 50",
    ),
    same(
        "SELECT span_id, start_time, end_time FROM spans WHERE start_time >= TIMESTAMP '2026-11-22T23:58:00' \
         AND start_time < TIMESTAMP '2026-11-23T00:00:00' ORDER BY span_id",
    ),
    same(
        "SELECT min(start_time), max(end_time) FROM spans WHERE attributes['db.system.name'] = 'redis'",
    ),
    // Attributes of every type, and of two.
    same(
        "SELECT attributes['number'], attributes['share'], attributes['even'], attributes['words'], \
         attributes['mixed'], attributes['huge'], attributes['nowhere'], resource['k8s.pod.name'], \
         resource['process.pid'] FROM spans WHERE attributes['number'] IS NOT NULL ORDER BY attributes['number']",
    ),
    same(
        "SELECT attributes['number'] FROM spans WHERE attributes['mixed'] = 'x' ORDER BY 1 DESC NULLS LAST",
    ),
    same(
        "SELECT attributes['number'] FROM spans WHERE attributes['share'] > 3.4 AND NOT attributes['even'] ORDER BY 1",
    ),
    same(
        "SELECT sum(attributes['number']), avg(attributes['share']), min(attributes['huge']) FROM spans",
    ),
    same(
        "SELECT attributes['words'], count(*) FROM spans WHERE attributes['words'] LIKE '%e%' GROUP BY 1 ORDER BY 1",
    ),
    // NULLs and what is neither true nor false.
    same("SELECT count(*) FROM spans WHERE attributes['http.route'] <> '/cart'"),
    same(
        "SELECT count(*) FROM spans WHERE NOT (attributes['http.response.status_code'] = 200 OR name = 'A')",
    ),
    same(
        "SELECT coalesce(attributes['http.route'], attributes['url.path'], '-'), count(*) FROM spans GROUP BY 1 ORDER BY 1",
    ),
    same("SELECT NULL, 1.5, 'it''s', count(value), count(*) FROM metrics WHERE kind = 'SUMMARY'"),
    // Ids.
    same(
        "SELECT trace_id, span_id, parent_span_id FROM spans WHERE trace_id = '0000000000000002000000000000abcd' \
         ORDER BY span_id",
    ),
    same(
        "SELECT count(*), min(span_id), max(span_id) FROM spans WHERE trace_id > '00000000000000010000000000000000'",
    ),
    // Exact percentiles.
    own(
        "SELECT service_name, approx_percentile(duration_ns, 0.0), approx_percentile(duration_ns, 1.0) FROM spans \
         GROUP BY 1 ORDER BY 1",
        "SELECT service_name, quantile_disc(duration_ns, 0.0), quantile_disc(duration_ns, 1.0) FROM spans GROUP BY 1 \
         ORDER BY 1",
    ),
    own(
        "SELECT service_name, median(attributes['share']) FROM spans GROUP BY 1 ORDER BY 1",
        "SELECT service_name, quantile_cont(attributes['share'], 0.5) FROM spans GROUP BY 1 ORDER BY 1",
    ),
    // Joins, windows, relatives.
    same(
        "SELECT p.name, c.name, count(*), sum(p.duration_ns - c.duration_ns) FROM spans AS c JOIN spans AS p \
         ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    same(
        "SELECT s.span_id, l.severity_text FROM spans AS s LEFT JOIN logs AS l ON l.span_id = s.span_id \
         WHERE s.attributes['number'] < 9 ORDER BY 1",
    ),
    same(
        "SELECT service_name, span_id, row_number() OVER (PARTITION BY service_name ORDER BY duration_ns DESC, span_id) \
         AS place FROM spans ORDER BY service_name, place LIMIT 12",
    ),
    own(
        "SELECT span_id FROM spans WHERE child_of(status_code = 'ERROR', INTERVAL '1 day') ORDER BY 1",
        "SELECT span_id FROM spans AS c WHERE EXISTS (SELECT 1 FROM spans AS p WHERE p.trace_id = c.trace_id \
         AND p.span_id = c.parent_span_id AND p.status_code = 'ERROR') ORDER BY 1",
    ),
    // Nested values.
    own(
        "SELECT span_id, array_length(events), events[1]['name'] FROM spans WHERE array_length(events) > 0 ORDER BY 1",
        "SELECT span_id, len(events), events[1]['name'] FROM spans WHERE len(events) > 0 ORDER BY 1",
    ),
    same(
        "SELECT attributes['number'], explicit_bounds, bucket_counts, min, max FROM metrics WHERE kind = 'HISTOGRAM' ORDER BY 1",
    ),
    ours(
        "SELECT attributes, resource, events, links FROM spans WHERE attributes['number'] < 15 ORDER BY span_id",
    ),
    // Views of ours.
    ours(
        "SELECT protocol, method, route, response_code, failed, duration_ms FROM requests ORDER BY start_time, span_id",
    ),
    ours("SELECT body, severity_number, attributes FROM logs ORDER BY observed_time LIMIT 20"),
];

/// Questions that are refused, and what each way says.
pub(super) const WRONG: [(&str, &str); 6] = [
    ("SELECT nam FROM spans", "did you mean `name`?"),
    ("SELECT * FROM span", "did you mean `spans`?"),
    ("SELECT nonsense(name) FROM spans", "there is no function `nonsense`"),
    ("SELECT count(*) FROM spans WHERE name", "non-boolean predicate"),
    ("DELETE FROM spans", "not allowed here"),
    ("SELECT 1 / (duration_ns - duration_ns) FROM spans", "ivide by zero"),
];
