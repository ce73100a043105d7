-- title: Slow requests
-- about: The slowest requests, with what their service says of them and their trace.
-- param: service text = null; only this service; null for all
-- param: duration_min_ms float = 0; only those that took so long
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 20; rows at most
-- column: time time; when it began
-- column: service text; service.name
-- column: operation text; name of the span
-- column: duration_ms float ms; how long it took
-- column: status text; of the response
-- column: failed bool; whether it failed
-- column: pod text; k8s.pod.name
-- column: trace_id text; its trace: `icecore trace` shows where the time went
-- draw: table
SELECT start_time AS time,
       service_name AS service,
       name AS operation,
       duration_ms,
       response_code AS status,
       failed,
       pod,
       trace_id
FROM requests
WHERE start_time >= $since AND start_time < $until AND duration_ms >= $duration_min_ms AND ($service IS NULL OR service_name = $service)
ORDER BY duration_ms DESC, trace_id
LIMIT $limit
