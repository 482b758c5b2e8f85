// SPDX-License-Identifier: GPL-2.0
/* No pool: no key, or the key for each table. replay/strategies/unprotected.py, pte_mapped.py, ctor_naive.py */
#include "pools.h"

const struct strategy unprotected = { .name = "unprotected", .parameters = "" };

/* The direct map is in 4K pages: boot option direct_map_4k. */
const struct strategy pte_mapped = { .name = "pte-mapped", .parameters = "", .key_each = true };

/* A constructor that would split is not entered: it is counted, and the table stays without the key. */
const struct strategy ctor_naive = { .name = "ctor-naive", .parameters = "", .key_each = true, .recurses = true };
