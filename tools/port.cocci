// SPDX-License-Identifier: GPL-2.0
// Turns a module's calls of kmalloc() and its kin into calls of blockslab's, typed where the type can
// be told, on a heap named `heap`, which is to be declared and created by hand:
//
//   spatch --sp-file tools/port.cocci --in-place --dir path/to/module
//
// What is freed by kfree() is taken for the module's own: where it may be somebody else's (see
// README, "Moving a module over"), undo that hunk. So do where it comes from kasprintf(), kvasprintf(),
// kstrndup() or kmemdup_nul(), which blockslab has nothing like, and which stay. kvmalloc() and its kin
// stay, too, with kvfree(), and so do caches.

@object@
type T;
T *pointer;
expression gfp;
@@
(
- pointer = kmalloc(sizeof(*pointer), gfp)
+ pointer = blockslab_alloc_obj(heap, *pointer, gfp)
|
- pointer = kzalloc(sizeof(*pointer), gfp)
+ pointer = blockslab_zalloc_obj(heap, *pointer, gfp)
|
- pointer = kmalloc(sizeof(T), gfp)
+ pointer = blockslab_alloc_obj(heap, T, gfp)
|
- pointer = kzalloc(sizeof(T), gfp)
+ pointer = blockslab_zalloc_obj(heap, T, gfp)
)

@assigned@
expression pointer;
expression gfp;
@@
(
- pointer = kmalloc(sizeof(*pointer), gfp)
+ pointer = blockslab_alloc_obj(heap, *pointer, gfp)
|
- pointer = kzalloc(sizeof(*pointer), gfp)
+ pointer = blockslab_zalloc_obj(heap, *pointer, gfp)
)

@declared@
type T;
identifier pointer;
expression gfp;
@@
(
- T *pointer = kmalloc(sizeof(*pointer), gfp);
+ T *pointer = blockslab_alloc_obj(heap, *pointer, gfp);
|
- T *pointer = kzalloc(sizeof(*pointer), gfp);
+ T *pointer = blockslab_zalloc_obj(heap, *pointer, gfp);
)

@array@
expression pointer, count, gfp;
@@
(
- pointer = kmalloc_array(count, sizeof(*pointer), gfp)
+ pointer = blockslab_alloc_objs(heap, *pointer, count, gfp)
|
- pointer = kcalloc(count, sizeof(*pointer), gfp)
+ pointer = blockslab_zalloc_objs(heap, *pointer, count, gfp)
)

@flexible@
expression pointer, count, gfp;
identifier tail;
@@
(
- pointer = kmalloc(struct_size(pointer, tail, count), gfp)
+ pointer = blockslab_alloc_flex(heap, *pointer, tail, count, gfp)
|
- pointer = kzalloc(struct_size(pointer, tail, count), gfp)
+ pointer = blockslab_zalloc_flex(heap, *pointer, tail, count, gfp)
)

// As newer kernels write it, with a variable or a type; without gfp it is GFP_KERNEL.
@typed@
expression list[1] one;
expression list[2] two;
expression list[3] three;
expression list[4] four;
@@
(
- kmalloc_obj(one)
+ blockslab_alloc_obj(heap, one, GFP_KERNEL)
|
- kmalloc_obj(two)
+ blockslab_alloc_obj(heap, two)
|
- kzalloc_obj(one)
+ blockslab_zalloc_obj(heap, one, GFP_KERNEL)
|
- kzalloc_obj(two)
+ blockslab_zalloc_obj(heap, two)
|
- kmalloc_objs(two)
+ blockslab_alloc_objs(heap, two, GFP_KERNEL)
|
- kmalloc_objs(three)
+ blockslab_alloc_objs(heap, three)
|
- kzalloc_objs(two)
+ blockslab_zalloc_objs(heap, two, GFP_KERNEL)
|
- kzalloc_objs(three)
+ blockslab_zalloc_objs(heap, three)
|
- kmalloc_flex(three)
+ blockslab_alloc_flex(heap, three, GFP_KERNEL)
|
- kmalloc_flex(four)
+ blockslab_alloc_flex(heap, four)
|
- kzalloc_flex(three)
+ blockslab_zalloc_flex(heap, three, GFP_KERNEL)
|
- kzalloc_flex(four)
+ blockslab_zalloc_flex(heap, four)
)

@plain@
expression size, count, gfp, node, from, text;
@@
(
- kmalloc(size, gfp)
+ blockslab_alloc(heap, size, gfp)
|
- kzalloc(size, gfp)
+ blockslab_zalloc(heap, size, gfp)
|
- kmalloc_node(size, gfp, node)
+ blockslab_alloc_node(heap, size, gfp, node)
|
- kzalloc_node(size, gfp, node)
+ blockslab_alloc_node(heap, size, gfp | __GFP_ZERO, node)
|
- kmalloc_array(count, size, gfp)
+ blockslab_alloc_array(heap, count, size, gfp)
|
- kcalloc(count, size, gfp)
+ blockslab_zalloc_array(heap, count, size, gfp)
|
- kmalloc_array_node(count, size, gfp, node)
+ blockslab_alloc_node(heap, array_size(count, size), gfp, node)
|
- kcalloc_node(count, size, gfp, node)
+ blockslab_alloc_node(heap, array_size(count, size), gfp | __GFP_ZERO, node)
|
- krealloc(from, size, gfp)
+ blockslab_realloc(heap, from, size, gfp)
|
- krealloc_array(from, count, size, gfp)
+ blockslab_realloc(heap, from, array_size(count, size), gfp)
|
- kmemdup(from, size, gfp)
+ blockslab_memdup(heap, from, size, gfp)
|
- kstrdup(text, gfp)
+ blockslab_strdup(heap, text, gfp)
)

@freed@
expression pointer, count;
identifier head;
@@
(
- kfree(pointer)
+ blockslab_free(pointer)
|
- kfree_sensitive(pointer)
+ blockslab_free_sensitive(pointer)
|
- kfree_rcu(pointer, head)
+ blockslab_free_rcu(pointer)
|
- kfree_rcu(pointer)
+ blockslab_free_rcu(pointer)
|
- kfree_bulk(count, pointer)
+ blockslab_free_bulk(count, pointer)
|
- kfree_rcu_mightsleep(pointer)
+ blockslab_free_rcu(pointer)
|
- ksize(pointer)
+ blockslab_usable_size(pointer)
)
