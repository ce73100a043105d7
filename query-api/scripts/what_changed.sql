-- title: What changed
-- about: Two windows compared, before and after a moment: which service, operation or attribute value moved, in rate, errors or duration; what moved most comes first.
-- param: since time = 30m; begin of the window before
-- param: at time = 15m; the moment between the windows
-- param: until time = now; end of the window after
-- param: service text = null; only this service; null for all
-- param: spans_min int = 10; only what has so many spans in both windows together
-- param: limit int = 50; rows at most
-- column: what text; service, operation or attribute
-- column: service text; service.name
-- column: facet text; the operation, or key=value
-- column: per_s_before float 1/s; spans a second before
-- column: per_s_after float 1/s; spans a second after
-- column: errors_before float 1; share of errors before
-- column: errors_after float 1; share of errors after
-- column: p95_ms_before float ms; 95 of 100 were faster
-- column: p95_ms_after float ms; 95 of 100 are faster
-- column: moved float; how far: powers of two of the rate or the duration, or tenths of the errors
-- draw: bars x=facet y=moved
WITH seen AS (
    SELECT start_time >= $at AS is_after, service_name, name, attributes, status_code, duration_ns / 1e6 AS ms
    FROM spans
    WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service)
), facets AS (
    SELECT 'service' AS what, service_name AS service, '' AS facet, is_after, status_code, ms FROM seen
    UNION ALL
    SELECT 'operation', service_name, name, is_after, status_code, ms FROM seen
    UNION ALL
    SELECT 'attribute', service_name, key || '=' || value, is_after, status_code, ms
    FROM (
        SELECT service_name, is_after, status_code, ms,
               unnest(map_keys(attributes)) AS key, unnest(map_values(attributes)) AS value
        FROM seen
    ) AS entries
    -- What is drawn by chance or measured is another for every request.
    WHERE value IS NOT NULL AND length(value) <= 200 AND key NOT LIKE '%.size'
      AND key NOT IN ('client.port', 'network.local.port', 'network.peer.port')
), windows AS (
    SELECT what,
           service,
           facet,
           count(*) AS spans,
           count(*) FILTER (WHERE NOT is_after) * 1e9 / ($at::BIGINT - $since::BIGINT) AS per_s_before,
           count(*) FILTER (WHERE is_after) * 1e9 / ($until::BIGINT - $at::BIGINT) AS per_s_after,
           avg(CASE WHEN status_code = 'ERROR' THEN 1.0 ELSE 0.0 END) FILTER (WHERE NOT is_after)
               AS errors_before,
           avg(CASE WHEN status_code = 'ERROR' THEN 1.0 ELSE 0.0 END) FILTER (WHERE is_after)
               AS errors_after,
           approx_percentile_cont(ms, 0.95) FILTER (WHERE NOT is_after) AS p95_ms_before,
           approx_percentile_cont(ms, 0.95) FILTER (WHERE is_after) AS p95_ms_after
    FROM facets
    GROUP BY what, service, facet
    HAVING count(*) >= $spans_min
)
SELECT what, service, facet, per_s_before, per_s_after, errors_before, errors_after, p95_ms_before, p95_ms_after,
       greatest(
           abs(log2((per_s_after + 0.001) / (per_s_before + 0.001))),
           10 * abs(coalesce(errors_after, 0) - coalesce(errors_before, 0)),
           coalesce(abs(log2((p95_ms_after + 0.001) / (p95_ms_before + 0.001))), 0)
       ) AS moved
FROM windows
ORDER BY moved DESC, what, service, facet
LIMIT $limit
