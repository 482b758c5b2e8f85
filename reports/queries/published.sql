SELECT arch, platform, workload_class, benchmark, metric, delta_pct, better_when, source, note
FROM published_measurement
WHERE topic = 'mapping'
ORDER BY arch, workload_class, metric, benchmark;
