-- title: Flows between pods
-- about: What each pair of pods has moved, wherever they run. Each end tells of itself; what is known of the other one is put together by its address.
-- param: namespace text = null; only pairs with an end in it; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: source_namespace text; k8s.namespace.name of who sends; null where nobody tells whose the address is
-- column: source_workload text; what made the pod
-- column: source text; the pod that sends, else its address
-- column: destination_namespace text; the same of who receives
-- column: destination_workload text; what made the pod
-- column: destination text; the pod that receives, else its address
-- column: transport text; tcp or udp
-- column: bytes float By; what was moved
-- column: bytes_per_s float By/s; that a second
-- draw: graph from=source to=destination weight=bytes
WITH told AS (
    SELECT attributes['source.address'] AS source_address,
           attributes['destination.address'] AS destination_address,
           attributes['network.transport'] AS transport,
           attributes['network.io.direction'] AS direction,
           attributes['icecore.source.k8s.namespace.name'] AS source_namespace,
           attributes['icecore.source.k8s.workload.name'] AS source_workload,
           attributes['icecore.source.k8s.pod.name'] AS source_pod,
           attributes['icecore.destination.k8s.namespace.name'] AS destination_namespace,
           attributes['icecore.destination.k8s.workload.name'] AS destination_workload,
           attributes['icecore.destination.k8s.pod.name'] AS destination_pod,
           increase() AS bytes,
           rate() AS bytes_per_s
    FROM metrics
    WHERE time >= $since AND time < $until AND metric_name = 'icecore.network.pod.io'
      AND attributes['source.address'] IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
), pairs AS (
    SELECT source_address, destination_address, transport,
           max(source_namespace) AS source_namespace,
           max(source_workload) AS source_workload,
           coalesce(max(source_pod), source_address) AS source,
           max(destination_namespace) AS destination_namespace,
           max(destination_workload) AS destination_workload,
           coalesce(max(destination_pod), destination_address) AS destination,
           -- Both ends count the same bytes, if both are watched.
           greatest(sum(bytes) FILTER (WHERE direction = 'transmit'), sum(bytes) FILTER (WHERE direction = 'receive')) AS bytes,
           greatest(sum(bytes_per_s) FILTER (WHERE direction = 'transmit'), sum(bytes_per_s) FILTER (WHERE direction = 'receive')) AS bytes_per_s
    FROM told
    GROUP BY source_address, destination_address, transport
)
SELECT source_namespace, source_workload, source, destination_namespace, destination_workload, destination,
       transport, bytes, bytes_per_s
FROM pairs
WHERE bytes > 0 AND ($namespace IS NULL OR source_namespace = $namespace OR destination_namespace = $namespace)
ORDER BY bytes DESC, source, destination
LIMIT $limit
