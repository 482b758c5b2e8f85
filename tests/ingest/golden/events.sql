SELECT seq, ts_ns, cpu, pid, comm, kind, pfn, page_order AS "order", migratetype AS mt, gfp_text, gfp_flags,
       array_to_string(frames, ' < ') AS stack, page_event.consumer, page_event.level, page_event.role
FROM page_event LEFT JOIN stack USING (capture_id, stack_id) ORDER BY seq
