SELECT capture.name AS capture, timing, strategy, family, conversion_cost.conversion_ns / (last_ns - first_ns) AS share,
       conversion_ns_low / (last_ns - first_ns) AS low_share, conversion_ns_high / (last_ns - first_ns) AS high_share
FROM conversion_cost JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id) JOIN strategy USING (strategy)
WHERE costs = 'built-in' AND family IN ('pool', 'per table') AND last_ns > first_ns AND conversion_cost.conversion_ns IS NOT NULL
ORDER BY timing <> 'real', share DESC, capture, strategy;
