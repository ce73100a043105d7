-- title: Services over time
-- about: Rate, errors and durations of each service in steps of time.
-- param: service text = null; only this service; null for all
-- param: step_s int = 60; seconds of a step
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 10000; rows at most
-- column: time time; begin of the step
-- column: service text; service.name
-- column: requests int 1; requests answered
-- column: requests_per_s float 1/s; requests a second
-- column: error_share float 1; share of requests that failed
-- column: p50_ms float ms; half are faster
-- column: p99_ms float ms; 99 of 100 are faster
-- draw: lines x=time y=requests_per_s by=service
SELECT to_timestamp_nanos(start_time::BIGINT / ($step_s * 1000000000) * ($step_s * 1000000000)) AS time,
       service_name AS service,
       count(*) AS requests,
       count(*)::DOUBLE / $step_s AS requests_per_s,
       count(*) FILTER (WHERE failed)::DOUBLE / count(*) AS error_share,
       approx_percentile_cont(duration_ms, 0.5) AS p50_ms,
       approx_percentile_cont(duration_ms, 0.99) AS p99_ms
FROM requests
WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service)
GROUP BY time, service
ORDER BY time, service
LIMIT $limit
