SELECT assumption, CASE WHEN count(*) = any_value(replayed) THEN 'all' ELSE string_agg(strategy, ', ' ORDER BY strategy) END AS strategies
FROM (SELECT strategy, unnest(assumptions) AS assumption, count(*) OVER () AS replayed
      FROM provenance WHERE capture = $capture AND is_default)
GROUP BY assumption
ORDER BY strategies <> 'all', assumption;
