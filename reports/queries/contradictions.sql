SELECT what, cause, pages, sum(pages) OVER (PARTITION BY cause)::BIGINT AS pages_by_cause, explained, explanation
FROM contradiction JOIN capture USING (capture_id)
WHERE capture.name = $capture
ORDER BY explained, pages DESC, what, cause;
