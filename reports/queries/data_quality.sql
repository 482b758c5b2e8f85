SELECT severity, what, cpu, value, pct_of_events, explanation
FROM data_quality
WHERE capture = $capture AND (value > 0 OR severity <> 'info')
ORDER BY severity DESC, what, cpu;
