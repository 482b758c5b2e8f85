SELECT strategy, family, colour, line, marker
FROM strategy
ORDER BY strategy;
