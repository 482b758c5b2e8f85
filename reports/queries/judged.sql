SELECT count(holds) AS judged, count(*) FILTER (holds) AS holding
FROM validation_verdict
WHERE capture = $capture;
