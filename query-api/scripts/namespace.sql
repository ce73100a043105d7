-- title: One namespace, by service
-- about: How the services of one namespace answer.
-- param: namespace text = 'default'; the namespace
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: service text; service.name
-- column: pods int 1; pods that answered
-- column: requests int 1; requests answered
-- column: requests_per_s float 1/s; requests a second
-- column: error_share float 1; share of requests that failed
-- column: p50_ms float ms; half are faster
-- column: p99_ms float ms; 99 of 100 are faster
-- draw: bars x=service y=requests
SELECT service_name AS service,
       count(DISTINCT pod) AS pods,
       count(*) AS requests,
       count(*) * 1e9 / ($until::BIGINT - $since::BIGINT) AS requests_per_s,
       count(*) FILTER (WHERE failed)::DOUBLE / count(*) AS error_share,
       approx_percentile_cont(duration_ms, 0.5) AS p50_ms,
       approx_percentile_cont(duration_ms, 0.99) AS p99_ms
FROM requests
WHERE start_time >= $since AND start_time < $until AND namespace IS NOT DISTINCT FROM $namespace
GROUP BY service
ORDER BY requests DESC, service
LIMIT $limit
