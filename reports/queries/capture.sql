-- Without a recorded page size a replay takes 4K pages, and says so; the memory's size is then unknown.
SELECT name, kernel_release, arch, cpus, page_bytes(page_size) AS page_size,
       if(page_size IS NULL, NULL, total_pages) AS total_pages, (total_pages * page_size / 1048576)::BIGINT AS memory_mib,
       (last_ns - first_ns) / 1e9 AS seconds, events, lost_events, has_stacks, platform, timing, clock, format, source, sha256,
       code_version AS imported_by,
       window_from_ns IS NOT NULL OR window_to_ns IS NOT NULL AS in_part
FROM capture
WHERE name = $capture;
