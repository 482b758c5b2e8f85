SELECT topic, arch, platform, kernel, workload_class, benchmark, metric, delta_pct, value, unit, better_when, certainty, source, note
FROM published_measurement
WHERE topic IN ('mapping', 'fragmentation', 'memory')
ORDER BY topic <> 'mapping', topic, arch, workload_class, metric, benchmark;
