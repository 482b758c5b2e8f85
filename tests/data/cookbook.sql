-- A capture with a little of everything, for the recipes of docs/cookbook.md.
INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'server-16g' AS name, 's' AS source, 'h' AS sha256, 'ftrace' AS format,
    '6.12' AS kernel_release, 'x86_64' AS arch, 4096 AS page_size, 1 AS cpus, 4194304 AS total_pages, 'real' AS timing,
    0 AS first_ns, 2000000000 AS last_ns, 4 AS events, 0 AS lost_events, true AS has_stacks, 'v' AS code_version;
INSERT INTO stack VALUES ('c', 0, ['__alloc_pages', 'pte_alloc_one'], 'pgtable_user', 'pte', 'linked');
INSERT INTO task VALUES ('c', 0, 7, 'sh');
INSERT INTO call (capture_id, call_id, kind, page_order, stack_id, consumer, level) VALUES
    ('c', 0, 'alloc', 0, 0, 'pgtable_user', 'pte'), ('c', 1, 'free', 0, NULL, 'pgtable_user', 'pte');
INSERT INTO event VALUES (0, 0, 0, 100, 0, 0), (1, 10, 0, 101, 0, 0), (2, 1500000000, 0, 100, 0, 1);
INSERT INTO import_stat VALUES ('c', 'frees_unknown', 'notice', NULL, 1, 'Frees of pages never seen allocated');
INSERT INTO free_blocks VALUES ('c', 'before', 0, 'Normal', NULL, 9, 5);
INSERT INTO snapshot_value VALUES ('c', 'before', 'zoneinfo', 'Node 0, zone Normal, managed', 4000000);
INSERT INTO run BY NAME SELECT unnest(['p', 'r']) AS run_id, 'c' AS capture_id, unnest(['pba', 'reserve-block']) AS strategy,
    '{}' AS params, true AS is_default, 'recorded' AS machine, 'none' AS reclaim, 1 AS copies, 0 AS seed,
    'v' AS code_version, [] AS assumptions;
INSERT INTO run_metric VALUES ('p', 'refills', 5, 'refills'), ('r', 'refills', 7, 'refills'), ('p', 'splits_2m', 1, 'splits'),
    ('r', 'splits_2m', 1, 'splits'), ('p', 'permission_changes', 3, 'calls'), ('p', 'ptp_nulls', 0, 'requests');
INSERT INTO run_order SELECT 'p', 9, 4, 1, 1, 1, 1, 0, 0, 0, 0, 1;
INSERT INTO timeline VALUES ('p', 0, 'reserve_low', 4), ('p', 1000000000, 'reserve_low', 2);
INSERT INTO split VALUES ('p', 1000000000, 512, '2M', 'split', 'refill');
INSERT INTO direct_map VALUES ('p', 'end', 0, 1023, '2M', false);
INSERT INTO validation BY NAME SELECT 'c' AS capture_id, 'free_blocks' AS quantity, 'Normal' AS zone, 9 AS page_order,
    5 AS recorded_before, 50 AS recorded_after, 90 AS predicted, 40 AS model_error, 32 AS allowed_error
