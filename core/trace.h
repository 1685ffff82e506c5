/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints blockslab:*. Their fields:
 *
 *	call_site	where blockslab was called from; 0 of a free that was deferred
 *	heap		name of the heap
 *	slot		address that the caller holds (printed hashed, as all are)
 *	size		bytes asked for; of a fault, bytes of a slot
 *	slot_size	bytes of a slot of the class; 0 of one of whole pages, which
 *			blockslab_alloc and blockslab_free give in bytes
 *	gfp		flags of the request
 *	node		NUMA node
 *	order		of the block: it has 2^order pages
 *	nr		how many slots
 *	bytes		that were asked of the heap's limit
 *	held, limit	bytes
 *	what		the fault, as the log has it
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM blockslab

#if !defined(_BLOCKSLAB_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _BLOCKSLAB_TRACE_H

#include <linux/tracepoint.h>
#include <trace/events/mmflags.h>

/* Called while one of the hot tracepoints gets its first user, or loses its last. */
int blockslab_trace_on(void);
void blockslab_trace_off(void);

/* An allocation was served: size as asked for, and of the slot. */
TRACE_EVENT_FN(blockslab_alloc,
	       TP_PROTO(unsigned long call_site, const char *heap, const void *slot, size_t size,
			size_t slot_size, gfp_t gfp),
	       TP_ARGS(call_site, heap, slot, size, slot_size, gfp),
	       TP_STRUCT__entry(__field(unsigned long, call_site)
				__array(char, heap, 32)
				__field(const void *, slot)
				__field(size_t, size)
				__field(size_t, slot_size)
				__field(unsigned long, gfp)),
	       TP_fast_assign(__entry->call_site = call_site;
			      strscpy(__entry->heap, heap, sizeof(__entry->heap));
			      __entry->slot = slot;
			      __entry->size = size;
			      __entry->slot_size = slot_size;
			      __entry->gfp = (__force unsigned long)gfp;),
	       TP_printk("call_site=%pS heap=%s slot=%p size=%zu slot_size=%zu gfp=%s",
			 (void *)__entry->call_site, __entry->heap, __entry->slot, __entry->size,
			 __entry->slot_size, show_gfp_flags(__entry->gfp)),
	       blockslab_trace_on, blockslab_trace_off);

/* A slot came back from its owner. */
TRACE_EVENT_FN(blockslab_free,
	       TP_PROTO(unsigned long call_site, const char *heap, const void *slot,
			size_t slot_size),
	       TP_ARGS(call_site, heap, slot, slot_size),
	       TP_STRUCT__entry(__field(unsigned long, call_site)
				__array(char, heap, 32)
				__field(const void *, slot)
				__field(size_t, slot_size)),
	       TP_fast_assign(__entry->call_site = call_site;
			      strscpy(__entry->heap, heap, sizeof(__entry->heap));
			      __entry->slot = slot;
			      __entry->slot_size = slot_size;),
	       TP_printk("call_site=%pS heap=%s slot=%p slot_size=%zu",
			 (void *)__entry->call_site, __entry->heap, __entry->slot,
			 __entry->slot_size),
	       blockslab_trace_on, blockslab_trace_off);

DECLARE_EVENT_CLASS(blockslab_block,
		    TP_PROTO(const char *heap, size_t slot_size, int node, unsigned int order),
		    TP_ARGS(heap, slot_size, node, order),
		    TP_STRUCT__entry(__array(char, heap, 32)
				     __field(size_t, slot_size)
				     __field(int, node)
				     __field(unsigned int, order)),
		    TP_fast_assign(strscpy(__entry->heap, heap, sizeof(__entry->heap));
				   __entry->slot_size = slot_size;
				   __entry->node = node;
				   __entry->order = order;),
		    TP_printk("heap=%s slot_size=%zu node=%d order=%u", __entry->heap,
			      __entry->slot_size, __entry->node, __entry->order));

/* A class got a block from the page allocator, or gave one back. */
DEFINE_EVENT(blockslab_block, blockslab_block_get,
	     TP_PROTO(const char *heap, size_t slot_size, int node, unsigned int order),
	     TP_ARGS(heap, slot_size, node, order));

DEFINE_EVENT(blockslab_block, blockslab_block_put,
	     TP_PROTO(const char *heap, size_t slot_size, int node, unsigned int order),
	     TP_ARGS(heap, slot_size, node, order));

DECLARE_EVENT_CLASS(blockslab_move,
		    TP_PROTO(const char *heap, size_t slot_size, int node, unsigned int nr),
		    TP_ARGS(heap, slot_size, node, nr),
		    TP_STRUCT__entry(__array(char, heap, 32)
				     __field(size_t, slot_size)
				     __field(int, node)
				     __field(unsigned int, nr)),
		    TP_fast_assign(strscpy(__entry->heap, heap, sizeof(__entry->heap));
				   __entry->slot_size = slot_size;
				   __entry->node = node;
				   __entry->nr = nr;),
		    TP_printk("heap=%s slot_size=%zu node=%d nr=%u", __entry->heap,
			      __entry->slot_size, __entry->node, __entry->nr));

/* nr slots went from blocks to a magazine, or back. */
DEFINE_EVENT(blockslab_move, blockslab_refill,
	     TP_PROTO(const char *heap, size_t slot_size, int node, unsigned int nr),
	     TP_ARGS(heap, slot_size, node, nr));

DEFINE_EVENT(blockslab_move, blockslab_flush,
	     TP_PROTO(const char *heap, size_t slot_size, int node, unsigned int nr),
	     TP_ARGS(heap, slot_size, node, nr));

/* A heap was refused bytes that would have taken it over its limit. */
TRACE_EVENT(blockslab_limit_hit,
	    TP_PROTO(const char *heap, size_t bytes, size_t held, size_t limit),
	    TP_ARGS(heap, bytes, held, limit),
	    TP_STRUCT__entry(__array(char, heap, 32)
			     __field(size_t, bytes)
			     __field(size_t, held)
			     __field(size_t, limit)),
	    TP_fast_assign(strscpy(__entry->heap, heap, sizeof(__entry->heap));
			   __entry->bytes = bytes;
			   __entry->held = held;
			   __entry->limit = limit;),
	    TP_printk("heap=%s bytes=%zu held=%zu limit=%zu", __entry->heap, __entry->bytes,
		      __entry->held, __entry->limit));

/* A fault was found and refused; heap and size are empty and 0 where they are not known. */
TRACE_EVENT(blockslab_fault,
	    TP_PROTO(const char *what, const void *slot, const char *heap, size_t size),
	    TP_ARGS(what, slot, heap, size),
	    TP_STRUCT__entry(__array(char, what, 32)
			     __field(const void *, slot)
			     __array(char, heap, 32)
			     __field(size_t, size)),
	    TP_fast_assign(strscpy(__entry->what, what, sizeof(__entry->what));
			   __entry->slot = slot;
			   strscpy(__entry->heap, heap, sizeof(__entry->heap));
			   __entry->size = size;),
	    TP_printk("what=\"%s\" slot=%p heap=%s slot_size=%zu", __entry->what, __entry->slot,
		      __entry->heap, __entry->size));

#endif /* _BLOCKSLAB_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH core
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
