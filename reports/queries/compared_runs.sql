SELECT capture.name AS capture, capture.sha256, strategy, machine, reclaim, costs, copies, inject, seed, params, run.code_version,
       metric, value, unit
FROM run JOIN capture USING (capture_id) JOIN run_metric USING (run_id)
ORDER BY capture, strategy, machine, reclaim, costs, copies, inject, seed, params, metric;
