WITH constant AS (
    -- 1 GiB in 4K pages has 512 tables of PTEs, and one each of PMDs, PUDs and a PGD. `predicted` uses the constants as they
    -- are; `fitted` is the price of a key change that the posted difference asks for. One CPU's share of a flush only: how many
    -- CPUs the posting's machine has, it does not say.
    SELECT {low: sum(low), typical: sum(typical), high: sum(high)} AS change
    FROM cost_constant WHERE costs = 'built-in' AND arch = 'aarch64' AND name IN ('change_ns', 'flush_base_ns')
), fork AS (
    SELECT low, typical, high FROM cost_constant WHERE costs = 'built-in' AND arch = 'aarch64' AND name = 'fork_ns'
)
SELECT benchmark, value AS posted_points, 100 * 515 * change.low / fork.high AS predicted_points_low,
       100 * 515 * change.typical / fork.typical AS predicted_points, 100 * 515 * change.high / fork.low AS predicted_points_high,
       posted_points BETWEEN predicted_points_low AND predicted_points_high AS agrees,
       value / 100 * fork.low / 515 AS fitted_low_ns, value / 100 * fork.typical / 515 AS fitted_ns,
       value / 100 * fork.high / 515 AS fitted_high_ns, source
FROM published_measurement, constant, fork
WHERE topic = 'conversion' AND unit = 'percentage points' AND benchmark LIKE 'micromm/fork 1 GB, h:0%';
