SELECT strategy, kind, incident.page_order, count(*) AS recorded, (min(t_ns) - any_value(first_ns)) / 1e9 AS first_s,
       arg_min(detail, t_ns) AS first_detail
FROM incident JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id)
WHERE capture.name = $capture
GROUP BY strategy, kind, incident.page_order
ORDER BY strategy <> 'unprotected', strategy, kind, incident.page_order;
