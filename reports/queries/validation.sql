SELECT quantity, zone, page_order, recorded_before, recorded_after, predicted, null_error, model_error, allowed_error,
       predicted_low, predicted_high
FROM validation JOIN capture USING (capture_id)
WHERE capture.name = $capture AND (null_error > 0 OR model_error > 0)
ORDER BY quantity, zone, page_order;
