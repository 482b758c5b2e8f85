SELECT variant, refills_of, cpus_at_1_us, cpus_at_10_us, cpus_at_100_us, held_by_16_bytes, held_by_64_bytes, held_by_256_bytes
FROM contention_limit
WHERE capture = $capture;
