-- title: Processes that were seen
-- about: Each process that was seen, by what it sent or answered or by what it used: where it ran and what it is.
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
-- column: first_time time; when it was seen first
-- column: last_time time; when it was seen last
-- draw: table
SELECT coalesce(resource['host.name'], resource['k8s.node.name']) AS host,
       try_cast(resource['process.pid'] AS BIGINT) AS pid,
       coalesce(resource['process.executable.name'], resource['process.command']) AS command,
       service_name AS service,
       resource['k8s.namespace.name'] AS namespace,
       resource['k8s.pod.name'] AS pod,
       resource['container.id'] AS container,
       sum(spans)::BIGINT AS spans,
       min(time) AS first_time,
       max(time) AS last_time
FROM (
    SELECT resource, service_name, 1 AS spans, start_time AS time FROM spans
    WHERE start_time >= $since AND start_time < $until
    UNION ALL
    SELECT resource, service_name, 0, time FROM metrics
    WHERE time >= $since AND time < $until AND metric_name = 'process.memory.usage'
) AS seen
WHERE ($service IS NULL OR service_name = $service) AND resource['process.pid'] IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY host, pid
LIMIT $limit
