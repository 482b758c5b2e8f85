SELECT strategy, bucket_ns, count
FROM latency JOIN strategy_summary USING (run_id)
WHERE capture = $capture AND operation = 'ptp_alloc'
ORDER BY strategy <> 'unprotected', strategy, bucket_ns;
