-- Every span of one trace, whole.
SELECT * FROM spans WHERE trace_id = $id ORDER BY start_time, duration_ns DESC
