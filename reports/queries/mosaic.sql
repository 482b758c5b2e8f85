WITH piece AS (
    -- Leaves are named here as with 4K pages; those of 16K and 64K pages (32M, 512M) are what 2M is.
    -- The direct map in cells of $cell_pages pages, as runs of equal neighbours: the smallest leaf in a cell, and how much of it is keyed.
    SELECT run_id, strategy, leaf, keyed, first_pfn, last_pfn,
           unnest(range(first_pfn // $cell_pages, last_pfn // $cell_pages + 1)) AS cell
    FROM direct_map JOIN strategy_summary USING (run_id)
    WHERE capture = $capture AND moment = 'end'),
cell AS (
    SELECT strategy, cell, min(CASE WHEN leaf LIKE '%K' THEN 1 WHEN leaf LIKE '%M' THEN 2 ELSE 3 END) AS leaf,
           coalesce(sum(least(last_pfn, (cell + 1) * $cell_pages - 1) - greatest(first_pfn, cell * $cell_pages) + 1) FILTER (keyed), 0)
               AS keyed_pages
    FROM piece GROUP BY strategy, cell),
kind AS (
    SELECT strategy, cell, CASE leaf WHEN 1 THEN '4K' WHEN 2 THEN '2M' ELSE '1G' END AS leaf,
           CASE WHEN keyed_pages = 0 THEN 'none' WHEN keyed_pages < $cell_pages THEN 'part' ELSE 'all' END AS keyed
    FROM cell)
SELECT strategy, leaf, keyed, min(cell) AS first_cell, max(cell) AS last_cell
FROM (SELECT *, cell - row_number() OVER (PARTITION BY strategy, leaf, keyed ORDER BY cell) AS island FROM kind)
GROUP BY strategy, leaf, keyed, island
ORDER BY strategy <> 'unprotected', strategy, first_cell;
