SELECT mapping_scale.arch, mapping_scale.measurements, mapping_scale.low_pct, mapping_scale.median_pct, mapping_scale.high_pct, platforms
FROM mapping_basis JOIN capture USING (capture_id) JOIN mapping_scale ON mapping_scale.arch = mapping_basis.arch AND metric = 'time'
WHERE capture.name = $capture;
