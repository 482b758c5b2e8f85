SELECT severity, what, cpu, value, pct_of_events, explanation
FROM data_quality
WHERE capture = $capture
ORDER BY severity DESC, what, cpu;
