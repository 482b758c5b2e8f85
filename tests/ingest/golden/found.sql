SELECT name, severity, cpu, value FROM import_stat WHERE value > 0 ORDER BY name, cpu
