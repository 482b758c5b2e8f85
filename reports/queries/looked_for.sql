SELECT what, explanation
FROM data_quality
WHERE capture = $capture AND value = 0 AND severity = 'info'
ORDER BY what;
