-- Stacks of profiles folded into a flame graph: one row a path of frames, root first.
SELECT sample_type,
       unit,
       frame['depth'] AS depth,
       frame['frame'] AS frame,
       sum(value) AS total,
       sum(CASE WHEN frame['leaf'] THEN value ELSE 0 END) AS self,
       frame['path'] AS path
FROM (
    SELECT sample_type, unit, value, unnest(stack_frames(stack)) AS frame
    FROM (
        SELECT sample_type, unit, stack, sum(value) AS value
        FROM profiles
        WHERE time >= $from AND time < $to
          AND ($service IS NULL OR service_name = $service)
          AND ($sample_type IS NULL OR sample_type = $sample_type)
          AND ($trace_id IS NULL OR trace_id = $trace_id)
          AND ($span_id IS NULL OR span_id = $span_id)
        GROUP BY sample_type, unit, stack
    ) AS stacks
) AS frames
GROUP BY sample_type, unit, frame['depth'], frame['frame'], frame['path']
ORDER BY sample_type, unit, path
