SELECT variant, variant LIKE '%percpu%' AS per_cpu, min(cpus_at_1_us) AS cpus_at_1_us, min(cpus_at_100_us) AS cpus_at_100_us,
       max(held_by_64_bytes) AS held_by_64_bytes
FROM contention_limit
GROUP BY variant
ORDER BY per_cpu, variant;
