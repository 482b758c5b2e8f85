SELECT fragmentation || if(machine = 'recorded', '', ' on ' || machine) AS fragmentation, reclaim,
       CASE WHEN strategy = 'full-reserve' AND params ->> 'pgd' = 'bypass' AND json_array_length(params -> 'refill_orders') = 1
            THEN 'refills of order ' || (params -> 'refill_orders' ->> 0) ELSE strategy END AS strategy,
       quantile_disc(headroom, 0.5) AS headroom_median, min(headroom) AS headroom_least, max(headroom) AS headroom_most,
       count_if(censored) AS never_enough, count(*) AS draws, mode(failure) AS fails_with, mode(page_order) AS at_order,
       avg(excess_stalls_per_million) AS excess_stalls_per_million, sum(checked) AS checked, sum(contradicted) AS contradicted
FROM risk_threshold JOIN capture USING (capture_id)
WHERE capture.name = $capture
GROUP BY ALL
ORDER BY fragmentation, reclaim, headroom_median DESC, strategy;
