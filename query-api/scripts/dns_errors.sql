-- title: DNS errors
-- about: Names that could not be looked up: who asked for them, how often and why not.
-- param: service text = null; only this service; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 100; rows at most
-- column: service text; who asked
-- column: question text; the name
-- column: type text; A, AAAA, SRV, …
-- column: error text; NXDOMAIN and its like, or that nothing came
-- column: queries int 1; queries of this name
-- column: errors int 1; those that failed so
-- column: last_time time; the last of them
-- draw: bars x=question y=errors
SELECT service,
       question,
       type,
       error,
       max(queries) AS queries,
       count(*) AS errors,
       max(start_time) AS last_time
FROM (
    SELECT start_time,
           service_name AS service,
           attributes['dns.question.name'] AS question,
           coalesce(attributes['icecore.dns.question.type'], attributes['dns.question.type']) AS type,
           attributes['error.type']::TEXT AS error,
           status_code = 'ERROR' AS failed,
           count(*) OVER (PARTITION BY service_name, attributes['dns.question.name'],
                          coalesce(attributes['icecore.dns.question.type'], attributes['dns.question.type'])) AS queries
    FROM spans
    WHERE start_time >= $since AND start_time < $until AND ($service IS NULL OR service_name = $service) AND attributes['dns.question.name'] IS NOT NULL
) AS looked_up
WHERE error IS NOT NULL OR failed
GROUP BY service, question, type, error
ORDER BY errors DESC, service, question, type
LIMIT $limit
