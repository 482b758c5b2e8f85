SELECT run, quantity, page_order, kernel, exact, exact_allowed, exact_holds, ordinary, blind_kernel_low, blind_kernel_high, blind, blind_allowed, blind_holds
FROM pool_validation_by_quantity;
