// SPDX-License-Identifier: GPL-2.0
/*
 * blockslabtop - who holds blockslab's memory, live
 *
 * Every few seconds the text files of debugfs/blockslab (or of a snapshot) are read into a table
 * of heaps, joined with the table before it for rates and history, sorted, and turned into lines
 * of wide characters, which go to curses and to stdout alike. The classes of a chosen heap are a
 * second table that is treated the same way.
 *
 * Columns of the files are found by their names in the header line, so one more does no harm. A
 * figure that is not known is NAN, and shown as "-". Slot maps and callers are not read.
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
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define DEBUGFS		"/sys/kernel/debug"
#define DEBUGFS_MAGIC	0x64626720
#define VERSION_LINE	"# blockslab version 1\n"
#define NAME_SIZE	256
#define HISTORY		256	/* samples of held memory kept for the sparkline */
#define MAX_DELAY	3600
#define MAX_VALUE	2e19	/* all that 64 bits hold; so that sums and scales stay finite */
#define PAGE		16	/* rows that PgUp and PgDn move */
#define ESCAPE		27
#define TEXT_WIDTH	110	/* of what -o and -b print */
#define SPARK_WIDTH	8	/* what is left for the sparkline at 80 columns */

enum value {
	NAME, SIZE, PER_BLOCK, ORDER, LIMIT, HELD, REQUESTED, SLOTS, BLOCKS, FULL, PARTIAL,
	RETAINED, ALLOCATED, CACHED, FREE, ALLOCS, FREES, FAILS, WASTE,
	ALLOC_RATE, FREE_RATE, FULLNESS, NR_VALUES
};

/* Names of the files' columns. */
static const char * const column_names[NR_VALUES] = {
	[NAME] = "name", [SIZE] = "size", [PER_BLOCK] = "slots_per_block", [ORDER] = "order",
	[LIMIT] = "limit", [HELD] = "held", [REQUESTED] = "requested", [SLOTS] = "slots",
	[BLOCKS] = "blocks", [FULL] = "full", [PARTIAL] = "partial", [RETAINED] = "retained",
	[ALLOCATED] = "allocated", [CACHED] = "cached", [FREE] = "free", [ALLOCS] = "allocs",
	[FREES] = "frees", [FAILS] = "fails", [WASTE] = "waste",
};

struct row {
	char name[NAME_SIZE];		/* of the heap; a class has its size here */
	double value[NR_VALUES];
	float history[HISTORY];		/* held bytes, oldest first */
	int nr_history;
};

struct table {
	struct row *rows;
	size_t nr;
	double time;
};

enum style { TEXT, BYTES, COUNT, PERCENT, BAR, SPARK };

struct column {
	const char *title;
	const char *name;		/* for -s */
	char key;
	int width;			/* with the space before it */
	enum value value;
	enum style style;
};

/* What fits into 80 columns, then what wider terminals show. The sparkline takes the rest. */
static const struct column heap_columns[] = {
	{ "HEAP", "name", 'n', 16, NAME, TEXT },
	{ "HELD", "held", 'h', 6, HELD, BYTES },
	{ "LIMIT", "limit", 'l', 6, LIMIT, BYTES },
	{ "SLOTS", "slots", 's', 6, SLOTS, COUNT },
	{ "BLOCKS", "blocks", 'b', 7, BLOCKS, COUNT },
	{ "ALLOC/S", "allocs", 'a', 8, ALLOC_RATE, COUNT },
	{ "FREE/S", "frees", 'f', 7, FREE_RATE, COUNT },
	{ "WASTE", "waste", 'w', 7, WASTE, PERCENT },
	{ "FULL", "full", 'u', 9, FULLNESS, BAR },
	{ "FAILS", "fails", 'x', 6, FAILS, COUNT },
	{ "", NULL, 0, SPARK_WIDTH, HELD, SPARK },
};

static const struct column class_columns[] = {
	{ "SIZE", "size", 'z', 6, SIZE, COUNT },
	{ "HELD", "held", 'h', 6, HELD, BYTES },
	{ "SLOTS", "slots", 's', 6, ALLOCATED, COUNT },
	{ "CACHED", "cached", 'c', 7, CACHED, COUNT },
	{ "BLOCKS", "blocks", 'b', 7, BLOCKS, COUNT },
	{ "PART", "partial", 'p', 6, PARTIAL, COUNT },
	{ "ALLOC/S", "allocs", 'a', 8, ALLOC_RATE, COUNT },
	{ "FREE/S", "frees", 'f', 7, FREE_RATE, COUNT },
	{ "WASTE", "waste", 'w', 7, WASTE, PERCENT },
	{ "FULL", "full", 'u', 9, FULLNESS, BAR },
	{ "FREE", "free", 'e', 6, FREE, COUNT },
	{ "FAILS", "fails", 'x', 6, FAILS, COUNT },
	{ "KEPT", "retained", 'k', 6, RETAINED, COUNT },
	{ "ORDER", "order", 'o', 6, ORDER, COUNT },
	{ "/BLOCK", "slots_per_block", 'm', 7, PER_BLOCK, COUNT },
	{ "", NULL, 0, SPARK_WIDTH, HELD, SPARK },
};

struct view {
	const struct column *columns;
	size_t nr;
	size_t core;			/* columns that are shown at any width */
	size_t sort;			/* the column sorted by */
	bool reverse;
	size_t selected;		/* the row under the cursor, */
	char selected_name[NAME_SIZE];	/* and its name: rows move */
	int widths[ARRAY_SIZE(class_columns)];	/* 0: not shown */
	struct table table;
};

static struct view heaps_view = {
	.columns = heap_columns, .nr = ARRAY_SIZE(heap_columns), .core = 9, .sort = 1
};

static struct view classes_view = {
	.columns = class_columns, .nr = ARRAY_SIZE(class_columns), .core = 10, .sort = 1
};

static struct view *view = &heaps_view;
static struct row total;
static const char *dir = DEBUGFS "/blockslab";
static bool live = true;		/* dir is no snapshot */
static bool curses;			/* the screen is curses' */
static bool utf8;
static double delay = 3;
static char heap[NAME_SIZE];		/* whose classes are shown */
static char message[PATH_MAX + 80];

/* Reading */

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void copy_name(char *to, const char *from)
{
	snprintf(to, NAME_SIZE, "%s", from);
}

static void clear_row(struct row *row)
{
	int i;

	for (i = 0; i < NR_VALUES; i++)
		row->value[i] = NAN;
	row->nr_history = 0;
}

static struct row *add_row(struct table *table)
{
	/* Room doubles whenever it is used up, at powers of two. */
	if (!(table->nr & (table->nr - 1))) {
		size_t room = table->nr ? 2 * table->nr : 1;

		table->rows = reallocarray(table->rows, room, sizeof(*table->rows));
		if (!table->rows)
			abort();
	}
	clear_row(&table->rows[table->nr]);
	return &table->rows[table->nr++];
}

static void free_table(struct table *table)
{
	free(table->rows);
	memset(table, 0, sizeof(*table));
}

static struct row *find_row(const struct table *table, const char *name)
{
	size_t i;

	for (i = 0; i < table->nr; i++)
		if (!strcmp(table->rows[i].name, name))
			return &table->rows[i];
	return NULL;
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
		columns[nr] = i;
	}
	return nr;
}

/* Cuts the last word off the line. */
static char *last_word(char *line)
{
	size_t len = strlen(line);

	while (len && isspace((unsigned char)line[len - 1]))
		line[--len] = '\0';
	while (len && line[len - 1] != ' ')
		len--;
	if (len)
		line[len - 1] = '\0';
	return line + len;
}

/* From the right, so that a heap's name may have spaces in it. */
static bool parse_record(char *line, const enum value *columns, size_t nr, struct row *row)
{
	while (--nr) {
		char *end, *word = last_word(line);
		double value = strtod(word, &end);

		if (word == line || end == word || *end || !(value >= 0 && value < MAX_VALUE))
			return false;
		if (columns[nr] < NR_VALUES)
			row->value[columns[nr]] = value;
	}
	copy_name(row->name, line);
	row->value[columns[0]] = strtod(line, NULL);
	return *line;
}

static int parse(FILE *file, struct table *table)
{
	enum value columns[32];
	char *line = NULL;
	size_t size = 0, nr = 0;

	if (getline(&line, &size, file) > 0 && !strcmp(line, VERSION_LINE) &&
	    getline(&line, &size, file) > 0)
		nr = parse_header(line, columns, ARRAY_SIZE(columns));
	if (nr && columns[0] != NAME && columns[0] != SIZE)
		nr = 0;
	while (nr && getline(&line, &size, file) > 0)
		if (!parse_record(line, columns, nr, add_row(table)))
			table->nr--;
	free(line);
	if (ferror(file))
		return -errno;
	return nr ? 0 : -EPROTO;
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
		struct row *row = &new->rows[i], *old = find_row(table, row->name);

		if (old) {
			row->value[ALLOC_RATE] = rate(row, old, ALLOCS, seconds);
			row->value[FREE_RATE] = rate(row, old, FREES, seconds);
			memcpy(row->history, old->history, sizeof(row->history));
			row->nr_history = old->nr_history;
		}
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

static int sample(void)
{
	struct table heaps, classes;
	char path[PATH_MAX];
	int err;
	size_t i;

	snprintf(path, sizeof(path), "%s/heaps", dir);
	err = read_table(&heaps, path);
	for (i = 0; i < heaps.nr; i++) {
		struct row *row = &heaps.rows[i];

		/* The heap may be gone by now: then nothing is known of its classes. */
		snprintf(path, sizeof(path), "%s/heap/%s/classes", dir, row->name);
		read_table(&classes, path);
		complete_heap(row->value, &classes);
		if (!strcmp(row->name, heap))
			join(&classes_view.table, &classes);
		else
			free_table(&classes);
	}
	join(&heaps_view.table, &heaps);
	sum_up(&heaps_view.table);
	if (*heap && !err && !find_row(&heaps_view.table, heap)) {
		free_table(&classes_view.table);
		err = -ESTALE;
	}
	return err;
}

/* Sorting: largest first, what is not known last, names as in a dictionary */

static int compare(const void *left, const void *right)
{
	enum value value = view->columns[view->sort].value;
	const struct row *a = left, *b = right;
	double x = a->value[value], y = b->value[value];
	int order = value == NAME ? strcmp(a->name, b->name) : (x < y) - (x > y);

	if (value != NAME && isnan(x) != isnan(y))
		return isnan(x) - isnan(y);
	if (!order)
		return strcmp(a->name, b->name);
	return view->reverse ? -order : order;
}

static void sort(void)
{
	struct table *table = &view->table;
	struct row *row;

	if (table->nr)
		qsort(table->rows, table->nr, sizeof(*table->rows), compare);
	row = find_row(table, view->selected_name);
	if (row)
		view->selected = row - table->rows;
	else if (view->selected >= table->nr)
		view->selected = table->nr ? table->nr - 1 : 0;
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
	wchar_t text[512];
	int len;
};

static void put(struct line *line, wchar_t c)
{
	if (line->len < (int)ARRAY_SIZE(line->text) - 1)
		line->text[line->len++] = c;
	line->text[line->len] = L'\0';
}

/* Right-aligned in width; or left-aligned in -width, and cut so that a space is left. */
static void put_text(struct line *line, const char *text, int width)
{
	int len = strlen(text), i;

	for (i = len; i < width; i++)
		put(line, ' ');
	for (i = 0; i < len && (width >= 0 || i < -width - 1); i++)
		put(line, text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
	for (; i < -width; i++)
		put(line, ' ');
}

/* In at most 5 characters. */
static void put_number(struct line *line, double value, double base, int width)
{
	const char *unit = "KMGTPE";
	char text[32] = "-";

	if (value < 10000) {
		snprintf(text, sizeof(text), "%.0f", value);
	} else if (!isnan(value)) {
		for (value /= base; value >= 999.5 && unit[1]; unit++)
			value /= base;
		snprintf(text, sizeof(text), "%.*f%c",
			 value < 9.995 ? 2 : value < 99.95, value, *unit);
	}
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

static void put_cell(struct line *line, const struct row *row, const struct column *column,
		     int width)
{
	double value = row->value[column->value];
	char text[16];

	if (column->style == TEXT) {
		put_text(line, row->name, -width);
	} else if (column->style == SPARK) {
		put_spark(line, row, width);
	} else if (column->style == BAR) {
		put_bar(line, value, width);
	} else if (column->style == PERCENT && !isnan(value)) {
		snprintf(text, sizeof(text), "%.1f%%", value);
		put_text(line, text, width);
	} else if (column->value == SIZE && value == 0) {
		put_text(line, "large", width);
	} else {
		put_number(line, value, column->style == BYTES ? 1024 : 1000, width);
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
		int width = view->widths[i];

		if (width)
			put_text(line, view->columns[i].title,
				 view->columns[i].style == TEXT ? -width : width);
	}
}

static void put_summary(struct line *line, const struct row *row)
{
	static const struct column columns[] = {
		{ .title = "held", .value = HELD, .style = BYTES },
		{ .title = "slots", .value = SLOTS, .style = COUNT },
		{ .title = "allocs/s", .value = ALLOC_RATE, .style = COUNT },
		{ .title = "frees/s", .value = FREE_RATE, .style = COUNT },
	};
	time_t seconds = time(NULL);
	char text[32];
	size_t i;

	line->len = 0;
	strftime(text, sizeof(text), live ? "%T  " : "snapshot  ", localtime(&seconds));
	put_text(line, text, 0);
	snprintf(text, sizeof(text), "%zu heaps", heaps_view.table.nr);
	put_text(line, *heap ? heap : text, 0);
	for (i = 0; row && i < ARRAY_SIZE(columns); i++) {
		put_text(line, "  ", 0);
		put_text(line, columns[i].title, 0);
		put(line, ' ');
		put_cell(line, row, &columns[i], 0);
	}
}

/* Showing them, on the screen or on stdout */

enum { GOOD = 1, FAIR, BAD, DIM };

static void show_line(int y, struct line *line, attr_t attr)
{
	if (curses) {
		mvaddnwstr(y, 0, line->text, COLS);
		mvchgat(y, 0, -1, attr, PAIR_NUMBER(attr), NULL);
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
		mvchgat(y, x + !!nr, view->widths[nr] - !!nr, attr, colour, NULL);
}

static void show_row(int y, size_t nr)
{
	const struct row *row = &view->table.rows[nr];
	attr_t attr = nr == view->selected ? A_REVERSE : 0;
	double fullness = row->value[FULLNESS];
	struct line line;
	size_t i;

	put_row(&line, row);
	show_line(y, &line, attr);
	for (i = 0; i < view->nr; i++) {
		if (view->columns[i].style == BAR)
			show_cell(y, i, 0, fullness < 25 ? BAD : fullness < 60 ? FAIR : GOOD);
		else if (view->columns[i].style == SPARK)
			show_cell(y, i, 0, DIM);
	}
}

static void layout(int columns)
{
	size_t i, last = view->nr - 1;
	int x = 0;

	for (i = 0; i < last; i++) {
		int width = view->columns[i].width;

		if (view->columns[i].style == TEXT && columns >= 80 + width)
			width *= 2;
		view->widths[i] = i < view->core || x + width + SPARK_WIDTH <= columns ? width : 0;
		x += view->widths[i];
	}
	view->widths[last] = !curses || x + 2 > columns ? 0 : fmin(columns - x, HISTORY);
}

static void show(int columns, size_t rows)
{
	const struct row *row = *heap ? find_row(&heaps_view.table, heap) : &total;
	size_t first, i;
	struct line line;

	sort();
	layout(columns);
	put_summary(&line, row);
	show_line(0, &line, A_BOLD);
	if (curses && row) {
		line.len = 0;
		put_spark(&line, row, columns < HISTORY ? columns : HISTORY);
		show_line(1, &line, COLOR_PAIR(DIM));
	}
	put_titles(&line);
	show_line(3, &line, A_REVERSE);
	show_cell(3, view->sort, A_REVERSE | A_BOLD | A_UNDERLINE, 0);
	first = view->selected < rows ? 0 : view->selected - rows + 1;
	for (i = first; i < view->table.nr && i < first + rows; i++)
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
	else if (err == -ENOENT && !live)
		tell("%s is no snapshot of blockslab: it has no file heaps", dir);
	else if (err == -ENOENT && debugfs_mounted())
		tell("there is no %s: is blockslab loaded? (modprobe blockslab)", dir);
	else if (err == -ENOENT)
		tell("debugfs is not mounted; mount -t debugfs none %s", DEBUGFS);
	else if (err)
		tell("cannot read %s/heaps: %s", dir, strerror(-err));
}

/* Running */

static bool cannot_read(void)
{
	explain(sample());
	if (*message)
		fprintf(stderr, "blockslabtop: %s\n", message);
	return *message;
}

static int batch(long runs)
{
	while (runs--) {
		if (cannot_read())
			return 1;
		show(TEXT_WIDTH, SIZE_MAX);
		if (runs) {
			putchar('\n');
			fflush(stdout);
			usleep(delay * 1e6);
		}
	}
	return 0;
}

static void move_to(long nr)
{
	long last = (long)view->table.nr - 1;

	view->selected = nr < 0 || last < 0 ? 0 : nr > last ? last : nr;
	view->selected_name[0] = '\0';
	if (last >= 0)
		copy_name(view->selected_name, view->table.rows[view->selected].name);
}

static void enter(const char *name)
{
	copy_name(heap, name);
	view = *heap ? &classes_view : &heaps_view;
	if (*heap) {
		free_table(&view->table);
		move_to(0);
	}
}

static void move_sort(int step)
{
	do
		view->sort = (view->sort + view->nr + step) % view->nr;
	while (!view->columns[view->sort].name || !view->widths[view->sort]);
}

/* Whether the key moves the cursor. */
static bool move_by(int key)
{
	static const struct { int key, step; } moves[] = {
		{ KEY_UP, -1 }, { KEY_DOWN, 1 }, { KEY_PPAGE, -PAGE }, { KEY_NPAGE, PAGE },
		{ KEY_HOME, -INT_MAX }, { KEY_END, INT_MAX },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(moves); i++) {
		if (moves[i].key == key) {
			move_to((long)view->selected + moves[i].step);
			return true;
		}
	}
	return false;
}

/* Whether to read again at once. */
static bool handle(int key)
{
	char letter[] = { key < 128 ? key : 0, '\0' };

	if (move_by(key))
		return false;
	if (key == '<' || key == '>')
		move_sort(key == '<' ? -1 : 1);
	else if (key == 'r')
		view->reverse = !view->reverse;
	else if (key == '+' || key == '-')
		delay = fmin(fmax(delay + (key == '+' ? 1 : -1), 0.5), MAX_DELAY);
	else
		sort_by(letter);

	if (key == '\n' && !*heap && view->table.nr) {
		move_to(view->selected);
		enter(view->selected_name);
		return true;
	}
	if (key == ESCAPE || key == KEY_BACKSPACE) {
		enter("");
		return true;
	}
	return key == ' ';
}

#define COMMON_KEYS	"  < > sort by  r reverse  + - delay  Space now  q quit"
#define KEYS		"Enter classes" COMMON_KEYS
#define HEAP_KEYS	"Esc heaps" COMMON_KEYS

static void draw(void)
{
	struct line line = { .len = 0 };

	erase();
	show(COLS, LINES > 6 ? LINES - 5 : 1);
	put_text(&line, *message ? message : *heap ? HEAP_KEYS : KEYS, 0);
	show_line(LINES - 1, &line, *message ? A_BOLD : A_DIM);
	refresh();
}

static void start_curses(void)
{
	initscr();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	set_escdelay(25);
	curs_set(0);
	start_color();
	use_default_colors();
	init_pair(GOOD, COLOR_GREEN, -1);
	init_pair(FAIR, COLOR_YELLOW, -1);
	init_pair(BAD, COLOR_RED, -1);
	init_pair(DIM, COLOR_CYAN, -1);
	curses = true;
}

static int interactive(void)
{
	double next;
	int key = 0;

	if (cannot_read())
		return 1;
	next = now() + delay;
	start_curses();
	while (key != 'q') {
		if (now() >= next) {
			explain(sample());
			next = now() + delay;
		}
		draw();
		timeout(fmax(1, 1000 * (next - now())));
		key = getch();
		if (key != ERR && handle(key))
			next = 0;
	}
	endwin();
	return 0;
}

static void print_usage(FILE *file)
{
	fputs("blockslabtop: who holds blockslab's memory, live\n"
	      "usage: blockslabtop [-o | -b N] [-d SECONDS] [-s COLUMN] [-H HEAP] [-f DIR]\n"
	      "  -o, --once           print the table once, and exit\n"
	      "  -b, --batch N        print it N times, and exit\n"
	      "  -d, --delay SECONDS  time between two readings (3)\n"
	      "  -s, --sort COLUMN    held, limit, slots, blocks, allocs, frees, waste, full, name; for\n"
	      "                       classes also size, cached, free, partial, ...; see the man page\n"
	      "  -H, --heap HEAP      classes of this heap, not the table of heaps\n"
	      "  -f, --from DIR       read a snapshot made by blockslab-snapshot\n"
	      "  -h, --help           this text\n", file);
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

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "once", no_argument, NULL, 'o' }, { "batch", required_argument, NULL, 'b' },
		{ "delay", required_argument, NULL, 'd' }, { "sort", required_argument, NULL, 's' },
		{ "heap", required_argument, NULL, 'H' }, { "from", required_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' }, { }
	};
	const char *column = NULL;
	long runs = 0;
	int option;

	if (getenv("BLOCKSLAB_DEBUGFS"))
		dir = getenv("BLOCKSLAB_DEBUGFS");
	setlocale(LC_CTYPE, "");
	utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	while ((option = getopt_long(argc, argv, "ob:d:s:H:f:h", options, NULL)) != -1) {
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
			enter(optarg);
			break;
		case 'f':
			dir = optarg;
			live = false;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		default:
			print_usage(stderr);
			return 2;
		}
	}
	if (optind < argc)
		refuse("no such argument", argv[optind]);
	if (column && !sort_by(column))
		refuse("no such column to sort by", column);
	view->reverse = false;
	clear_row(&total);
	if (runs)
		return batch(runs);
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		refuse("no terminal", "use -o or -b N");
	return interactive();
}
