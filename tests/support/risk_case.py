"""A capture as a warehouse has it, for tests of results on it."""


def add_capture(connection):
    connection.execute(
        "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'mine' AS name, '' AS source, '' AS sha256, 'ftrace' AS format, "
        "4096 AS page_size, 1 AS cpus, 'real' AS timing, 0 AS first_ns, 9 AS last_ns, 0 AS events, 0 AS lost_events, "
        "false AS has_stacks, '' AS code_version"
    )
