SELECT DISTINCT pfn // $block_pages AS block
FROM split JOIN strategy_summary USING (run_id)
WHERE capture = $capture AND leaf LIKE '%M' AND cause <> 'warm_up'
ORDER BY block;
