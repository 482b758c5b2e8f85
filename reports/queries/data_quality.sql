SELECT severity, what, cpu, value, pct_of_events, explanation
FROM data_quality
WHERE capture = $capture
ORDER BY value = 0, severity DESC, what, cpu;
