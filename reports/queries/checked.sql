SELECT strategy, coalesce(settings, '') AS settings, strategy_check.tasks, outside_tables, strategy_check.holds, strategy_check.complete, strategy_check.depth,
       strategy_check.kind, strategy_check.steps, array_to_string(way, '; ') AS shortest_way, states
FROM strategy_check JOIN strategy_search USING (strategy, params, is_default)
ORDER BY strategy, is_default DESC, settings, strategy_check.tasks, outside_tables;
