SELECT strategy, run_id, params, machine, copies, seed, replayed_by
FROM provenance
WHERE capture = $capture AND is_default
ORDER BY strategy <> 'unprotected', strategy;
