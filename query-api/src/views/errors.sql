-- Spans that failed, and why as far as they say.
SELECT start_time,
       service_name,
       name,
       kind,
       coalesce(attributes['error.type']::TEXT,
                attributes['exception.type'],
                attributes['http.response.status_code']::TEXT,
                attributes['rpc.response.status_code']::TEXT,
                attributes['db.response.status_code']::TEXT) AS error_type,
       coalesce(status_message, attributes['exception.message'], attributes['error.message'])
           AS message,
       duration_ns,
       duration_ns / 1e6 AS duration_ms,
       resource['k8s.namespace.name'] AS namespace,
       resource['k8s.pod.name'] AS pod,
       trace_id,
       span_id,
       parent_span_id,
       status_code,
       status_message,
       events,
       attributes,
       resource
FROM spans
WHERE status_code = 'ERROR'
