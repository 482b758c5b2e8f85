-- How much recordings of one workload differ: what /proc showed before and after each, by the quantities of table
-- validation. For a warehouse with the bundles WORKLOAD-1, WORKLOAD-2, ... of record.sh.
WITH value AS (
    SELECT capture_id, moment, 'free_blocks' AS quantity, zone, page_order, blocks AS value
    FROM free_blocks WHERE migratetype IS NULL
    UNION ALL SELECT capture_id, moment, 'free_pages', zone, NULL, blocks << page_order
    FROM free_blocks WHERE migratetype IS NULL
    UNION ALL SELECT capture_id, moment, 'huge_blocks_free', zone, NULL, blocks << (page_order - 9)
    FROM free_blocks WHERE migratetype IS NULL AND page_order >= 9
    UNION ALL SELECT capture_id, moment, lower(migratetype::VARCHAR) || '_pageblocks', zone, NULL, blocks FROM pageblocks
    UNION ALL SELECT capture_id, moment, 'pcp_pages', zone, NULL, value FROM pageset WHERE name = 'count'
    UNION ALL SELECT capture_id, moment, 'page_table_pages', NULL, NULL, value
    FROM snapshot_value WHERE source = 'vmstat' AND name = 'nr_page_table_pages'
)
SELECT regexp_extract(name, '(.*)-\d+$', 1) AS workload, regexp_extract(name, '\d+$') AS recording,
       quantity, zone, page_order,
       sum(value) FILTER (moment = 'before')::BIGINT AS "before", sum(value) FILTER (moment = 'after')::BIGINT AS "after"
FROM value JOIN capture USING (capture_id)
GROUP BY ALL
HAVING "before" > 0 OR "after" > 0
ORDER BY ALL
