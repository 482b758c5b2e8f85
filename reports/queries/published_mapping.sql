SELECT arch, metric, benchmark, if(better_when = 'higher', delta_pct, -delta_pct) AS gain_pct
FROM published_measurement
WHERE topic = 'mapping' AND workload_class = 'macro' AND certainty = 'measured' AND metric NOT LIKE '%misses%'
ORDER BY arch, metric <> 'time', metric, gain_pct;
