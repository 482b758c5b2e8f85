WITH point AS (
    -- How many CPUs exceed 5 %, between the two numbers of CPUs that were simulated, linear in their logarithm.
    SELECT CASE WHEN params->>'mutex' = 'true' THEN strategy || ', one refill at a time'
                WHEN params->>'magazine_order' = '9' THEN strategy || ', a block each'
                WHEN params->>'magazine_order' IS NOT NULL THEN strategy || ', four pages each' ELSE strategy END AS variant,
           free_order, contention.cpus, change_ns, lock_wait_share, held_pages_mean * page_size AS bytes,
           lag(lock_wait_share) OVER fewer AS share_before, lag(contention.cpus) OVER fewer AS cpus_before
    FROM contention JOIN capture USING (capture_id)
    WHERE capture.name = $capture
    WINDOW fewer AS (PARTITION BY strategy, params::VARCHAR, free_order, change_ns ORDER BY contention.cpus)
), crossing AS (
    SELECT variant, free_order, change_ns, min(if(cpus_before IS NULL, cpus,
               cpus_before * (cpus / cpus_before) ** ((0.05 - share_before) / (lock_wait_share - share_before)))) AS cpus
    FROM point WHERE lock_wait_share > 0.05 AND coalesce(share_before, 0) <= 0.05 GROUP BY ALL
)
SELECT variant, if(free_order = 9, '2M blocks', 'four pages') AS refills_of,
       max(crossing.cpus) FILTER (change_ns = 1000) AS cpus_at_1_us, max(crossing.cpus) FILTER (change_ns = 10000) AS cpus_at_10_us,
       max(crossing.cpus) FILTER (change_ns = 100000) AS cpus_at_100_us,
       max(bytes) FILTER (point.cpus = 16 AND change_ns = 1000) AS held_by_16_bytes,
       max(bytes) FILTER (point.cpus = 64 AND change_ns = 1000) AS held_by_64_bytes,
       max(bytes) FILTER (point.cpus = 256 AND change_ns = 1000) AS held_by_256_bytes
FROM point LEFT JOIN crossing USING (variant, free_order, change_ns)
GROUP BY variant, free_order ORDER BY free_order DESC, variant LIKE '%percpu%', variant;
