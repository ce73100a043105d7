-- title: Processes that were seen
-- about: Each process that sent or answered anything: where it ran, what it is, and when it was seen.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: host text; host.name, or the node
-- column: pid int; process.pid
-- column: command text; process.executable.name, or its command
-- column: service text; service.name
-- column: namespace text; k8s.namespace.name
-- column: pod text; k8s.pod.name
-- column: container text; container.id
-- column: spans int 1; spans of it
-- column: first_time time; the first of them
-- column: last_time time; the last of them
-- draw: table
SELECT coalesce(resource['host.name'], resource['k8s.node.name']) AS host,
       try_cast(resource['process.pid'] AS BIGINT) AS pid,
       coalesce(resource['process.executable.name'], resource['process.command']) AS command,
       service_name AS service,
       resource['k8s.namespace.name'] AS namespace,
       resource['k8s.pod.name'] AS pod,
       resource['container.id'] AS container,
       count(*) AS spans,
       min(start_time) AS first_time,
       max(start_time) AS last_time
FROM spans
WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service) AND resource['process.pid'] IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY host, pid
LIMIT $limit
