WITH asked AS (
    FROM (VALUES (1, 'pool_idle_pages_mean'), (2, 'splits_2m'), (3, 'stalls'), (4, 'conversion_ns'), (5, 'ptp_nulls'),
                 (6, 'split_starvations')) AS t (place, metric)
), tried AS (
    SELECT DISTINCT sweep, strategy, setting FROM sweep_setting JOIN capture USING (capture_id) WHERE capture.name = $capture
)
SELECT sweep, setting, metric, count(*) AS strategies, avg(coalesce(share, 0)) AS share, arg_max(strategy, coalesce(share, 0)) AS most_in,
       max_by(lowest_at, coalesce(share, 0)) AS lowest_at, max_by(lowest, coalesce(share, 0)) AS lowest,
       max_by(highest_at, coalesce(share, 0)) AS highest_at, max_by(highest, coalesce(share, 0)) AS highest
FROM tried CROSS JOIN asked
LEFT JOIN (FROM sweep_sensitivity WHERE capture = $capture) USING (sweep, strategy, setting, metric)
GROUP BY sweep, setting, metric, place ORDER BY sweep, setting = 'seed', setting, place;
