SELECT benchmark, metric, platform, if(better_when = 'higher', delta_pct, -delta_pct) AS gain_pct, note
FROM published_measurement JOIN mapping_basis USING (arch) JOIN capture USING (capture_id)
WHERE capture.name = $capture AND topic = 'mapping' AND (metric IN ('system time', 'CPU power') OR workload_class = 'io')
ORDER BY metric <> 'system time', metric = 'CPU power', gain_pct, benchmark;
