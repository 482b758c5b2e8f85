WITH priced AS (
    -- Each strategy that supplied everything against the next dearer one. Their difference is linear in what a change, a split
    -- a flush, and one of everything take, so it is least at an end of each range; where it is nothing, their order turns.
    SELECT changes, splits, flushes, full_flushes, conversion_cost.conversion_ns, conversion_price.* EXCLUDE (capture_id, costs),
           string_agg(strategy, ', ' ORDER BY strategy <> 'unprotected', strategy) AS strategies
    FROM conversion_cost JOIN strategy_summary USING (run_id) JOIN conversion_price USING (capture_id, costs)
    WHERE strategy_summary.capture = $capture AND costs = 'built-in' AND flushes IS NOT NULL
      AND ptp_nulls = 0 AND split_starvations = 0 AND deadlocks = 0
    GROUP BY ALL
), pair AS (
    SELECT *, lead(strategies) OVER dearer AS next_dearer, lead(conversion_ns) OVER dearer - conversion_ns AS more_ns,
           lead(changes) OVER dearer - changes AS d_changes, lead(splits) OVER dearer - splits AS d_splits,
           lead(flushes) OVER dearer - flushes AS d_flushes, lead(full_flushes) OVER dearer - full_flushes AS d_full
    FROM priced WINDOW dearer AS (ORDER BY conversion_ns, strategies)
)
SELECT strategies, conversion_ns, next_dearer, more_ns,
       d_changes * change_ns + d_splits * split_ns + (d_flushes * flush_ns + d_full * full_ns)
       * if(d_flushes * flush_ns + d_full * full_ns > 0, 0.1, 10) >= 0 AS holds_for_flush_x10,
       d_changes * if(d_changes > 0, change_ns_low, change_ns_high) + d_splits * if(d_splits > 0, split_ns_low, split_ns_high)
       + d_flushes * if(d_flushes > 0, flush_ns_low, flush_ns_high)
       + d_full * if(d_full > 0, full_ns_low, full_ns_high) >= 0 AS holds_in_all_ranges,
       CASE WHEN (d_changes * change_ns + d_splits * split_ns + d_full * full_ns) * d_flushes < 0
            THEN -(d_changes * change_ns + d_splits * split_ns + d_full * full_ns) / d_flushes END AS turns_at_flush_ns, flush_ns
FROM pair ORDER BY conversion_ns, strategies;
