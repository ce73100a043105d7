-- title: Network flows
-- about: Bytes between addresses, from a metric that counts them by flow.
-- param: metric text = 'icecore.network.flow.io'; the counter of bytes
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: service text; who sends or receives
-- column: pod text; k8s.pod.name
-- column: direction text; transmit or receive
-- column: peer text; network.peer.address
-- column: peer_port int; network.peer.port
-- column: transport text; tcp or udp
-- column: bytes float By; what was moved
-- column: bytes_per_s float By/s; that a second
-- draw: graph from=service to=peer weight=bytes
SELECT service_name AS service,
       resource['k8s.pod.name'] AS pod,
       attributes['network.io.direction'] AS direction,
       attributes['network.peer.address'] AS peer,
       try_cast(attributes['network.peer.port'] AS BIGINT) AS peer_port,
       attributes['network.transport'] AS transport,
       increase() AS bytes,
       rate() AS bytes_per_s
FROM metrics
WHERE time >= $since AND time < $until AND metric_name = $metric AND ($service IS NULL OR service_name = $service)
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY bytes DESC, service, peer, direction
LIMIT $limit
