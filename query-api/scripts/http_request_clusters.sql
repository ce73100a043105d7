-- title: HTTP paths, clustered
-- about: Requests by templates of their paths, found without being told: parts that look like values, and places where names are too many to be endpoints.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: service text; service.name
-- column: method text; of the request
-- column: template text; the paths, with {id} for values
-- column: paths int 1; different paths
-- column: requests int 1; requests answered
-- column: error_share float 1; share of requests that failed
-- column: p50_ms float ms; half are faster
-- column: p99_ms float ms; 99 of 100 are faster
-- column: example text; one of the paths
-- draw: bars x=template y=requests
WITH calls AS (
    SELECT service_name,
           method,
           coalesce(attributes['url.path'], attributes['http.target'], attributes['http.route']) AS path,
           failed,
           duration_ms
    FROM requests
    WHERE start_time >= $since AND start_time < $until AND protocol = 'http' AND ($service IS NULL OR service_name = $service)
), clusters AS (
    SELECT service_name, unnest(path_clusters(path)) AS known
    FROM calls
    WHERE path IS NOT NULL
    GROUP BY service_name
)
SELECT calls.service_name AS service,
       method,
       known['template'] AS template,
       count(DISTINCT path) AS paths,
       count(*) AS requests,
       count(*) FILTER (WHERE failed)::DOUBLE / count(*) AS error_share,
       approx_percentile_cont(duration_ms, 0.5) AS p50_ms,
       approx_percentile_cont(duration_ms, 0.99) AS p99_ms,
       min(path) AS example
FROM calls
JOIN clusters ON clusters.service_name = calls.service_name AND known['path'] = path
GROUP BY 1, 2, 3
ORDER BY requests DESC, service, method, template
LIMIT $limit
