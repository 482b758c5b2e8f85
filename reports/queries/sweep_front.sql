SELECT sweep, machine, copies, reclaim, strategy, params, runs, pages_held, splits, stalls, conversion_ns
FROM pareto_front
WHERE capture = $capture AND sweep <> 'replay run'
ORDER BY ALL;
