-- title: Exceptions
-- about: Exceptions that spans and logs tell of, by type and message, with a trace to look at.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: service text; where it was thrown
-- column: type text; exception.type
-- column: message text; exception.message, the first of them
-- column: exceptions int 1; how many
-- column: operations int 1; different operations that it was thrown in
-- column: last_time time; the last of them
-- column: trace_id text; the trace of one of them
-- draw: bars x=type y=exceptions
SELECT service,
       type,
       min(message) AS message,
       count(*) AS exceptions,
       count(DISTINCT operation) AS operations,
       max(time) AS last_time,
       max(trace_id) AS trace_id
FROM (
    SELECT service_name AS service,
           event['attributes']['exception.type'] AS type,
           event['attributes']['exception.message'] AS message,
           name AS operation,
           event['time'] AS time,
           trace_id
    FROM (SELECT service_name, name, trace_id, unnest(events) AS event FROM spans WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service)) AS events
    WHERE event['name'] = 'exception'
    UNION ALL
    SELECT service_name AS service,
           attributes['exception.type'] AS type,
           attributes['exception.message'] AS message,
           scope_name AS operation,
           time,
           trace_id
    FROM logs
    WHERE time >= $since AND time < $until AND ($service IS NULL OR service_name = $service)
      AND attributes['exception.type'] IS NOT NULL
) AS thrown
GROUP BY service, type
ORDER BY exceptions DESC, service, type
LIMIT $limit
