SELECT capture.name AS capture, capture.sha256, run.* EXCLUDE (run_id, capture_id, params, is_default, assumptions, metrics_only), params,
       metric, value, unit
FROM run JOIN capture USING (capture_id) JOIN run_metric USING (run_id)
ORDER BY ALL;
