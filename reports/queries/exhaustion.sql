SELECT reclaim, strategy, min(copies) FILTER (failure IS NOT NULL) AS copies_until_failure, max(copies) AS copies_tried,
       arg_min(failure, copies) FILTER (failure IS NOT NULL) AS fails_with,
       arg_min(page_order, copies) FILTER (failure IS NOT NULL) AS at_order,
       arg_min(t_ns, copies) FILTER (failure IS NOT NULL) / 1e9 AS seconds
FROM exhaustion JOIN capture USING (capture_id)
WHERE capture.name = $capture
GROUP BY ALL
ORDER BY reclaim, copies_until_failure NULLS LAST, strategy;
