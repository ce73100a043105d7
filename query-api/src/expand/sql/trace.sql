-- One trace as a tree: children behind their parents, and where the time went.
SELECT tree['place'] AS place,
       tree['depth'] AS depth,
       service_name,
       name,
       kind,
       status_code,
       tree['offset_ns'] AS offset_ns,
       duration_ns,
       tree['self_ns'] AS self_ns,
       tree['critical_ns'] AS critical_ns,
       trace_id,
       span_id,
       parent_span_id,
       start_time,
       status_message,
       attributes,
       resource
FROM (
    SELECT unnest(span_tree(span_id, parent_span_id, start_time, end_time)) AS tree
    FROM spans WHERE trace_id = $id
) AS forest
JOIN (SELECT * FROM spans WHERE trace_id = $id) AS members ON members.span_id = tree['span_id']
ORDER BY place
