SELECT strategy.strategy, title
FROM strategy ANTI JOIN (SELECT strategy FROM strategy_summary WHERE capture = $capture) AS there USING (strategy)
ORDER BY strategy.strategy;
