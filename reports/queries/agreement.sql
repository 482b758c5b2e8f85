WITH whole AS (
    -- The files of a capture imported in part are not of its first and last event.
    -- A block is what a page table of 8-byte entries maps: 2M, or more with larger pages.
    SELECT capture_id, pageblock_order, log2(page_bytes(page_size) // 8)::INTEGER AS huge FROM capture WHERE name = $capture AND window_from_ns IS NULL AND window_to_ns IS NULL),
counted AS (
    -- From the recorded machine's own files before and after the recording.
    SELECT 1 AS place, 'free pages' AS quantity, moment, sum(blocks << page_order) AS value
    FROM free_blocks JOIN whole USING (capture_id) WHERE migratetype IS NULL GROUP BY moment
    UNION ALL SELECT 2, 'free 2M blocks', moment, sum(blocks << (page_order - huge))
    FROM free_blocks JOIN whole USING (capture_id)
    WHERE migratetype IS NULL AND page_order >= huge GROUP BY moment
    UNION ALL SELECT 3, 'Unmovable pageblocks', moment, round(sum(blocks * 2.0 ** (coalesce(pageblock_order, huge) - huge)))::BIGINT
    FROM pageblocks JOIN whole USING (capture_id) WHERE migratetype = 'Unmovable' GROUP BY moment
    UNION ALL SELECT place, quantity, moment, value
    FROM snapshot_value JOIN whole USING (capture_id)
    JOIN (VALUES ('direct_map_level2_splits', 4, '2M splits since boot'),
                 ('direct_map_level3_splits', 5, '1G splits since boot'),
                 ('oom_kill', 6, 'OOM kills since boot')) AS vmstat (name, place, quantity) USING (name)
    WHERE source = 'vmstat'),
recorded AS (
    SELECT place, quantity, max(value) FILTER (moment = 'before') AS recorded_before,
           max(value) FILTER (moment = 'after') AS recorded_after
    FROM counted GROUP BY ALL),
baseline AS (
    SELECT * FROM strategy_summary WHERE capture = $capture AND strategy = 'unprotected')
SELECT quantity, recorded_before::BIGINT AS recorded_before, recorded_after::BIGINT AS recorded_after,
       CASE place WHEN 1 THEN (SELECT arg_max(value, t_ns) FROM timeline JOIN baseline USING (run_id)
                               WHERE metric = 'free_pages')
                  WHEN 2 THEN (SELECT huge_blocks_free_end FROM baseline)
                  WHEN 3 THEN (SELECT unmovable_pageblocks_end FROM baseline)
                  WHEN 4 THEN recorded_before + (SELECT splits_2m FROM baseline)
                  WHEN 5 THEN recorded_before + (SELECT splits_1g FROM baseline)
                  ELSE recorded_before + (SELECT oom_kills FROM baseline) END::BIGINT AS replayed_after
FROM recorded
WHERE recorded_before IS NOT NULL AND recorded_after IS NOT NULL
ORDER BY place;
