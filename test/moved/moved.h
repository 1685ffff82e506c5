/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MOVED_H
#define _MOVED_H

#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/types.h>

#define CHECK(condition) do {							\
	if (!(condition)) {							\
		pr_err("%s: line %d: %s\n", __FILE__, __LINE__, #condition);	\
		moved_failures++;						\
	}									\
} while (0)

extern int moved_failures;
extern void (*const frees_of_other_file[4])(const void *memory);

int moved_init(void);
void moved_exit(void);
int in_other_file(void);
void other_file_ends(void);
void with_given_prefix(void);
void *others_thing(size_t size);
void others_end(const void *thing);
void what_the_core_frees(void);
void newer_calls(void);

/* With members that have the names of calls. */
struct label {
	char *text;
	size_t ksize;
	void (*kfree)(const void *memory);
};

/* What a header brings inline. */
static inline struct label *label_new(const char *text)
{
	struct label *label = kzalloc(sizeof(*label), GFP_KERNEL);

	if (!label)
		return NULL;
	label->text = kstrdup(text, GFP_KERNEL);
	label->ksize = strlen(text) + 1;
	label->kfree = kfree;
	return label;
}

static inline void label_end(struct label *label)
{
	label->kfree(label->text);
	kfree(label);
}

struct label *library_label(const char *text);

static inline bool is_filled(const void *memory, int byte, size_t size)
{
	return memory && !memchr_inv(memory, byte, size);
}

#endif
