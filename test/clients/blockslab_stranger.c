// SPDX-License-Identifier: GPL-2.0
/*
 * blockslab_stranger: has nothing to do with blockslab, and so much code and data that it comes to
 * lie where others lay that are gone. What happened there is none of its business.
 */
#include <linux/module.h>
#include <linux/sizes.h>

static char room[SZ_2M];

/* Code enough to cover what another module's init code left. */
static noinline void stranger(void)
{
	asm volatile(".rept 40000\n\tnop\n\t.endr");
	WRITE_ONCE(room[1], 1);
}

static int __init blockslab_stranger_init(void)
{
	stranger();
	return 0;
}
module_init(blockslab_stranger_init);

static void __exit blockslab_stranger_exit(void)
{
	stranger();
}
module_exit(blockslab_stranger_exit);

MODULE_DESCRIPTION("A module that does not use blockslab; for guests only");
MODULE_LICENSE("GPL");
