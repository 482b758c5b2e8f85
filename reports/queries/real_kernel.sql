SELECT strategy, runs, judged AS predictions, holding AS hold, CASE WHEN runs IS NULL THEN 'not validated' END AS note
FROM strategy LEFT JOIN strategy_validation USING (strategy)
WHERE strategy <> 'oracle' AND EXISTS (FROM strategy_validation)
ORDER BY runs IS NULL, hold / predictions, strategy;
