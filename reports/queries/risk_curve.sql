SELECT fragmentation || if(machine = 'recorded', '', ' on ' || machine) AS fragmentation, reclaim,
       CASE WHEN strategy = 'full-reserve' AND params ->> 'pgd' = 'bypass' AND json_array_length(params -> 'refill_orders') = 1
            THEN 'refills of order ' || (params -> 'refill_orders' ->> 0) ELSE strategy END AS strategy,
       headroom, seeds, failures / seeds AS p, p_low, p_high, failures_unprotected / seeds AS p_unprotected,
       unusable_index_2, unusable_index_4, unusable_index_9
FROM risk JOIN capture USING (capture_id)
WHERE capture.name = $capture
ORDER BY fragmentation, reclaim, strategy, headroom;
