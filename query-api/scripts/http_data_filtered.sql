-- title: HTTP requests, filtered
-- about: HTTP requests by service, pod, method, path, status and duration.
-- param: service text = null; only this service; null for all
-- param: pod text = null; only this pod; null for all
-- param: method text = null; only this method; null for all
-- param: path text = '%'; only paths like this; % stands for anything
-- param: status_min int = 0; only this status and above
-- param: duration_min_ms float = 0; only those that took so long
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
  AND ($pod IS NULL OR pod = $pod)
  AND ($method IS NULL OR method = $method)
  AND coalesce(attributes['url.path'], attributes['http.target'], route, '') LIKE $path
  AND coalesce(try_cast(response_code AS BIGINT), 0) >= $status_min
  AND duration_ms >= $duration_min_ms
ORDER BY time DESC, trace_id
LIMIT $limit
