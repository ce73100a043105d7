-- title: Kafka topics
-- about: Topics: who writes and reads them, how much, and how often that fails.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: topic text; messaging.destination.name
-- column: service text; who writes or reads
-- column: operation text; send, receive, process, …
-- column: consumer_group text; of readers
-- column: calls int 1; requests
-- column: messages int 1; messages in them
-- column: bytes int By; size of the messages, where known
-- column: error_share float 1; share of requests that failed
-- column: p99_ms float ms; 99 of 100 are faster
-- draw: graph from=service to=topic weight=messages
SELECT attributes['messaging.destination.name'] AS topic,
       service_name AS service,
       coalesce(attributes['messaging.operation.type'], attributes['messaging.operation.name'],
                lower(kind)) AS operation,
       coalesce(attributes['messaging.consumer.group.name'],
                attributes['messaging.kafka.consumer.group']) AS consumer_group,
       count(*) AS calls,
       sum(coalesce(try_cast(attributes['messaging.batch.message_count'] AS BIGINT), 1)) AS messages,
       sum(try_cast(attributes['messaging.message.body.size'] AS BIGINT)) AS bytes,
       count(*) FILTER (WHERE status_code = 'ERROR')::DOUBLE / count(*) AS error_share,
       approx_percentile_cont(duration_ns, 0.99) / 1e6 AS p99_ms
FROM spans
WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service) AND attributes['messaging.system'] = 'kafka'
GROUP BY 1, 2, 3, 4
ORDER BY messages DESC, topic, service, operation
LIMIT $limit
