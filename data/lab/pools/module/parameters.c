// SPDX-License-Identifier: GPL-2.0
/* Parameters of a strategy: NAME=VALUE, with the names that replay/strategies/ gives them; orders in turn are 9-4-2. */
#include "pools.h"
#include <linux/seq_file.h>
#include <linux/slab.h>

static const struct {
	const char *name;
	int *value;
} names[] = {
#define NAME(what) { #what, &p.what }
	NAME(reserve), NAME(block_order), NAME(last_order), NAME(mutex), NAME(magazine_order),
	NAME(unshrinkable), NAME(shrink_block_min), NAME(shrink_batch), NAME(looks), NAME(isolates), NAME(spare_blocks),
	NAME(keep), NAME(kernel_tables), { "refill_orders", p.refill_orders },
};

static int set_parameter(const char *name, const char *value, const char *known)
{
	char wanted[32];

	snprintf(wanted, sizeof(wanted), "%s=", name);
	if (strcmp(name, "kernel_tables") && !strstr(known, wanted))
		return -EINVAL;
	for (int i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i].name, name))
			continue;
		if (names[i].value != p.refill_orders)
			return kstrtoint(value, 0, names[i].value);
		for (p.refill_orders_count = 0; *value && p.refill_orders_count < 4; value += *value == '-') {
			char *end;

			p.refill_orders[p.refill_orders_count++] = simple_strtol(value, &end, 10);
			value = end;
		}
		return 0;
	}
	return -EINVAL;
}

int set_parameters(const char *from, const char *separator, const char *known)
{
	char *text = kstrdup(from, GFP_KERNEL), *at = text, *pair;
	int error = text ? 0 : -ENOMEM;

	while (!error && (pair = strsep(&at, separator))) {
		char *name = strsep(&pair, "=");

		if (*name)
			error = pair ? set_parameter(name, pair, known) : -EINVAL;
		if (error)
			pr_err("%s has no parameter %s\n", s->name, name);
	}
	kfree(text);
	return error;
}

/* One line: those that the strategy has, as set= would set them. */
void print_parameters(struct seq_file *m)
{
	seq_printf(m, "parameters kernel_tables=%d", p.kernel_tables);
	for (int i = 0; i < ARRAY_SIZE(names); i++) {
		char wanted[32];

		snprintf(wanted, sizeof(wanted), "%s=", names[i].name);
		if (names[i].value == &p.kernel_tables || !strstr(s->parameters, wanted))
			continue;
		seq_printf(m, " %s%d", wanted, *names[i].value);
		if (names[i].value == p.refill_orders)
			for (int o = 1; o < p.refill_orders_count; o++)
				seq_printf(m, "-%d", p.refill_orders[o]);
	}
	seq_putc(m, '\n');
}
