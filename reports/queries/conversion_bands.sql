WITH mms AS (
    -- Linear in the constants: the counts of a run, priced by every profile that is known. A new mm (fork, exec) has a PGD.
    SELECT capture_id, nullif(count(*), 0) AS created
    FROM page_event WHERE kind = 'alloc' AND level = 'pgd' GROUP BY capture_id
)
SELECT strategy, costs, conversion_ns_low AS low_ns, conversion_ns_flush_tenth AS flush_tenth_ns, conversion_cost.conversion_ns,
       conversion_ns_flush_tenfold AS flush_tenfold_ns, conversion_ns_high AS high_ns,
       conversion_cost.conversion_ns / nullif(last_ns - first_ns, 0) * 1e9 AS per_second_ns,
       conversion_cost.conversion_ns / nullif(ptp_allocs, 0) AS per_table_ns,
       conversion_cost.receiver_ns / nullif(ptp_allocs, 0) AS receivers_per_table_ns, conversion_cost.conversion_ns / created AS per_new_mm_ns
FROM conversion_cost JOIN strategy_summary USING (run_id) JOIN capture USING (capture_id) LEFT JOIN mms USING (capture_id)
WHERE capture.name = $capture AND conversion_cost.conversion_ns IS NOT NULL
ORDER BY costs <> 'built-in', costs, conversion_cost.conversion_ns, strategy <> 'unprotected', strategy;
