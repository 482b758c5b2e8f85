SELECT quantity, zone, page_order, recorded_before, recorded_after, predicted, null_error, model_error, allowed_error, holds, better,
       predicted_low, predicted_high
FROM validation_verdict
WHERE capture = $capture AND (null_error > 0 OR model_error > 0);
