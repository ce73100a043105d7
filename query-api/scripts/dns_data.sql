-- title: DNS queries
-- about: The newest DNS queries: what was asked, what came back and how long it took.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: time time; when it began
-- column: service text; who asked
-- column: question text; the name
-- column: type text; A, AAAA, SRV, …
-- column: answers text; what came back
-- column: error text; NXDOMAIN and its like, or that nothing came
-- column: server text; who was asked
-- column: duration_ms float ms; how long it took
-- column: trace_id text; its trace
-- draw: table
SELECT start_time AS time,
       service_name AS service,
       attributes['dns.question.name'] AS question,
       coalesce(attributes['icecore.dns.question.type'], attributes['dns.question.type']) AS type,
       attributes['dns.answers']::TEXT AS answers,
       attributes['error.type']::TEXT AS error,
       coalesce(attributes['server.address'], attributes['network.peer.address']) AS server,
       duration_ns / 1e6 AS duration_ms,
       trace_id
FROM spans
WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service) AND attributes['dns.question.name'] IS NOT NULL
ORDER BY time DESC, trace_id
LIMIT $limit
