-- title: Flame graph of profiles
-- about: Where the time of a service goes, frame by frame.
-- param: service text = null; only this service; null for all
-- param: sample_type text = null; only this type of sample; null for all
-- param: trace text = null; only what was done for this trace; null for all
-- param: span text = null; only what was done for this span; null for all
-- param: since time = 15m; from when
-- param: until time = now; until when
-- param: limit int = 10000; rows at most
-- column: sample_type text; what was sampled
-- column: unit text; of the values
-- column: depth int; 0 is the root
-- column: frame text; the function
-- column: total int; in it and in what it called
-- column: self int; in it alone
-- column: path text; the frames from the root on, parted by semicolons
-- draw: flamegraph path=path value=self
SELECT sample_type, unit, depth, frame, total, self, path
FROM flamegraph($since, $until, $service, $sample_type, $trace, $span)
ORDER BY sample_type, unit, path
LIMIT $limit
