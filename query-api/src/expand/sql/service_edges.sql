-- Who called whom. A call that no server's span answers leads to what its client says of it.
SELECT client,
       server,
       count(*) AS calls,
       count(*) FILTER (WHERE failed) AS errors,
       count(*) FILTER (WHERE failed)::DOUBLE / count(*) AS error_share,
       avg(duration_ns) AS mean_ns,
       approx_percentile_cont(duration_ns, 0.5) AS p50_ns,
       approx_percentile_cont(duration_ns, 0.95) AS p95_ns,
       approx_percentile_cont(duration_ns, 0.99) AS p99_ns,
       min(start_time) AS first_time,
       max(start_time) AS last_time
FROM (
    SELECT caller.service_name AS client,
           answer.service_name AS server,
           caller.status_code = 'ERROR' OR answer.status_code = 'ERROR' AS failed,
           CASE WHEN caller.kind = 'CLIENT' THEN caller.duration_ns ELSE answer.duration_ns END
               AS duration_ns,
           caller.start_time
    FROM spans AS caller
    JOIN spans AS answer
      ON answer.trace_id = caller.trace_id AND answer.parent_span_id = caller.span_id
    WHERE answer.kind IN ('SERVER', 'CONSUMER')
      AND (caller.kind IN ('CLIENT', 'PRODUCER') OR caller.service_name <> answer.service_name)
      AND caller.start_time >= $from AND caller.start_time < $to
      AND answer.start_time >= $from - $within AND answer.start_time < $to + $within
    UNION ALL
    SELECT service_name AS client,
           coalesce(
               attributes['service.peer.name'],
               attributes['peer.service'],
               attributes['db.system.name'],
               attributes['db.system'],
               attributes['messaging.system'],
               attributes['server.address'],
               attributes['network.peer.address'],
               'unknown'
           ) AS server,
           status_code = 'ERROR' AS failed,
           duration_ns,
           start_time
    FROM spans AS caller
    WHERE kind IN ('CLIENT', 'PRODUCER')
      AND start_time >= $from AND start_time < $to
      AND NOT EXISTS (
          SELECT 1 FROM spans AS answer
          WHERE answer.trace_id = caller.trace_id AND answer.parent_span_id = caller.span_id
            AND answer.kind IN ('SERVER', 'CONSUMER')
            AND answer.start_time >= $from - $within AND answer.start_time < $to + $within
      )
) AS calls
GROUP BY client, server
ORDER BY calls DESC, client, server
