SELECT zone, page_order, recorded_before, recorded_after, predicted, predicted_low, predicted_high
FROM validation JOIN capture USING (capture_id)
WHERE capture.name = $capture AND quantity = 'free_blocks' AND page_order IS NOT NULL
ORDER BY zone, page_order;
