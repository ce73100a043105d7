-- title: SQL statements, normalised
-- about: Statements with their values left out: how often, how slow, how much time they take in all.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: service text; who asked
-- column: system text; postgresql, mysql, …
-- column: statement text; with ? for values
-- column: calls int 1; how often it was sent
-- column: error_share float 1; share that failed
-- column: total_ms float ms; time that all of them took
-- column: p50_ms float ms; half are faster
-- column: p99_ms float ms; 99 of 100 are faster
-- draw: bars x=statement y=total_ms
SELECT service_name AS service,
       system,
       sql_template(statement) AS statement,
       count(*) AS calls,
       count(*) FILTER (WHERE failed)::DOUBLE / count(*) AS error_share,
       sum(duration_ms) AS total_ms,
       approx_percentile_cont(duration_ms, 0.5) AS p50_ms,
       approx_percentile_cont(duration_ms, 0.99) AS p99_ms
FROM db_calls
WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service) AND system NOT IN ('redis', 'memcached') AND statement IS NOT NULL
GROUP BY 1, 2, 3
ORDER BY total_ms DESC, statement
LIMIT $limit
