SELECT arch, metric, measurements, low_pct, median_pct, high_pct, platforms
FROM mapping_scale
ORDER BY arch, metric;
