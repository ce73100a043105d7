-- title: HTTP errors
-- about: Which paths fail, with which status, how often, and a trace to look at.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: service text; service.name
-- column: method text; of the request
-- column: path text; with values left out
-- column: status text; of the response
-- column: errors int 1; responses of 400 and above, and requests that failed
-- column: first_time time; the first of them
-- column: last_time time; the last of them
-- column: trace_id text; the trace of one of them
-- draw: bars x=path y=errors
SELECT service_name AS service,
       method,
       path_template(coalesce(attributes['http.route'], attributes['url.path'], route)) AS path,
       response_code AS status,
       count(*) AS errors,
       min(start_time) AS first_time,
       max(start_time) AS last_time,
       max(trace_id) AS trace_id
FROM requests
WHERE start_time >= $since AND start_time < $until AND protocol = 'http'
  AND (failed OR try_cast(response_code AS BIGINT) >= 400)
  AND ($service IS NULL OR service_name = $service)
GROUP BY 1, 2, 3, 4
ORDER BY errors DESC, service, method, path, status
LIMIT $limit
