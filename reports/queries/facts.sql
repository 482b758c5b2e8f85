SELECT *
FROM strategy_summary
WHERE capture = $capture
ORDER BY strategy <> 'unprotected', strategy;
