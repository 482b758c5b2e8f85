SELECT DISTINCT capture
FROM strategy_summary
ORDER BY capture;
