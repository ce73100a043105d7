-- title: TCP drops
-- about: Segments that the kernel threw away, by connection and reason.
-- param: metric text = 'icecore.network.tcp.drops'; the counter
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: service text; whose connection it is
-- column: pod text; k8s.pod.name
-- column: peer text; network.peer.address
-- column: peer_port int; network.peer.port, of a client's connection
-- column: reason text; why, as the kernel says it
-- column: segments float 1; how many
-- column: segments_per_s float 1/s; that a second
-- draw: bars x=peer y=segments
SELECT service_name AS service,
       resource['k8s.pod.name'] AS pod,
       attributes['network.peer.address'] AS peer,
       try_cast(attributes['network.peer.port'] AS BIGINT) AS peer_port,
       coalesce(attributes['icecore.network.drop.reason']::TEXT, attributes['error.type']::TEXT) AS reason,
       increase() AS segments,
       rate() AS segments_per_s
FROM metrics
WHERE time >= $since AND time < $until AND metric_name = $metric AND ($service IS NULL OR service_name = $service)
GROUP BY 1, 2, 3, 4, 5
ORDER BY segments DESC, service, peer
LIMIT $limit
