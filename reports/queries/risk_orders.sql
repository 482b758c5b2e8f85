WITH pool AS (
    SELECT fragmentation || if(machine = 'recorded', '', ' on ' || machine) AS fragmentation, reclaim, seed, headroom, censored,
           (params -> 'refill_orders' ->> 0)::INTEGER AS refill_order
    FROM risk_threshold JOIN capture USING (capture_id)
    WHERE capture.name = $capture AND strategy = 'full-reserve' AND params ->> 'pgd' = 'bypass' AND json_array_length(params -> 'refill_orders') = 1
)
SELECT fragmentation, reclaim, larger.refill_order AS refill_order, count(*) AS draws,
       quantile_disc(larger.headroom / single.headroom, 0.5) AS times_median,
       min(larger.headroom / single.headroom) AS times_least, max(larger.headroom / single.headroom) AS times_most,
       count_if(larger.censored) AS never_enough
FROM pool AS larger JOIN pool AS single USING (fragmentation, reclaim, seed)
WHERE larger.refill_order > 0 AND single.refill_order = 0
GROUP BY ALL
ORDER BY ALL;
