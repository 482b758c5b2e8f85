SELECT fragmentation || if(machine = 'recorded', '', ' on ' || machine) AS fragmentation, reclaim, refill_order, draws,
       times_order_0, times_or_more, times_least, times_most
FROM risk_summary
WHERE capture = $capture AND times_order_0 IS NOT NULL
ORDER BY fragmentation, reclaim, refill_order;
