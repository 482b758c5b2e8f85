WITH booked AS (
    SELECT run_id, sum(count) AS samples, max(bucket_ns) AS slowest_ns, sum(count) FILTER (bucket_ns >= 1000) AS from_1_us
    FROM latency WHERE operation = 'ptp_alloc' GROUP BY run_id
)
SELECT strategy, samples, ptp_alloc_p50_ns, ptp_alloc_p99_ns, ptp_alloc_p999_ns, slowest_ns, coalesce(from_1_us, 0) AS from_1_us,
       lock_wait_ns, decisions_at_once
FROM strategy_summary JOIN booked USING (run_id)
WHERE capture = $capture
ORDER BY strategy <> 'unprotected', strategy;
