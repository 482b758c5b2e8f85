-- The model's error compared with the spread of the machine itself, over recordings of one workload (named WORKLOAD-1,
-- WORKLOAD-2, ...), after `ptpool replay validate`. Counts that differ by at most 32 agree.
WITH compared AS (
    SELECT regexp_extract(name, '(.*)-\d+$', 1) AS workload, validation.*
    FROM validation JOIN capture USING (capture_id)
    WHERE regexp_matches(name, '-\d+$')
), by_quantity AS (
    SELECT workload, quantity, zone, page_order, count(*) AS recordings,
           min(recorded_after) AS least_after, max(recorded_after) AS most_after,
           max(recorded_after) - min(recorded_after) AS spread,
           max(model_error) AS worst_model_error, max(null_error) AS worst_null_error
    FROM compared
    GROUP BY ALL
)
SELECT *, worst_model_error <= greatest(spread, 32) AS within_spread
FROM by_quantity
WHERE spread > 0 OR worst_null_error > 0
ORDER BY ALL
