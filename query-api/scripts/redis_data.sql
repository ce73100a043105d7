-- title: Redis commands
-- about: The newest commands that were sent to Redis, one row each.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: time time; when it began
-- column: service text; who asked
-- column: command text; GET, SET, …
-- column: statement text; as it was captured
-- column: server text; server.address
-- column: duration_ms float ms; how long it took
-- column: failed bool; whether it failed
-- column: error text; the code of the error
-- column: trace_id text; its trace
-- draw: table
SELECT start_time AS time,
       service_name AS service,
       coalesce(operation, name) AS command,
       statement,
       server_address AS server,
       duration_ms,
       failed,
       coalesce(error_type, response_code) AS error,
       trace_id
FROM db_calls
WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service) AND system = 'redis'
ORDER BY time DESC, trace_id
LIMIT $limit
