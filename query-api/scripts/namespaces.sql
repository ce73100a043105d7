-- title: Namespaces
-- about: How the namespaces of the cluster answer, the busiest first.
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: namespace text; k8s.namespace.name
-- column: pods int 1; pods that answered
-- column: services int 1; services that answered
-- column: requests int 1; requests answered
-- column: requests_per_s float 1/s; requests a second
-- column: error_share float 1; share of requests that failed
-- column: p50_ms float ms; half are faster
-- column: p99_ms float ms; 99 of 100 are faster
-- draw: bars x=namespace y=requests
SELECT namespace,
       count(DISTINCT pod) AS pods,
       count(DISTINCT service_name) AS services,
       count(*) AS requests,
       count(*) * 1e9 / ($until::BIGINT - $since::BIGINT) AS requests_per_s,
       count(*) FILTER (WHERE failed)::DOUBLE / count(*) AS error_share,
       approx_percentile_cont(duration_ms, 0.5) AS p50_ms,
       approx_percentile_cont(duration_ms, 0.99) AS p99_ms
FROM requests
WHERE start_time >= $since AND start_time < $until
GROUP BY namespace
ORDER BY requests DESC, namespace
LIMIT $limit
