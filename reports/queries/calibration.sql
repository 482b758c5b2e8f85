SELECT split_part(cpu, ' (', 1) || ', ' || kernel || if(virtual IS NULL, '', ', virtual machine') AS machine, quantity, page_bytes,
       working_set_bytes, busy_cpus, low, median, high, unit
FROM calibration JOIN calibration_value USING (calibration_id)
WHERE quantity IN ('penalty', 'permission_change')
ORDER BY made_at DESC, machine, quantity, page_bytes, working_set_bytes, busy_cpus;
