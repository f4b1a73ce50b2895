/* SPDX-License-Identifier: Apache-2.0 */
/* The intrusive list: order, removal while walking, splicing. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/list.h"

struct item {
	char name;
	struct list in;
};

static struct item items[8];

static struct list *node(char name)
{
	struct item *i = &items[name - 'a'];

	i->name = name;
	return &i->in;
}

static void fill(struct list *head, const char *names)
{
	list_init(head);
	for (; *names; names++)
		list_push_back(head, node(*names));
}

/* The list reads as names, forwards and backwards. */
static void check(struct list *head, const char *names)
{
	size_t n = strlen(names), i = 0;

	list_for_each (l, head) {
		assert_true(i < n);
		assert_int_equal(container_of(l, struct item, in)->name, names[i]);
		i++;
	}
	assert_int_equal(i, n);
	for (struct list *l = head->prev; l != head; l = l->prev)
		assert_int_equal(container_of(l, struct item, in)->name, names[--i]);
	assert_int_equal(i, 0);
	assert_int_equal(list_empty(head), n == 0);
}

/* Nodes stand in the order in which they were put, at either end or before another. */
static void test_order(void **state)
{
	struct list head;

	(void)state;
	fill(&head, "");
	check(&head, "");
	fill(&head, "abc");
	check(&head, "abc");
	list_push_front(&head, node('d'));
	check(&head, "dabc");
	list_insert_before(&items[1].in, node('e'));
	check(&head, "daebc");
}

/* A node that was removed is in no list, so it may be removed again or put elsewhere. */
static void test_remove(void **state)
{
	struct list head;

	(void)state;
	fill(&head, "abcd");
	list_remove(&items[1].in);
	check(&head, "acd");
	assert_true(list_empty(&items[1].in));
	list_remove(&items[1].in);
	check(&head, "acd");
	list_push_back(&head, &items[1].in);
	check(&head, "acdb");
	list_remove(&items[0].in);
	list_remove(&items[1].in);
	check(&head, "cd");
}

/* Popping takes from the front and ends with NULL. */
static void test_pop(void **state)
{
	struct list head;

	(void)state;
	fill(&head, "ab");
	assert_ptr_equal(list_pop_front(&head), &items[0].in);
	assert_true(list_empty(&items[0].in));
	assert_ptr_equal(list_pop_front(&head), &items[1].in);
	assert_null(list_pop_front(&head));
	check(&head, "");
}

/* Splicing moves all, in order, and leaves the other list empty and usable. */
static void test_splice(void **state)
{
	struct list to, from;

	(void)state;
	fill(&to, "");
	fill(&from, "");
	list_splice_back(&to, &from);
	check(&to, "");
	fill(&from, "cd");
	list_splice_back(&to, &from);
	check(&to, "cd");
	check(&from, "");
	list_push_back(&from, node('e'));
	list_push_back(&from, node('f'));
	list_splice_back(&to, &from);
	check(&to, "cdef");
	check(&from, "");
	list_splice_back(&to, &from);
	check(&to, "cdef");
}

/* The node at hand may be removed while walking: any subset, and all. */
static void test_remove_while_walking(void **state)
{
	(void)state;
	for (unsigned mask = 0; mask < 32; mask++) {
		char left[8] = "", *at = left;
		struct list head;

		fill(&head, "abcde");
		list_for_each_safe (l, &head) {
			struct item *i = container_of(l, struct item, in);

			if (mask >> (i->name - 'a') & 1)
				list_remove(l);
			else
				*at++ = i->name;
		}
		check(&head, left);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_pop),
		cmocka_unit_test(test_splice),
		cmocka_unit_test(test_remove_while_walking),
	};

	return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
