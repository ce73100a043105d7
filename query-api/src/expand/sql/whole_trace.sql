-- A trace with those that the probes have told apart, as one tree. A call to another node stands in a trace of
-- its own, to which the caller's span has a link that is certain: there it has its place below the caller.
WITH RECURSIVE calls AS (
    SELECT trace_id AS caller_trace, span_id AS caller, link['trace_id'] AS called_trace, link['span_id'] AS called
    FROM (
        SELECT trace_id, span_id, unnest(links) AS link
        FROM spans WHERE start_time >= $from AND start_time < $to
    ) AS linked
    WHERE link['attributes']['icecore.link'] = 'derived'
), beside AS (
    SELECT caller_trace AS one, called_trace AS other FROM calls
    UNION ALL
    SELECT called_trace, caller_trace FROM calls
), reached AS (
    SELECT $id AS trace_id
    UNION
    SELECT lower(beside.other) FROM reached JOIN beside ON beside.one = reached.trace_id
), members AS (
    SELECT spans.*, coalesce(calls.caller, spans.parent_span_id) AS above
    FROM spans
    JOIN reached ON reached.trace_id = spans.trace_id
    LEFT JOIN (
        SELECT called_trace, called, min(caller) AS caller FROM calls GROUP BY called_trace, called
    ) AS calls ON calls.called_trace = spans.trace_id AND calls.called = spans.span_id
    WHERE spans.start_time >= $from AND spans.start_time < $to
)
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
       above AS parent_span_id,
       start_time,
       status_message,
       attributes,
       resource
FROM (
    SELECT unnest(span_tree(span_id, above, start_time, end_time)) AS tree
    FROM members
) AS forest
JOIN members ON members.span_id = tree['span_id']
ORDER BY place
