SELECT variant, strategy, free_order, contention.cpus, change_ns, lock_wait_share, alloc_ns, held_pages_mean, held_pages_peak, refills,
       contention.tables_per_s, basis, costs
FROM contention JOIN contention_limit USING (capture_id, strategy, params, free_order)
WHERE capture = $capture
ORDER BY free_order DESC, variant LIKE '%percpu%', variant, contention.cpus, change_ns;
