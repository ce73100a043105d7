-- title: SQL statements
-- about: The newest statements that were sent to databases, one row each.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: time time; when it began
-- column: service text; who asked
-- column: system text; postgresql, mysql, …
-- column: database text; db.namespace
-- column: statement text; as it was captured
-- column: returned_rows int 1; rows of the answer, where known
-- column: duration_ms float ms; how long it took
-- column: failed bool; whether it failed
-- column: error text; the code of the error
-- column: trace_id text; its trace
-- draw: table
SELECT start_time AS time,
       service_name AS service,
       system,
       namespace AS database,
       statement,
       try_cast(returned_rows AS BIGINT) AS returned_rows,
       duration_ms,
       failed,
       coalesce(error_type, response_code) AS error,
       trace_id
FROM db_calls
WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service) AND system NOT IN ('redis', 'memcached') AND statement IS NOT NULL
ORDER BY time DESC, trace_id
LIMIT $limit
