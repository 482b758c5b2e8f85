SELECT metric, unit, meaning
FROM metric_glossary
ORDER BY rowid;
