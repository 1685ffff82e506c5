// SPDX-License-Identifier: GPL-2.0
/*
 * Clients: the modules whose code calls
 *
 * Known by what the kernel says of their coming and going, and not by an address that may have a
 * new owner by the time it is printed. The functions of a stack are named when it is printed, but
 * for those whose memory goes before: of these the names are kept. Modules that were loaded before
 * this one, and so cannot be linked to it, are not known.
 *
 * Lock: clients_lock, innermost, guards both lists; who only looks does so under RCU.
 */

/* A module */
struct client {
	struct list_head list;	/* in clients */
	struct module *module;	/* it is */
	bool coming;		/* its __init functions are still there */
	struct rcu_head rcu;	/* of its end */
};

/* A function whose memory goes, or has gone */
struct frame {
	struct list_head list;		/* in frames; it stays there */
	const struct client *client;	/* whose it is, as long as @address is its own */
	unsigned long address;		/* in it */
	char name[];			/* of it; the address of this stands for it in stacks */
};

static LIST_HEAD(clients);
static LIST_HEAD(frames);
static DEFINE_SPINLOCK(clients_lock);
static unsigned int nr_coming;		/* clients_lock */

/* Whose code is at an address; NULL for the kernel's own. Under RCU. */
static struct client *client_of(unsigned long address)
{
	struct client *client;

	list_for_each_entry_rcu(client, &clients, list)
		if (within_module(address, client->module))
			return client;
	return NULL;
}

static struct frame *frame_known(const struct client *client, unsigned long address)
{
	struct frame *frame;

	list_for_each_entry_rcu(frame, &frames, list)
		if (READ_ONCE(frame->client) == client && READ_ONCE(frame->address) == address)
			return frame;
	return NULL;
}

/* Names are kept once, however often a module is loaded. */
static struct frame *frame_named(const char *name)
{
	struct frame *frame;

	lockdep_assert_held(&clients_lock);
	list_for_each_entry(frame, &frames, list)
		if (!strcmp(frame->name, name))
			return frame;
	frame = kzalloc(struct_size(frame, name, strlen(name) + 1), GFP_NOWAIT | __GFP_NOWARN);
	if (!frame)
		return NULL;
	strcpy(frame->name, name);
	list_add_tail_rcu(&frame->list, &frames);
	return frame;
}

static struct frame *frame_new(const struct client *client, unsigned long address)
{
	char name[KSYM_SYMBOL_LEN];
	struct frame *frame;
	unsigned long irq;

	sprint_symbol(name, address);
	spin_lock_irqsave(&clients_lock, irq);
	frame = frame_named(name);
	if (frame) {
		WRITE_ONCE(frame->address, address);
		WRITE_ONCE(frame->client, client);
	}
	spin_unlock_irqrestore(&clients_lock, irq);
	return frame;
}

/*
 * Has a stack keep the names of __init functions, and of all of @going, or 0 where there is no
 * memory for one; whether it has any.
 */
static bool frames_keep(unsigned long *entries, unsigned int nr, const struct module *going)
{
	struct client *client;
	struct frame *frame;
	bool any = false;
	unsigned int i;

	if (likely(!READ_ONCE(nr_coming) && !going))
		return false;
	rcu_read_lock();
	for (i = 0; i < nr; i++) {
		client = client_of(entries[i]);
		if (!client || (client->module != going &&
				!(READ_ONCE(client->coming) &&
				  within_module_init(entries[i], client->module))))
			continue;
		frame = frame_known(client, entries[i]) ?: frame_new(client, entries[i]);
		entries[i] = frame ? (unsigned long)frame->name : 0;
		any = true;
	}
	rcu_read_unlock();
	return any;
}

/* The name of an entry of a stack; in @text, of KSYM_SYMBOL_LEN bytes, if it is not kept. */
static const char *frame_name(unsigned long entry, char *text)
{
	struct frame *frame;
	const char *name = NULL;

	rcu_read_lock();
	list_for_each_entry_rcu(frame, &frames, list)
		if (entry == (unsigned long)frame->name)
			name = frame->name;
	rcu_read_unlock();
	if (!name)
		sprint_symbol(text, entry);
	return name ?: text;
}

#ifdef CONFIG_MODULES
static void client_new(struct module *module)
{
	struct client *client = kzalloc(sizeof(*client), GFP_KERNEL);

	if (!client)
		return;
	client->module = module;
	client->coming = true;
	spin_lock_irq(&clients_lock);
	nr_coming++;
	list_add_rcu(&client->list, &clients);
	spin_unlock_irq(&clients_lock);
}

/* Follows a module's life: @state is what it enters. */
static void client_follow(struct module *module, unsigned long state)
{
	struct client *client, *next;
	struct frame *frame;

	if (state == MODULE_STATE_COMING)
		return client_new(module);
	spin_lock_irq(&clients_lock);
	list_for_each_entry_safe(client, next, &clients, list) {
		if (client->module != module)
			continue;
		/* Others may get the addresses of its __init functions. */
		nr_coming -= client->coming;
		WRITE_ONCE(client->coming, false);
		list_for_each_entry(frame, &frames, list)
			if (frame->client == client)
				WRITE_ONCE(frame->client, NULL);
		if (state == MODULE_STATE_GOING) {
			list_del_rcu(&client->list);
			kfree_rcu(client, rcu);
		}
	}
	spin_unlock_irq(&clients_lock);
}
#endif

static void clients_exit(void)
{
	struct client *client, *next_client;
	struct frame *frame, *next;

	list_for_each_entry_safe(client, next_client, &clients, list)
		kfree(client);
	list_for_each_entry_safe(frame, next, &frames, list)
		kfree(frame);
}
