SELECT what, cause, pages, explained, explanation
FROM contradiction JOIN capture USING (capture_id)
WHERE capture.name = $capture
ORDER BY explained, pages DESC, what, cause;
