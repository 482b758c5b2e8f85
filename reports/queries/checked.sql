SELECT strategy, is_default AS default_parameters, params, tasks, outside_tables, holds, complete, depth, steps, kind, array_to_string(way, '; ') AS shortest_way, states
FROM strategy_check
ORDER BY strategy, is_default DESC, params, tasks, outside_tables;
