SELECT strategy, costs, break_even.pte_share, conversion_share, pte_mapped_conversion_share, break_even_share, break_even_share_least,
       break_even_share_least - break_even.pte_share AS margin_share
FROM break_even JOIN capture USING (capture_id)
WHERE capture.name = $capture
ORDER BY costs <> 'built-in', costs, strategy;
