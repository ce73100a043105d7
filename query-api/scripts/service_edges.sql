-- title: Who calls whom
-- about: The map of services: calls, errors and durations of each pair. A call whose server sent no span leads to the database, system or address that its client names.
-- param: service text = null; only edges from or to this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: client text; who calls
-- column: server text; who is called
-- column: calls int 1; calls
-- column: calls_per_s float 1/s; calls a second
-- column: error_share float 1; share of calls that failed
-- column: p50_ms float ms; half are faster, as the client sees it
-- column: p99_ms float ms; 99 of 100 are faster
-- draw: graph from=client to=server weight=calls
SELECT client,
       server,
       calls,
       calls * 1e9 / ($until::BIGINT - $since::BIGINT) AS calls_per_s,
       error_share,
       p50_ns / 1e6 AS p50_ms,
       p99_ns / 1e6 AS p99_ms
FROM service_edges($since, $until)
WHERE $service IS NULL OR client = $service OR server = $service
ORDER BY calls DESC, client, server
LIMIT $limit
