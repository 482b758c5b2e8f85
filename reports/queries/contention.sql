SELECT CASE WHEN params->>'mutex' = 'true' THEN strategy || ', one refill at a time'
            WHEN params->>'magazine_order' = '9' THEN strategy || ', a block each'
            WHEN params->>'magazine_order' IS NOT NULL THEN strategy || ', four pages each' ELSE strategy END AS variant,
       strategy, free_order, contention.cpus, change_ns, lock_wait_share, alloc_ns, held_pages_mean, held_pages_peak, refills, tables_per_s, basis, contention.costs
FROM contention JOIN capture USING (capture_id)
WHERE capture.name = $capture
ORDER BY free_order DESC, strategy LIKE '%percpu', variant, contention.cpus, change_ns;
