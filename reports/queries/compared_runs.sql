SELECT capture.name AS capture, capture.sha256, strategy, machine, mode, reclaim, costs, copies, inject, rcu, seed, params, run.code_version,
       metric, value, unit
FROM run JOIN capture USING (capture_id) JOIN run_metric USING (run_id)
WHERE mode = 'policy'
ORDER BY capture, strategy, machine, reclaim, costs, copies, inject, rcu, seed, params, metric;
