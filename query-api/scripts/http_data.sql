-- title: HTTP requests
-- about: The newest HTTP requests that were answered, one row each.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: time time; when it began
-- column: service text; service.name
-- column: pod text; k8s.pod.name
-- column: method text; of the request
-- column: path text; url.path, or the route
-- column: status text; of the response
-- column: duration_ms float ms; until the response was whole
-- column: request_bytes int By; size of the request's body
-- column: response_bytes int By; size of the response's body
-- column: client text; who asked: client.address
-- column: trace_id text; its trace
-- draw: table
SELECT start_time AS time,
       service_name AS service,
       pod,
       method,
       coalesce(attributes['url.path'], attributes['http.target'], route) AS path,
       response_code AS status,
       duration_ms,
       try_cast(attributes['http.request.body.size'] AS BIGINT) AS request_bytes,
       try_cast(attributes['http.response.body.size'] AS BIGINT) AS response_bytes,
       client_address AS client,
       trace_id
FROM requests
WHERE start_time >= $since AND start_time < $until AND protocol = 'http'
  AND ($service IS NULL OR service_name = $service)
ORDER BY time DESC, trace_id
LIMIT $limit
