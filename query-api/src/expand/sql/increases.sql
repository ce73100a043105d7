-- What each data point of a sum adds to the one before it in its series, across resets. A delta
-- is what it says. The first point of a series counts where the series began within the time that
-- is looked at; else what was counted before is not known, and its increase is null.
SELECT time,
       start_time,
       service_name,
       metric_name,
       unit,
       temporality,
       increase,
       seconds,
       increase / nullif(seconds, 0) AS rate,
       is_reset,
       value,
       attributes,
       resource,
       scope_name
FROM (
    SELECT *,
           CASE
               WHEN value IS NULL THEN NULL
               WHEN temporality = 'DELTA' THEN value
               WHEN before IS NULL THEN CASE WHEN began_here THEN value END
               WHEN is_reset THEN value
               ELSE value - before
           END AS increase,
           CASE
               WHEN before IS NULL AND (temporality IS DISTINCT FROM 'DELTA') AND NOT coalesce(began_here, false)
                   THEN NULL
               WHEN temporality = 'DELTA' OR before IS NULL OR is_reset
                   THEN CASE WHEN start_time < time THEN (time::BIGINT - start_time::BIGINT) / 1e9 END
               ELSE (time::BIGINT - time_before::BIGINT) / 1e9
           END AS seconds
    FROM (
        SELECT *,
               start_time >= $from - $lookback AND start_time < time AS began_here,
               before IS NOT NULL AND (temporality IS DISTINCT FROM 'DELTA')
                   AND ((start_time IS DISTINCT FROM start_before)
                        OR (is_monotonic AND value < before)) AS is_reset
        FROM (
            SELECT *,
                   lag(value) OVER in_series AS before,
                   lag(time) OVER in_series AS time_before,
                   lag(start_time) OVER in_series AS start_before
            FROM (
                SELECT *, series(metric_name, resource, attributes, scope_name, scope_version) AS series
                FROM metrics
                WHERE metric_name = $metric AND kind = 'SUM' AND value IS NOT NULL
                  AND time >= $from - $lookback AND time < $to
            ) AS points
            WINDOW in_series AS (PARTITION BY series ORDER BY time)
        ) AS pairs
    ) AS known
) AS added
WHERE time >= $from
ORDER BY time
