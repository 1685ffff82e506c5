// SPDX-License-Identifier: GPL-2.0
/*
 * blockslabtop - who holds blockslab's memory, live
 *
 * Every few seconds the text files of debugfs/blockslab (or of a snapshot) are read into a table
 * of heaps, joined with the table before it for rates, growth and history, sorted, and turned into
 * lines of wide characters, which go to curses and to stdout alike. The classes of a chosen heap,
 * its callers and its sparse blocks are tables that are treated the same way.
 *
 * Columns of the files are found by their names in the header line, so one more does no harm. A
 * figure that is not known is NAN, and shown as "-". On the screen a column is shown whole or not
 * at all. Slot maps are not read.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <curses.h>
#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define DEBUGFS		"/sys/kernel/debug"
#define DEBUGFS_MAGIC	0x64626720
#define VERSION_LINE	"# blockslab version %d"
#define NEWEST_VERSION	2
#define WORD_SIZE	64	/* of a state, a module's name, a list of CPUs; longer ones are cut */
#define HISTORY		256	/* samples of held memory kept for the sparkline */
#define MAX_DELAY	3600
#define MAX_VALUE	2e19	/* all that 64 bits hold; so that sums and scales stay finite */
#define PAGE		16	/* rows that PgUp and PgDn move */
#define ESCAPE		27
#define WIDE		4000	/* columns of what goes to no terminal */
#define SPARK_WIDTH	8	/* what is left for the sparkline at 80 columns, at least */
#define LAST		99	/* rank of a column that takes what is left */

#ifndef VERSION
#define VERSION		"unknown"
#endif

enum value {
	NAME, SIZE, PER_BLOCK, ORDER, LIMIT, HELD, REQUESTED, SLOTS, BLOCKS, FULL, PARTIAL,
	RETAINED, ALLOCATED, CACHED, FREE, ALLOCS, FREES, FAILS, WASTE, OLDEST, AGE,
	USED_OF, STATE, MODULE, CPUS, STACK, HOLDERS,
	HELD_1M, HELD_10M, HELD_1H, GREW_1M, GREW_10M, GREW_1H,
	ALLOC_RATE, FREE_RATE, FULLNESS, GROWN, NR_VALUES
};

/* Names of the files' columns. */
static const char * const column_names[NR_VALUES] = {
	[NAME] = "name", [SIZE] = "size", [PER_BLOCK] = "slots_per_block", [ORDER] = "order",
	[LIMIT] = "limit", [HELD] = "held", [REQUESTED] = "requested", [SLOTS] = "slots",
	[BLOCKS] = "blocks", [FULL] = "full", [PARTIAL] = "partial", [RETAINED] = "retained",
	[ALLOCATED] = "allocated", [CACHED] = "cached", [FREE] = "free", [ALLOCS] = "allocs",
	[FREES] = "frees", [FAILS] = "fails", [WASTE] = "waste", [OLDEST] = "oldest_ms",
	[AGE] = "age_ms", [USED_OF] = "used/slots", [STATE] = "state", [MODULE] = "module",
	[CPUS] = "cpus", [STACK] = "stack", [HOLDERS] = "holders",
	[HELD_1M] = "held_1m", [HELD_10M] = "held_10m", [HELD_1H] = "held_1h",
};

struct row {
	char *name;			/* of the heap; a class's size, a caller's stack */
	char state[WORD_SIZE];
	char module[WORD_SIZE];
	char cpus[WORD_SIZE];
	double value[NR_VALUES];
	double start;			/* bytes held at first */
	float history[HISTORY];		/* held bytes, oldest first */
	int nr_history;
};

struct table {
	struct row *rows;
	size_t nr;
	double time;
};

enum style { TEXT, BYTES, COUNT, PERCENT, BAR, GROWTH, TIME, FRAMES, SPARK };

struct column {
	const char *title;
	const char *name;		/* for -s */
	char key;
	int width;			/* with the space before it; of TEXT as it needs */
	enum value value;
	enum style style;
	int rank;			/* those with a low one are shown on a narrow screen, too */
};

/* The last takes what is left of a line. */
static const struct column heap_columns[] = {
	{ "HEAP", "name", 'n', 0, NAME, TEXT, 0 },
	{ "STATE", "state", 't', 0, STATE, TEXT, 2 },
	{ "HELD", "held", 'h', 6, HELD, BYTES, 1 },
	{ "GROWN", "grown", 'g', 7, GROWN, GROWTH, 4 },
	{ "LIMIT", "limit", 'l', 6, LIMIT, BYTES, 8 },
	{ "SLOTS", "slots", 's', 6, SLOTS, COUNT, 3 },
	{ "BLOCKS", "blocks", 'b', 7, BLOCKS, COUNT, 7 },
	{ "ALLOC/S", "allocs", 'a', 8, ALLOC_RATE, COUNT, 6 },
	{ "FREE/S", "frees", 'f', 7, FREE_RATE, COUNT, 9 },
	{ "WASTE", "waste", 'w', 7, WASTE, PERCENT, 10 },
	{ "FULL", "full", 'u', 9, FULLNESS, BAR, 5 },
	{ "FAILS", "fails", 'x', 6, FAILS, COUNT, 11 },
	{ "MODULE", "module", 'm', 0, MODULE, TEXT, 12 },
	{ "", NULL, 0, SPARK_WIDTH, HELD, SPARK, LAST },
};

static const struct column class_columns[] = {
	{ "SIZE", "size", 'z', 6, SIZE, COUNT, 0 },
	{ "HELD", "held", 'h', 6, HELD, BYTES, 1 },
	{ "GROWN", "grown", 'g', 7, GROWN, GROWTH, 3 },
	{ "SLOTS", "slots", 's', 6, ALLOCATED, COUNT, 2 },
	{ "CACHED", "cached", 'd', 7, CACHED, COUNT, 6 },
	{ "BLOCKS", "blocks", 'b', 7, BLOCKS, COUNT, 5 },
	{ "PART", "partial", 't', 6, PARTIAL, COUNT, 8 },
	{ "ALLOC/S", "allocs", 'a', 8, ALLOC_RATE, COUNT, 7 },
	{ "FREE/S", "frees", 'f', 7, FREE_RATE, COUNT, 9 },
	{ "WASTE", "waste", 'w', 7, WASTE, PERCENT, 10 },
	{ "FULL", "full", 'u', 9, FULLNESS, BAR, 4 },
	{ "FREE", "free", 'e', 6, FREE, COUNT, 11 },
	{ "FAILS", "fails", 'x', 6, FAILS, COUNT, 12 },
	{ "KEPT", "retained", 'k', 6, RETAINED, COUNT, 13 },
	{ "ORDER", "order", 'o', 6, ORDER, COUNT, 14 },
	{ "/BLOCK", "slots_per_block", 'm', 7, PER_BLOCK, COUNT, 15 },
	{ "", NULL, 0, SPARK_WIDTH, HELD, SPARK, LAST },
};

static const struct column caller_columns[] = {
	{ "HELD", "held", 'h', 6, HELD, BYTES, 0 },
	{ "GROWN", "grown", 'g', 7, GROWN, GROWTH, 1 },
	{ "SLOTS", "slots", 's', 7, SLOTS, COUNT, 2 },
	{ "ASKED", "requested", 'a', 6, REQUESTED, BYTES, 4 },
	{ "OLDEST", "oldest", 'o', 7, OLDEST, TIME, 3 },
	{ "IN 1M", "1m", 'm', 7, GREW_1M, GROWTH, 5 },
	{ "IN 10M", "10m", 't', 7, GREW_10M, GROWTH, 6 },
	{ "IN 1H", "1h", 'u', 7, GREW_1H, GROWTH, 7 },
	{ "CALLED FROM", "stack", 'f', 20, NAME, FRAMES, LAST },
};

static const struct column sparse_columns[] = {
	{ "PINS", "held", 'h', 6, HELD, BYTES, 0 },
	{ "GROWN", "grown", 'g', 7, GROWN, GROWTH, 3 },
	{ "BLOCKS", "blocks", 'b', 7, BLOCKS, COUNT, 1 },
	{ "SLOTS", "slots", 's', 6, SLOTS, COUNT, 4 },
	{ "SIZE", "size", 'z', 6, SIZE, COUNT, 2 },
	{ "OLDEST", "oldest", 'o', 7, OLDEST, TIME, 5 },
	{ "HELD BY", "stack", 'f', 20, NAME, FRAMES, LAST },
};

struct view {
	const char *file;		/* of the heap, which is read for it */
	const struct column *columns;
	size_t nr;
	size_t sort;			/* the column sorted by */
	bool reverse;
	char filter[WORD_SIZE];		/* only rows whose name has this in it are shown */
	size_t shown;			/* how many: they stand first */
	size_t selected;		/* the row under the cursor, */
	char *selected_name;		/* and its name: rows move */
	int widths[ARRAY_SIZE(class_columns)];	/* 0: not shown */
	struct table table;
};

#define VIEW(of, by, from)	{ .file = from, .columns = of, .nr = ARRAY_SIZE(of), .sort = by }

static struct view heaps_view = VIEW(heap_columns, 2, NULL);
static struct view classes_view = VIEW(class_columns, 1, "classes");
static struct view callers_view = VIEW(caller_columns, 0, "callers");
static struct view sparse_view = VIEW(sparse_columns, 0, "sparse");

static struct view *view = &heaps_view;
static struct row total;
static const char *dir = DEBUGFS "/blockslab";
static bool live = true;		/* dir is no snapshot */
static bool curses;			/* the screen is curses' */
static bool coloured;
static bool utf8;
static bool typing;			/* the filter is being typed */
static int help_line = -1;		/* the first one shown of the help, if it is */
static double delay = 3;
static char heap[WORD_SIZE];		/* whose classes, callers or sparse blocks are shown */
static char message[PATH_MAX + 80];

/* Reading */

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void copy_word(char *to, const char *from)
{
	snprintf(to, WORD_SIZE, "%s", from);
}

static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static void clear_row(struct row *row)
{
	int i;

	memset(row, 0, sizeof(*row));
	for (i = 0; i < NR_VALUES; i++)
		row->value[i] = NAN;
	row->start = NAN;
}

static struct row *add_row(struct table *table)
{
	/* Room doubles whenever it is used up, at powers of two. */
	if (!(table->nr & (table->nr - 1))) {
		size_t room = table->nr ? 2 * table->nr : 1;

		table->rows = must(reallocarray(table->rows, room, sizeof(*table->rows)));
	}
	clear_row(&table->rows[table->nr]);
	return &table->rows[table->nr++];
}

static void drop_row(struct table *table)
{
	free(table->rows[--table->nr].name);
}

static void free_table(struct table *table)
{
	while (table->nr)
		drop_row(table);
	free(table->rows);
	memset(table, 0, sizeof(*table));
}

static bool is_live(const struct row *row)
{
	return !*row->state || !strcmp(row->state, "live");
}

static struct row *find_row(const struct table *table, const char *name, bool alive)
{
	size_t i;

	for (i = 0; i < table->nr; i++)
		if (!strcmp(table->rows[i].name, name) && is_live(&table->rows[i]) == alive)
			return &table->rows[i];
	return NULL;
}

/* Of its name; a heap that was destroyed may have that of one that lives. */
static struct row *find_heap(const struct table *heaps, const char *name)
{
	return find_row(heaps, name, true) ?: find_row(heaps, name, false);
}

static size_t parse_header(char *line, enum value *columns, size_t max)
{
	char *word = strtok(line, "#\n ");
	size_t nr;
	int i;

	for (nr = 0; word && nr < max; nr++, word = strtok(NULL, "\n ")) {
		for (i = 0; i < NR_VALUES; i++)
			if (column_names[i] && !strcmp(word, column_names[i]))
				break;
		if (!strcmp(word, "class"))
			i = SIZE;
		columns[nr] = i;
	}
	return nr;
}

/* Cuts the last word off the line. */
static char *last_word(char *line)
{
	size_t len = strlen(line);

	while (len && line[len - 1] != ' ')
		len--;
	if (len)
		line[len - 1] = '\0';
	return line + len;
}

/* From the right if a name is first: it may have spaces in it. Else the last word may. */
static bool split(char *line, char **words, size_t nr, bool name_first)
{
	size_t i, len = strlen(line);

	while (len && isspace((unsigned char)line[len - 1]))
		line[--len] = '\0';
	for (i = nr - 1; name_first && i; i--) {
		words[i] = last_word(line);
		if (words[i] == line || !*words[i])
			return false;
	}
	for (i = 0; !name_first && i + 1 < nr; i++) {
		words[i] = strsep(&line, " ");
		if (!line)
			return false;
	}
	words[i] = line;
	return *line;
}

static bool parse_value(const char *word, double *value)
{
	char *end;

	*value = strtod(word, &end);
	return end != word && !*end && *value >= 0 && *value < MAX_VALUE;
}

static bool set_value(struct row *row, enum value column, char *word)
{
	char *slash;

	switch (column) {
	case NAME: case STACK: case HOLDERS:
		free(row->name);
		row->name = must(strdup(word));
		return true;
	case STATE:
		copy_word(row->state, word);
		return true;
	case MODULE:
		copy_word(row->module, word);
		return true;
	case CPUS:
		copy_word(row->cpus, word);
		return true;
	case USED_OF:
		slash = strchr(word, '/');
		if (slash)
			*slash = '\0';
		return slash && parse_value(word, &row->value[SLOTS]);
	case SIZE:
		if (!row->name)
			row->name = must(strdup(word));
		if (!strcmp(word, "large"))
			word = "0";
		return parse_value(word, &row->value[SIZE]);
	case AGE:
		return parse_value(word, &row->value[OLDEST]);
	case HELD_1M: case HELD_10M: case HELD_1H:	/* "-" where it was not tracked then */
		if (!strcmp(word, "-"))
			return true;
		if (!parse_value(word, &row->value[column]))
			return false;
		row->value[column - HELD_1M + GREW_1M] = row->value[HELD] - row->value[column];
		return true;
	case NR_VALUES:			/* a column not known here */
		return true;
	default:
		return parse_value(word, &row->value[column]);
	}
}

static bool parse_record(char *line, const enum value *columns, size_t nr, struct row *row)
{
	char *words[32];
	size_t i;

	if (!split(line, words, nr, columns[0] == NAME))
		return false;
	for (i = 0; i < nr; i++)
		if (!set_value(row, columns[i], words[i]))
			return false;
	return row->name;
}

static bool known_version(const char *line)
{
	int version;

	return sscanf(line, VERSION_LINE, &version) == 1 && version >= 1 &&
	       version <= NEWEST_VERSION;
}

static int parse(FILE *file, struct table *table)
{
	enum value columns[32];
	char *line = NULL;
	size_t size = 0, nr = 0;
	bool named = false;
	size_t i;

	if (getline(&line, &size, file) > 0 && known_version(line) &&
	    getline(&line, &size, file) > 0)
		nr = parse_header(line, columns, ARRAY_SIZE(columns));
	for (i = 0; i < nr; i++)
		named |= columns[i] == NAME || columns[i] == SIZE || columns[i] == STACK;
	while (named && getline(&line, &size, file) > 0)
		if (!parse_record(line, columns, nr, add_row(table)))
			drop_row(table);
	free(line);
	if (ferror(file))
		return -errno;
	return named ? 0 : -EPROTO;
}

static int read_table(struct table *table, const char *path)
{
	FILE *file = fopen(path, "r");
	int err;

	memset(table, 0, sizeof(*table));
	if (!file)
		return -errno;
	err = parse(file, table);
	fclose(file);
	table->time = now();
	return err;
}

/* Working out what the files do not say */

static void add_to(double *sum, double value)
{
	if (!isnan(value))
		*sum = isnan(*sum) ? value : *sum + value;
}

static void remember(struct row *row)
{
	if (row->nr_history == HISTORY)
		memmove(row->history, row->history + 1, --row->nr_history * sizeof(*row->history));
	row->history[row->nr_history++] = isnan(row->value[HELD]) ? 0 : row->value[HELD];
}

static double rate(const struct row *row, const struct row *old, enum value value, double seconds)
{
	double diff = row->value[value] - old->value[value];

	/* A heap of the same name that began anew has counted less. */
	return live && diff >= 0 ? diff / seconds : NAN;
}

/* Joins what was read with the table before it, which it replaces. */
static void join(struct table *table, struct table *new)
{
	double seconds = new->time - table->time;
	size_t i;

	for (i = 0; i < new->nr; i++) {
		struct row *row = &new->rows[i];
		struct row *old = find_row(table, row->name, is_live(row));

		if (old) {
			row->value[ALLOC_RATE] = rate(row, old, ALLOCS, seconds);
			row->value[FREE_RATE] = rate(row, old, FREES, seconds);
			memcpy(row->history, old->history, sizeof(row->history));
			row->nr_history = old->nr_history;
		}
		/* What has come since the first reading has grown from nothing. */
		row->start = old ? old->start : table->time ? 0 : row->value[HELD];
		if (table->time && live)
			row->value[GROWN] = row->value[HELD] - row->start;
		remember(row);
	}
	free_table(table);
	*table = *new;
}

static void complete_class(double *v)
{
	v[BLOCKS] = v[FULL] + v[PARTIAL] + v[RETAINED];
	v[FULLNESS] = 100 * v[ALLOCATED] / (v[ALLOCATED] + v[CACHED] + v[FREE]);
	if (v[SIZE] > 0 && v[ALLOCS] > 0)
		v[WASTE] = 100 - 100 * v[REQUESTED] / (v[ALLOCS] * v[SIZE]);
}

static void complete_heap(double *v, struct table *classes)
{
	double used = 0, room = 0;
	size_t i;

	for (i = 0; i < classes->nr; i++) {
		double *class = classes->rows[i].value;

		complete_class(class);
		add_to(&v[ALLOCS], class[ALLOCS]);
		add_to(&v[FREES], class[FREES]);
		add_to(&v[FAILS], class[FAILS]);
		add_to(&used, class[SIZE] * class[ALLOCATED]);
		add_to(&room, class[SIZE] * (class[ALLOCATED] + class[CACHED] + class[FREE]));
	}
	if (room > 0)
		v[FULLNESS] = 100 * used / room;
	if (v[LIMIT] == 0)
		v[LIMIT] = NAN;
}

static void sum_up(const struct table *heaps)
{
	double *v = total.value;
	size_t i;

	for (i = 0; i < NR_VALUES; i++)
		v[i] = NAN;
	for (i = 0; i < heaps->nr; i++) {
		const double *row = heaps->rows[i].value;

		add_to(&v[HELD], row[HELD]);
		add_to(&v[SLOTS], row[SLOTS]);
		add_to(&v[ALLOC_RATE], row[ALLOC_RATE]);
		add_to(&v[FREE_RATE], row[FREE_RATE]);
	}
	remember(&total);
}

/* Sparse blocks of a class that are held by the same stack above all are one row. */
static void group_sparse(struct table *table)
{
	struct table groups = { .time = table->time };
	size_t i;

	for (i = 0; i < table->nr; i++) {
		struct row *row = &table->rows[i], *group;
		double *v = row->value;
		char *name;

		row->name[strcspn(row->name, ",")] = '\0';
		if (asprintf(&name, "%.0f %s", v[SIZE], row->name) < 0)
			abort();
		group = find_row(&groups, name, true);
		if (!group) {
			group = add_row(&groups);
			group->name = name;
			group->value[SIZE] = v[SIZE];
			group->value[OLDEST] = v[OLDEST];
		} else {
			free(name);
		}
		group->value[OLDEST] = fmax(group->value[OLDEST], v[OLDEST]);
		add_to(&group->value[BLOCKS], 1);
		add_to(&group->value[SLOTS], v[SLOTS]);
		add_to(&group->value[HELD], ldexp(sysconf(_SC_PAGESIZE), fmin(v[ORDER], 32)));
	}
	free_table(table);
	*table = groups;
}

static int heap_file(struct table *table, const struct row *row, const char *file)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/heap/%s/%s", dir, row->name, file);
	return read_table(table, path);
}

/* Of the heap that is shown. */
static int sample_file(const struct row *row)
{
	struct table table;
	int err = heap_file(&table, row, view->file);

	if (err) {
		free_table(&table);
		return err == -ENOENT ? -ENODATA : err;
	}
	if (view == &sparse_view)
		group_sparse(&table);
	join(&view->table, &table);
	return 0;
}

static int sample(void)
{
	struct table heaps, classes;
	char path[PATH_MAX];
	struct row *row;
	int err;
	size_t i;

	snprintf(path, sizeof(path), "%s/heaps", dir);
	err = read_table(&heaps, path);
	for (i = 0; i < heaps.nr; i++) {
		row = &heaps.rows[i];
		/* The heap may be gone by now: then nothing is known of its classes. */
		memset(&classes, 0, sizeof(classes));
		if (row == find_heap(&heaps, row->name))
			heap_file(&classes, row, "classes");
		complete_heap(row->value, &classes);
		if (view == &classes_view && !strcmp(row->name, heap) && classes.time)
			join(&classes_view.table, &classes);
		else
			free_table(&classes);
	}
	join(&heaps_view.table, &heaps);
	sum_up(&heaps_view.table);
	if (err || !*heap)
		return err;
	row = find_heap(&heaps_view.table, heap);
	if (!row) {
		free_table(&view->table);
		return -ESTALE;
	}
	return view == &classes_view ? 0 : sample_file(row);
}

/* Sorting: largest first, what is not known last, names as in a dictionary */

static bool matches(const struct row *row)
{
	return strcasestr(row->name, view->filter);
}

static const char *text_of(const struct row *row, enum value value)
{
	return value == STATE ? row->state : value == MODULE ? row->module : row->name;
}

static int compare_values(const struct row *a, const struct row *b, const struct column *column)
{
	double x = a->value[column->value], y = b->value[column->value];

	if (column->style == TEXT || column->style == FRAMES)
		return strcmp(text_of(a, column->value), text_of(b, column->value));
	return (x < y) - (x > y);
}

static int compare(const void *left, const void *right)
{
	const struct column *column = &view->columns[view->sort];
	const struct row *a = left, *b = right;
	bool text = column->style == TEXT || column->style == FRAMES;
	double x = a->value[column->value], y = b->value[column->value];
	int order = compare_values(a, b, column);

	if (matches(a) != matches(b))
		return matches(b) - matches(a);
	if (!text && isnan(x) != isnan(y))
		return isnan(x) - isnan(y);
	if (!order)
		return strcmp(a->name, b->name);
	return view->reverse ? -order : order;
}

/* Rows that the filter lets through stand first. */
static void sort(void)
{
	struct table *table = &view->table;
	size_t i;

	if (table->nr)
		qsort(table->rows, table->nr, sizeof(*table->rows), compare);
	for (view->shown = 0; view->shown < table->nr; view->shown++)
		if (!matches(&table->rows[view->shown]))
			break;
	for (i = 0; view->selected_name && i < view->shown; i++)
		if (!strcmp(table->rows[i].name, view->selected_name))
			break;
	if (view->selected_name && i < view->shown)
		view->selected = i;
	else if (view->selected >= view->shown)
		view->selected = view->shown ? view->shown - 1 : 0;
}

/* By a column's name or letter; once more turns the order round. */
static bool sort_by(const char *name)
{
	size_t i;

	for (i = 0; view->columns[i].name; i++) {
		const struct column *column = &view->columns[i];

		if (strcmp(name, column->name) && (name[0] != column->key || name[1]))
			continue;
		view->reverse = view->sort == i && !view->reverse;
		view->sort = i;
		return true;
	}
	return false;
}

/* Lines */

struct line {
	wchar_t text[WIDE + 1];
	int len;
};

static void put(struct line *line, wchar_t c)
{
	if (line->len < (int)ARRAY_SIZE(line->text) - 1)
		line->text[line->len++] = c;
	line->text[line->len] = L'\0';
}

/* Right-aligned in width; or left-aligned in -width, and cut so that a space is left: one sees that. */
static void put_text(struct line *line, const char *text, int width)
{
	int len = strlen(text), room = width < 0 ? -width - 1 : len, i;

	for (i = len; i < width; i++)
		put(line, ' ');
	for (i = 0; i < len && i < room; i++) {
		if (i == room - 1 && len > room)
			put(line, utf8 ? L'…' : L'>');
		else
			put(line, text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
	}
	for (; i < -width; i++)
		put(line, ' ');
}

/* In at most 5 characters, and one for a sign. */
static void put_number(struct line *line, double value, double base, bool sign, int width)
{
	const char *unit = "KMGTPE", *before = value < 0 ? "-" : sign && value > 0 ? "+" : "";
	char text[32] = "-";

	if (!isnan(value) && fabs(value) < 10000) {
		snprintf(text, sizeof(text), "%s%.0f", before, fabs(value));
	} else if (!isnan(value)) {
		for (value = fabs(value) / base; value >= 999.5 && unit[1]; unit++)
			value /= base;
		snprintf(text, sizeof(text), "%s%.*f%c", before,
			 value < 9.995 ? 2 : value < 99.95, value, *unit);
	}
	put_text(line, text, width);
}

static void put_time(struct line *line, double ms, int width)
{
	static const struct { const char *unit; double ms; } units[] = {
		{ "d", 86400e3 }, { "h", 3600e3 }, { "m", 60e3 }, { "s", 1e3 }
	};
	char text[32] = "-";
	size_t i = 0;

	while (i < ARRAY_SIZE(units) - 1 && ms < units[i].ms)
		i++;
	if (!isnan(ms))
		snprintf(text, sizeof(text), "%.*f%s", ms < 10 * units[i].ms,
			 fmin(ms / units[i].ms, 99999), units[i].unit);
	put_text(line, text, width);
}

static void put_bar(struct line *line, double percent, int width)
{
	int i;

	put(line, ' ');
	for (i = 1; i < width; i++) {
		if (percent > 100 * (i - 0.5) / (width - 1))
			put(line, utf8 ? L'■' : L'#');
		else
			put(line, isnan(percent) ? L' ' : utf8 ? L'·' : L'.');
	}
}

/* The latest of the history, on a scale from 0. */
static void put_spark(struct line *line, const struct row *row, int width)
{
	const wchar_t *steps = utf8 ? L" ▁▂▃▄▅▆▇" : L" .:-=+*#";
	int first = row->nr_history - width + 1, i;
	float most = 1;

	put(line, ' ');
	for (i = first < 0 ? 0 : first; i < row->nr_history; i++)
		most = fmaxf(most, row->history[i]);
	for (i = first; i < row->nr_history; i++)
		put(line, i < 0 ? L' ' : steps[(int)ceilf(7 * row->history[i] / most)]);
}

/* A stack's next frame, without its place in the function; NULL after the last. */
static const char *next_frame(const char **stack, char *frame, size_t size)
{
	size_t len = strcspn(*stack, ";"), name = strcspn(*stack, "+;");
	const char *module = memchr(*stack, '[', len);

	if (!len)
		return NULL;
	snprintf(frame, size, "%.*s%s%.*s", (int)fmin(name, len), *stack, module ? " " : "",
		 module ? (int)(*stack + len - module) : 0, module ? module : "");
	*stack += len + ((*stack)[len] == ';');
	return frame;
}

static const char *stack_of(const struct row *row)
{
	const char *stack = view == &sparse_view ? strchr(row->name, ' ') : row->name;

	return stack && *stack == ' ' ? stack + 1 : stack ? stack : "";
}

/* As many whole frames as have room. */
static void put_frames(struct line *line, const struct row *row, int width)
{
	const char *stack = stack_of(row), *before = "";
	int room = width - 2;
	char frame[256];

	put(line, ' ');
	if (!strcmp(stack, "-") || !*stack)
		put_text(line, "not tracked", 0);
	while (strcmp(stack, "-") && next_frame(&stack, frame, sizeof(frame))) {
		int len = strlen(before) + strlen(frame);

		if (len > room - 2 * !!*stack) {
			put(line, utf8 ? L'…' : L'>');
			break;
		}
		put_text(line, before, 0);
		put_text(line, frame, 0);
		room -= len;
		before = " < ";
	}
}

/* Text in a column: after a space, unless it begins the line; cut so that a space is left. */
static void put_left(struct line *line, const char *text, int width)
{
	if (line->len) {
		put(line, ' ');
		width--;
	}
	put_text(line, text, -width);
}

/* The name of a destroyed heap (the first column), where that which says so has no room. */
static bool wants_mark(const struct row *row, const struct column *column)
{
	size_t i;

	if (column->value != NAME || is_live(row))
		return false;
	for (i = 0; i < view->nr; i++)
		if (view->columns[i].value == STATE)
			return !view->widths[i];
	return false;
}

static void put_cell(struct line *line, const struct row *row, const struct column *column,
		     int width)
{
	double value = row->value[column->value];
	char text[32];

	if (column->style == TEXT) {
		put_left(line, text_of(row, column->value), width);
		if (wants_mark(row, column))
			line->text[(int)fmin(strlen(row->name), line->len - 1)] = L'!';
	} else if (column->style == SPARK) {
		put_spark(line, row, width);
	} else if (column->style == FRAMES) {
		put_frames(line, row, width);
	} else if (column->style == BAR) {
		put_bar(line, value, width);
	} else if (column->style == TIME) {
		put_time(line, value, width);
	} else if (column->style == PERCENT && !isnan(value)) {
		snprintf(text, sizeof(text), "%.1f%%", fmax(fmin(value, 100), -999));
		put_text(line, text, width);
	} else if (column->value == SIZE && value == 0) {
		put_text(line, "large", width);
	} else {
		put_number(line, value, column->style == COUNT ? 1000 : 1024,
			   column->style == GROWTH, width);
	}
}

static void put_row(struct line *line, const struct row *row)
{
	size_t i;

	line->len = 0;
	for (i = 0; i < view->nr; i++)
		if (view->widths[i])
			put_cell(line, row, &view->columns[i], view->widths[i]);
}

static void put_titles(struct line *line)
{
	size_t i;

	line->len = 0;
	for (i = 0; i < view->nr; i++) {
		const struct column *column = &view->columns[i];
		int width = view->widths[i];

		if (width && (column->style == TEXT || column->style == FRAMES))
			put_left(line, column->title, width);
		else if (width)
			put_text(line, column->title, width);
	}
}

/* Appends a text, two spaces before it, if it has room as a whole. */
static void put_item(struct line *line, const struct line *item, int room)
{
	int i, space = line->len ? 2 : 0;

	if (line->len + space + item->len > room)
		return;
	put_text(line, "", space);
	for (i = 0; i < item->len; i++)
		put(line, item->text[i]);
}

static void put_text_item(struct line *line, const char *text, int room)
{
	struct line item = { .len = 0 };

	put_text(&item, text, 0);
	put_item(line, &item, room);
}

/* What is named: the heap, and what of it; or how many heaps there are. */
static void name_view(char *text, size_t size)
{
	if (!*heap)
		snprintf(text, size, "%zu heaps", heaps_view.table.nr);
	else
		snprintf(text, size, "%s%s%s", heap, view == &classes_view ? "" : " ",
			 view == &classes_view ? "" : view->file);
}

static void put_summary(struct line *line, const struct row *row, int room)
{
	static const struct column columns[] = {
		{ .title = "held ", .value = HELD, .style = BYTES },
		{ .title = "slots ", .value = SLOTS, .style = COUNT },
		{ .title = "allocs/s ", .value = ALLOC_RATE, .style = COUNT },
		{ .title = "frees/s ", .value = FREE_RATE, .style = COUNT },
		{ .title = "grown ", .value = GROWN, .style = GROWTH },
	};
	time_t seconds = time(NULL);
	char text[32], name[2 * WORD_SIZE];
	struct line item;
	size_t i;

	line->len = 0;
	name_view(name, sizeof(name));
	strftime(text, sizeof(text), live ? "%T" : "snapshot", localtime(&seconds));
	put_text_item(line, text, room - 2 - (int)strlen(name));
	put_text_item(line, name, WIDE);
	if (*view->filter) {
		snprintf(name, sizeof(name), "only *%s*", view->filter);
		put_text_item(line, name, room);
	}
	for (i = 0; row && i < ARRAY_SIZE(columns); i++) {
		if (columns[i].value == GROWN && isnan(row->value[GROWN]))
			continue;
		item.len = 0;
		put_text(&item, columns[i].title, 0);
		put_cell(&item, row, &columns[i], 0);
		put_item(line, &item, room);
	}
}

/* Showing them, on the screen or on stdout */

enum { GOOD = 1, FAIR, BAD, DIM };

static void show_line(int y, struct line *line, attr_t attr, int colour)
{
	if (curses) {
		mvaddnwstr(y, 0, line->text, COLS);
		mvchgat(y, 0, -1, attr, coloured ? colour : 0, NULL);
		return;
	}
	while (line->len && line->text[line->len - 1] == ' ')
		line->text[--line->len] = L'\0';
	printf("%ls\n", line->text);
}

/* One cell of a line; what is beyond the screen curses leaves alone. */
static void show_cell(int y, size_t nr, attr_t attr, int colour)
{
	int x = 0;
	size_t i;

	for (i = 0; i < nr; i++)
		x += view->widths[i];
	if (curses && x + view->widths[nr] <= COLS && view->widths[nr])
		mvchgat(y, x + !!nr, view->widths[nr] - !!nr, attr, coloured ? colour : 0, NULL);
}

static void show_row(int y, size_t nr)
{
	const struct row *row = &view->table.rows[nr];
	attr_t attr = nr == view->selected ? A_REVERSE : is_live(row) ? 0 : A_DIM;
	double fullness = row->value[FULLNESS];
	struct line line;
	size_t i;

	put_row(&line, row);
	show_line(y, &line, attr, 0);
	for (i = 0; i < view->nr; i++) {
		if (view->columns[i].style == BAR)
			show_cell(y, i, 0, fullness < 25 ? BAD : fullness < 60 ? FAIR : GOOD);
		else if (view->columns[i].style == SPARK)
			show_cell(y, i, 0, DIM);
		else if (view->columns[i].value == STATE && !is_live(row))
			show_cell(y, i, A_BOLD, BAD);
	}
}

/* As its longest text needs; nothing for states if all heaps live, and for modules not known. */
static int text_width(const struct column *column)
{
	size_t longest = strlen(column->title), i;
	bool any = column->value == NAME;

	for (i = 0; i < view->shown; i++) {
		const struct row *row = &view->table.rows[i];

		longest = fmax(longest, strlen(text_of(row, column->value)));
		any |= column->value == STATE ? !is_live(row) : *row->module;
	}
	return any ? longest + 1 + (column->value != NAME) : 0;
}

static int rank_of(size_t nr)
{
	/* What is sorted by is worth seeing. */
	if (nr == view->sort && view->columns[nr].rank > 1 && view->columns[nr].rank != LAST)
		return 1;
	return view->columns[nr].rank;
}

/* What names leave to the figure that matters most, and to that sorted by. */
static int room_for_names(int columns)
{
	size_t i;

	for (i = 1; i < view->nr; i++)
		if (rank_of(i) == 1)
			columns -= view->columns[i].width;
	return columns;
}

/* Whole columns as long as they have room, by their rank. */
static void layout(int columns)
{
	size_t i, last = view->nr - 1;
	int rank, width, left = columns, names = room_for_names(columns);

	memset(view->widths, 0, sizeof(view->widths));
	for (rank = 0; rank < LAST; rank++) {
		for (i = 0; i < last; i++) {
			if (rank_of(i) != rank)
				continue;
			width = view->columns[i].width ?: text_width(&view->columns[i]);
			if (width > left && rank)
				continue;
			if (!rank)
				width = fmin(width, names > 6 ? names : columns);
			view->widths[i] = width;
			left -= view->widths[i];
		}
	}
	if (view->columns[last].style == SPARK)
		view->widths[last] = !curses || left < 2 ? 0 : fmin(left, HISTORY);
	else
		view->widths[last] = left < view->columns[last].width ? 0 : left;
}

static void show(int columns, size_t rows)
{
	const struct row *row = *heap ? find_heap(&heaps_view.table, heap) : &total;
	size_t first, i;
	struct line line;

	sort();
	layout(columns);
	put_summary(&line, row, columns);
	show_line(0, &line, A_BOLD, 0);
	if (curses && row) {
		line.len = 0;
		put_spark(&line, row, columns < HISTORY ? columns : HISTORY);
		show_line(1, &line, 0, DIM);
	}
	put_titles(&line);
	show_line(3, &line, A_REVERSE, 0);
	show_cell(3, view->sort, A_REVERSE | A_BOLD | A_UNDERLINE, 0);
	first = view->selected < rows ? 0 : view->selected - rows + 1;
	for (i = first; i < view->shown && i < first + rows; i++)
		show_row(4 + i - first, i);
}

/* What went wrong, and what to do about it */

static bool debugfs_mounted(void)
{
	struct statfs fs;

	return !statfs(DEBUGFS, &fs) && fs.f_type == DEBUGFS_MAGIC;
}

#define tell(...)	snprintf(message, sizeof(message), __VA_ARGS__)

static void explain(int err)
{
	message[0] = '\0';
	if (err == -ESTALE)
		tell("there is no heap %s%s%s", heap, live ? " now" : " in ", live ? "" : dir);
	else if (err == -EACCES || err == -EPERM)
		tell("reading %s needs root; try sudo blockslabtop", dir);
	else if (err == -EPROTO)
		tell("%s/heaps is damaged, or not of the version known here", dir);
	else if (err == -ENODATA)
		tell("there is no file %s of heap %s", view->file, heap);
	else if (err == -ENOENT && !live)
		tell("%s is no snapshot of blockslab: it has no file heaps", dir);
	else if (err == -ENOENT && debugfs_mounted())
		tell("there is no %s: is blockslab loaded? (modprobe blockslab)", dir);
	else if (err == -ENOENT)
		tell("debugfs is not mounted; mount -t debugfs none %s", DEBUGFS);
	else if (err)
		tell("cannot read %s/heaps: %s", dir, strerror(-err));
}

/* Why there is nothing to see, or NULL. */
static const char *nothing(void)
{
	if (view->shown)
		return NULL;
	if (view->table.nr)
		return "no name has that in it";
	if (view == &callers_view)
		return "no callers are tracked: echo 1 >heap/NAME/track";
	return view == &sparse_view ? "no block is under a quarter full" : NULL;
}

/* Running */

static bool cannot_read(void)
{
	explain(sample());
	if (*message)
		fprintf(stderr, "blockslabtop: %s\n", message);
	return *message;
}

static bool cannot_write(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return false;
	fprintf(stderr, "blockslabtop: cannot write: %s\n", strerror(errno));
	return true;
}

static int text_columns(void)
{
	struct winsize size;

	return !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col ? size.ws_col : WIDE;
}

/* Waits for the next turn; false if somebody at a terminal wants no more. */
static bool wait_for_turn(void)
{
	struct pollfd in = { .fd = isatty(STDIN_FILENO) ? STDIN_FILENO : -1, .events = POLLIN };
	char key = 0;

	return poll(&in, 1, delay * 1000) <= 0 || (read(in.fd, &key, 1) == 1 && key != 'q');
}

static int batch(long runs)
{
	while (runs--) {
		if (cannot_read())
			return 1;
		show(text_columns(), SIZE_MAX);
		if (nothing())
			printf("%s\n", nothing());
		if (runs)
			putchar('\n');
		if (cannot_write())
			return 1;
		if (runs && !wait_for_turn())
			break;
	}
	return 0;
}

static void move_to(long nr)
{
	long last = (long)view->shown - 1;

	view->selected = nr < 0 || last < 0 ? 0 : nr > last ? last : nr;
	free(view->selected_name);
	view->selected_name = NULL;
	if (last >= 0)
		view->selected_name = must(strdup(view->table.rows[view->selected].name));
}

/* The view of a heap, which is read anew. */
static void enter(struct view *what, const char *name)
{
	if (name != heap)
		copy_word(heap, name);
	view = what;
	if (*heap) {
		free_table(&view->table);
		view->shown = 0;
		view->filter[0] = '\0';
		move_to(0);
	}
}

static void move_sort(int step)
{
	do
		view->sort = (view->sort + view->nr + step) % view->nr;
	while (!view->columns[view->sort].name);
}

/* How far the key moves the cursor, or 0. */
static int step_of(int key)
{
	static const struct { int key, step; } moves[] = {
		{ KEY_UP, -1 }, { KEY_DOWN, 1 }, { KEY_PPAGE, -PAGE }, { KEY_NPAGE, PAGE },
		{ KEY_HOME, -INT_MAX }, { KEY_END, INT_MAX },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(moves); i++)
		if (moves[i].key == key)
			return moves[i].step;
	return 0;
}

/* A key while the filter is being typed. */
static void type(int key)
{
	size_t len = strlen(view->filter);

	if (key == '\n' || key == KEY_ENTER || key == ESCAPE)
		typing = false;
	if (key == ESCAPE)
		view->filter[0] = '\0';
	else if ((key == KEY_BACKSPACE || key == 127 || key == '\b') && len)
		view->filter[len - 1] = '\0';
	else if (key > ' ' && key <= '~' && len < WORD_SIZE - 1)
		strcpy(view->filter + len, (char []){ key, '\0' });
}

/* Whether the key asks for a view of a heap: the one under the cursor, or the one shown. */
static bool view_by(int key)
{
	struct view *what = key == '\n' || key == KEY_ENTER ? &classes_view :
			    key == 'c' ? &callers_view : key == 'p' ? &sparse_view : NULL;

	if (!what || (!*heap && !view->shown))
		return false;
	if (!*heap)
		move_to(view->selected);
	enter(what, *heap ? heap : view->selected_name);
	return true;
}

/* Whether to read again at once. */
static bool handle(int key)
{
	char letter[] = { key < 128 ? key : 0, '\0' };

	if (typing) {
		type(key);
		return false;
	}
	if (step_of(key)) {
		move_to((long)view->selected + step_of(key));
		return false;
	}
	if (view_by(key))
		return true;
	if (key == '?')
		help_line = 0;
	else if (key == '/')
		typing = true;
	else if (key == '<' || key == '>')
		move_sort(key == '<' ? -1 : 1);
	else if (key == 'r')
		view->reverse = !view->reverse;
	else if (key == '+' || key == '-')
		delay = fmin(fmax(delay + (key == '+' ? 1 : -1), 0.5), MAX_DELAY);
	else
		sort_by(letter);

	if (key == ESCAPE && *view->filter) {
		view->filter[0] = '\0';
	} else if (key == ESCAPE || key == KEY_BACKSPACE) {
		enter(&heaps_view, "");
		return true;
	}
	return key == ' ';
}

/* Help */

static const char * const help[][2] = {
	{ "Up Down", "move the cursor" },
	{ "PgUp PgDn", "move it far" },
	{ "Home End", "first and last row" },
	{ "Enter", "classes of the heap" },
	{ "c", "callers: who holds it" },
	{ "p", "sparse: who pins blocks" },
	{ "Esc", "back to the heaps" },
	{ "/", "show names with a text" },
	{ "< >", "sort by the next column" },
	{ "r", "turn the order round" },
	{ "+ -", "longer, shorter delay" },
	{ "Space", "read again now" },
	{ "q", "quit" },
	{ "name!", "a destroyed heap's" },
	{ "", "" },
	{ "Sort by", "" },
};

static void help_text(struct line *line, const char *key, const char *text)
{
	line->len = 0;
	put_text(line, key, -11);
	put_text(line, text, 0);
}

/* The nr-th line of it; false after the last. */
static bool put_help(struct line *line, size_t nr)
{
	char key[] = { 0, 0 };

	if (nr < ARRAY_SIZE(help)) {
		help_text(line, help[nr][0], help[nr][1]);
		return true;
	}
	nr -= ARRAY_SIZE(help);
	if (nr >= view->nr || !view->columns[nr].name)
		return false;
	key[0] = view->columns[nr].key;
	help_text(line, key, view->columns[nr].name);
	return true;
}

static void draw_help(void)
{
	int room = LINES > 1 ? LINES - 1 : 1, y;
	struct line line = { .len = 0 };

	while (help_line && !put_help(&line, help_line + room - 1))
		help_line--;
	for (y = 0; y < room && put_help(&line, help_line + y); y++)
		show_line(y, &line, 0, 0);
	help_text(&line, "Up Down", "move; any other key goes back");
	show_line(LINES - 1, &line, A_DIM, 0);
}

static void handle_help(int key)
{
	int step = step_of(key), most = ARRAY_SIZE(help) + ARRAY_SIZE(class_columns);

	help_line = !step ? -1 : fmin(fmax((double)help_line + step, 0), most);
}

/* The screen */

/* The whole stack under the cursor, a frame a line; how many lines it takes. */
static int draw_stack(int room)
{
	const char *stack, *rest;
	struct line line;
	char frame[256];
	int nr = 0, y;

	if ((view != &callers_view && view != &sparse_view) || !view->shown)
		return 0;
	stack = rest = stack_of(&view->table.rows[view->selected]);
	while (strcmp(stack, "-") && nr < room && next_frame(&rest, frame, sizeof(frame)))
		nr++;
	for (y = 0; y < nr; y++) {
		line.len = 0;
		put_text(&line, y ? "  < " : "    ", 0);
		put_text(&line, next_frame(&stack, frame, sizeof(frame)), 0);
		show_line(LINES - 1 - nr + y, &line, 0, DIM);
	}
	return nr;
}

/* A text over as many of the last lines as it needs. */
static void draw_message(const char *text)
{
	int rows = strlen(text) / COLS + 1, y;
	struct line line;

	for (y = 0; y < rows && y < LINES; y++) {
		line.len = 0;
		put_text(&line, text, -(int)strlen(text) - 1);
		text += strlen(text) < (size_t)COLS ? strlen(text) : (size_t)COLS;
		show_line(LINES - rows + y, &line, A_BOLD, 0);
	}
}

static void draw_keys(void)
{
	static const char * const keys[] = {
		"? help", "q quit", "/ filter", "Enter classes", "c callers", "p sparse",
		"< > sort by", "r reverse", "+ - delay",
	};
	struct line line = { .len = 0 };
	size_t i;

	if (*heap)
		put_text_item(&line, "Esc heaps", COLS);
	for (i = 0; i < ARRAY_SIZE(keys); i++)
		put_text_item(&line, keys[i], COLS);
	show_line(LINES - 1, &line, A_DIM, 0);
}

static void draw_table(void)
{
	char text[2 * WORD_SIZE];
	int below = LINES > 12 ? (LINES - 5) / 3 : LINES > 8 ? 2 : 0;

	if (view != &callers_view && view != &sparse_view)
		below = 0;
	show(COLS, LINES > 6 + below ? LINES - 5 - below : 1);
	draw_stack(below);
	snprintf(text, sizeof(text), "show names with: %s_", view->filter);
	if (typing)
		draw_message(text);
	else if (*message)
		draw_message(message);
	else if (nothing())
		draw_message(nothing());
	else
		draw_keys();
}

/*
 * The terminal may have been resized before curses listened for the signal, or
 * where it is ignored: nobody tells of that again.
 */
static void follow_size(void)
{
	struct winsize size;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_row && size.ws_col &&
	    is_term_resized(size.ws_row, size.ws_col)) {
		resizeterm(size.ws_row, size.ws_col);
		clearok(curscr, TRUE);
	}
}

static void draw(void)
{
	follow_size();
	erase();
	if (help_line >= 0)
		draw_help();
	else
		draw_table();
	refresh();
}

static bool start_curses(void)
{
	const char *no_color = getenv("NO_COLOR");

	if (!newterm(NULL, stdout, stdin))
		return false;
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	coloured = has_colors() && (!no_color || !*no_color);
	if (coloured) {
		start_color();
		use_default_colors();
		init_pair(GOOD, COLOR_GREEN, -1);
		init_pair(FAIR, COLOR_YELLOW, -1);
		init_pair(BAD, COLOR_RED, -1);
		init_pair(DIM, COLOR_CYAN, -1);
	}
	curses = true;
	return true;
}

static int interactive(void)
{
	const char *terminal = getenv("TERM");
	double next;
	int key = 0;

	/* One that cannot move its cursor gets one table after the other. */
	if (!terminal || !*terminal || !strcmp(terminal, "dumb"))
		return batch(LONG_MAX);
	if (cannot_read())
		return 1;
	next = now() + delay;
	if (!start_curses()) {
		fprintf(stderr, "blockslabtop: terminal %s is not known; use -o\n", terminal);
		return 1;
	}
	while (key != 'q' || typing) {
		if (now() >= next) {
			explain(sample());
			next = now() + delay;
		}
		draw();
		timeout(fmax(1, 1000 * (next - now())));
		key = getch();
		if (key != ERR && help_line >= 0) {
			handle_help(key);
			key = 0;
		} else if (key != ERR && handle(key)) {
			next = 0;
		}
	}
	endwin();
	return 0;
}

static void print_usage(FILE *file)
{
	fputs("blockslabtop: who holds blockslab's memory, live\n"
	      "usage: blockslabtop [-o | -b N] [-d SECONDS] [-s COLUMN]\n"
	      "                    [-H HEAP [-C | -P]] [-f DIR]\n"
	      "  -o, --once           print the table once, and exit\n"
	      "  -b, --batch N        print it N times, and exit\n"
	      "  -d, --delay SECONDS  time between two readings (3)\n"
	      "  -s, --sort COLUMN    held, grown, limit, slots, blocks, allocs, frees, waste,\n"
	      "                       full, name; for classes also size, cached, free,\n"
	      "                       partial, ...; see the man page\n"
	      "  -H, --heap HEAP      classes of this heap, not the table of heaps\n"
	      "  -C, --callers        who holds its memory, in place of its classes\n"
	      "  -P, --sparse         who pins its sparse blocks\n"
	      "  -f, --from DIR       read a snapshot made by blockslab-snapshot\n"
	      "  -V, --version        say which version this is\n"
	      "  -h, --help           this text\n"
	      "NO_COLOR is obeyed; on a dumb terminal one table follows the other.\n", file);
}

static void refuse(const char *what, const char *argument)
{
	fprintf(stderr, "blockslabtop: %s: %s; blockslabtop -h says more\n", what, argument);
	exit(2);
}

static double parse_number(const char *text, double least, double most, const char *what)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= least && value <= most))
		refuse(what, text);
	return value;
}

static int run(long runs)
{
	clear_row(&total);
	if (runs)
		return batch(runs);
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		refuse("no terminal", "use -o or -b N");
	return interactive();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "once", no_argument, NULL, 'o' }, { "batch", required_argument, NULL, 'b' },
		{ "delay", required_argument, NULL, 'd' }, { "sort", required_argument, NULL, 's' },
		{ "heap", required_argument, NULL, 'H' }, { "callers", no_argument, NULL, 'C' },
		{ "sparse", no_argument, NULL, 'P' }, { "from", required_argument, NULL, 'f' },
		{ "version", no_argument, NULL, 'V' }, { "help", no_argument, NULL, 'h' }, { }
	};
	struct view *of_heap = &classes_view;
	const char *column = NULL, *name = NULL;
	long runs = 0;
	int option;

	if (getenv("BLOCKSLAB_DEBUGFS"))
		dir = getenv("BLOCKSLAB_DEBUGFS");
	setlocale(LC_CTYPE, "");
	utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	while ((option = getopt_long(argc, argv, "ob:d:s:H:CPf:Vh", options, NULL)) != -1) {
		switch (option) {
		case 'o':
			runs = 1;
			break;
		case 'b':
			runs = parse_number(optarg, 1, INT_MAX, "no number of batches");
			break;
		case 'd':
			delay = parse_number(optarg, 0.1, MAX_DELAY, "not 0.1 to 3600 seconds");
			break;
		case 's':
			column = optarg;
			break;
		case 'H':
			name = optarg;
			break;
		case 'C':
			of_heap = &callers_view;
			break;
		case 'P':
			of_heap = &sparse_view;
			break;
		case 'f':
			dir = optarg;
			live = false;
			break;
		case 'V':
			puts("blockslabtop " VERSION);
			return cannot_write();
		case 'h':
			print_usage(stdout);
			return cannot_write();
		default:
			print_usage(stderr);
			return 2;
		}
	}
	if (optind < argc)
		refuse("no such argument", argv[optind]);
	if (of_heap != &classes_view && !name)
		refuse("whose", "-C and -P want -H HEAP");
	if (name)
		enter(of_heap, name);
	if (column && !sort_by(column))
		refuse("no such column to sort by", column);
	view->reverse = false;
	return run(runs);
}
