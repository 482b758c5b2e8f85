SELECT strategy, settings, tasks, depth, holds, complete, kind, broken_tasks, broken_with_others, steps
FROM strategy_search JOIN strategy USING (strategy)
WHERE family <> 'baseline'
ORDER BY holds, kind, steps, strategy, settings;
