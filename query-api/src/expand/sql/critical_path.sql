-- The spans that the whole trace waited for, and for how long on each.
SELECT tree['critical_offset_ns'] AS offset_ns,
       tree['critical_ns'] AS critical_ns,
       tree['critical_ns']::DOUBLE / nullif(sum(tree['critical_ns']) OVER (), 0) AS share,
       service_name,
       name,
       kind,
       status_code,
       duration_ns,
       tree['depth'] AS depth,
       trace_id,
       span_id,
       parent_span_id,
       start_time
FROM (
    SELECT unnest(span_tree(span_id, parent_span_id, start_time, end_time)) AS tree
    FROM spans WHERE trace_id = $id
) AS forest
JOIN (SELECT * FROM spans WHERE trace_id = $id) AS members ON members.span_id = tree['span_id']
WHERE tree['critical_ns'] > 0
ORDER BY offset_ns, depth
