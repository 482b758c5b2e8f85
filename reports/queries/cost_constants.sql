SELECT costs, cost_constant.name AS constant, low, typical, high, cost_constant.source
FROM cost_constant JOIN capture ON cost_constant.arch = if(capture.arch = 'aarch64', 'aarch64', 'x86_64')
WHERE capture.name = $capture
ORDER BY costs <> 'built-in', costs, constant;
