WITH own AS (
    SELECT DISTINCT sweep, strategy, params::VARCHAR AS params, setting, translate(value, ',[]"', '+') AS value
    FROM sweep_setting JOIN run USING (run_id, capture_id, strategy)
    WHERE is_parameter
), set_to AS (
    SELECT sweep, strategy, params, string_agg(setting || ' ' || value, ', ' ORDER BY setting) AS settings,
           string_agg(value, ', ' ORDER BY setting) AS brief
    FROM own GROUP BY ALL
), map AS (
    SELECT sweep, name AS capture, machine, strategy, params::VARCHAR AS params, count(value) > 0 AS can_split
    FROM sweep JOIN run USING (run_id) JOIN capture USING (capture_id) JOIN run_metric USING (run_id)
    WHERE metric = 'splits_2m' GROUP BY ALL
)
SELECT sweep, replayed_on,
       strategy, coalesce(settings, '') AS settings, coalesce(brief, '') AS brief, runs, pages_held,
       if(can_split, splits, NULL) AS splits, stalls, conversion_ns, protects,
       on_front IS NOT NULL AS on_front
FROM (SELECT * REPLACE (params::VARCHAR AS params) FROM design_point) LEFT JOIN set_to USING (sweep, strategy, params)
LEFT JOIN map USING (sweep, capture, machine, strategy, params)
LEFT JOIN (SELECT sweep, capture, replayed_on, strategy, params::VARCHAR AS params, true AS on_front FROM pareto_front)
    USING (sweep, capture, replayed_on, strategy, params)
WHERE capture = $capture AND sweep <> 'replay run'
ORDER BY ALL;
