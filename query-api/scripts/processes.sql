-- title: Processes
-- about: What processes use: CPU and memory, from the metrics process.cpu.time and process.memory.usage.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: host text; host.name, or the node
-- column: pid int; process.pid
-- column: command text; process.executable.name, or its command
-- column: service text; service.name
-- column: pod text; k8s.pod.name
-- column: cpu float {cpu}; CPUs that it used
-- column: memory_bytes float By; resident memory, the newest value
-- draw: bars x=command y=cpu
SELECT coalesce(resource['host.name'], resource['k8s.node.name']) AS host,
       try_cast(resource['process.pid'] AS BIGINT) AS pid,
       coalesce(resource['process.executable.name'], resource['process.command']) AS command,
       service_name AS service,
       resource['k8s.pod.name'] AS pod,
       rate() FILTER (WHERE metric_name = 'process.cpu.time') AS cpu,
       last_value(value ORDER BY time) FILTER (WHERE metric_name = 'process.memory.usage') AS memory_bytes
FROM metrics
WHERE time >= $since AND time < $until AND metric_name IN ('process.cpu.time', 'process.memory.usage')
  AND ($service IS NULL OR service_name = $service)
GROUP BY 1, 2, 3, 4, 5
ORDER BY cpu DESC NULLS LAST, host, pid
LIMIT $limit
