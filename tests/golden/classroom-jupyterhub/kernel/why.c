/*
 * Says why symbols do not have the values that were asked for, in the words of the kernel's own Kconfig.
 *
 * Linked with the objects of scripts/kconfig and run by make in place of its `conf`, hence with the environment that
 * Kconfig files read. Takes what was asked for as a configuration has it (CONFIG_X=m, # CONFIG_X is not set) on
 * standard input, reads the configuration that came of it, and prints one JSON object a line for each symbol that
 * differs:
 *
 *   {"symbol": "X", "value": "n", "wanted": "m", "type": "tristate", "state": STATE, ...}
 *
 * STATE is the first of these that holds:
 *   undefined   no Kconfig file of this architecture defines it
 *   type        it cannot have such a value: a module of something that is on or off, a word for a number
 *   range       a number outside of "low" and "high"
 *   selected    "by" symbols force it on
 *   chosen      one of a choice; "chosen" is the one that was taken, itself if it must not be
 *   limited     "because" of these its prompt does not allow it
 *   promptless  nobody can set it: "by" symbols would select it, "because" of these it could not be on
 *   default     nobody can set it: a default or another symbol's `imply` does
 *   free        nothing hinders it
 *
 * An element of "because" is another such object with "needed" for "wanted"; or {"any": [[...], ...]}, lists of which
 * one is enough; or {"expression": "A [=1]>=2"}. If a symbol is undefined, {"names": [...]} with all others comes last.
 *
 * It serves while a kernel is configured and is no part of anything that is built.
 */
#include <string.h>

#include "internal.h"
#include "lkc.h"

/* How far a chain is followed, and how many symbols that select one are named: enough to act, short enough to read. */
#define DEPTH 6
#define SELECTORS 8

static const char *const TRISTATE[] = { "n", "m", "y" };
static int depth;

static void explain(struct symbol *sym, tristate want, bool at_most);
static void unmet(struct expr *e, tristate want, bool at_most, const char **separator);

static void text(const char *string)
{
	putchar('"');
	for (; *string; string++) {
		if (*string == '"' || *string == '\\')
			putchar('\\');
		putchar((unsigned char)*string < ' ' ? ' ' : *string);
	}
	putchar('"');
}

static void item(const char **separator)
{
	fputs(*separator, stdout);
	*separator = ", ";
}

/* The symbols whose `select` is stronger than `above`, or, with `possible`, that there are at all. */
static int selectors(struct expr *e, tristate above, bool possible, const char **separator, int count)
{
	struct expr *term = e;

	if (!e || count == SELECTORS)
		return count;
	if (e->type == E_OR) {
		count = selectors(e->left.expr, above, possible, separator, count);
		return selectors(e->right.expr, above, possible, separator, count);
	}
	if (!possible && expr_calc_value(e) <= above)
		return count;
	/* menu_finalize() puts the symbol that selects before the condition on which it does. */
	while (term->type == E_AND)
		term = term->left.expr;
	if (term->type != E_SYMBOL || !term->left.sym->name)
		return count;
	item(separator);
	text(term->left.sym->name);
	return count + 1;
}

static void by(struct symbol *sym, tristate above, bool possible)
{
	const char *separator = "";

	printf(", \"by\": [");
	selectors(sym->rev_dep.expr, above, possible, &separator, 0);
	printf("]");
}

/* The parts of a chain of && or ||, of which one must change. */
static void alternatives(struct expr *e, enum expr_type type, tristate want, bool at_most, const char **separator)
{
	const char *inner = "";

	if (e->type == type) {
		alternatives(e->left.expr, type, want, at_most, separator);
		alternatives(e->right.expr, type, want, at_most, separator);
		return;
	}
	item(separator);
	putchar('[');
	unmet(e, want, at_most, &inner);
	putchar(']');
}

static void comparison(struct expr *e, tristate want, bool at_most, const char **separator)
{
	struct symbol *other = e->right.sym;
	bool equal = (e->type == E_EQUAL) != at_most;
	struct gstr string;

	if (e->type == E_EQUAL || e->type == E_UNEQUAL) {
		tristate value = other == &symbol_yes ? yes : other == &symbol_mod ? mod : no;
		bool known = other == &symbol_yes || other == &symbol_mod || other == &symbol_no;

		/* "A=m" asks for less or for more than A has, "A!=n" for more, "A!=y" for less. */
		if (known && e->left.sym->type != S_UNKNOWN && (equal || value != mod)) {
			item(separator);
			if (equal)
				explain(e->left.sym, value, e->left.sym->curr.tri > value);
			else
				explain(e->left.sym, mod, value == yes);
			return;
		}
	}
	string = str_new();
	expr_gstr_print(e, &string);
	item(separator);
	printf("{\"expression\": ");
	text(str_get(&string));
	printf(", \"needed\": \"%s\"}", at_most ? "n" : "y");
	str_free(&string);
}

/* What keeps an expression below (with at_most: above) a value. */
static void unmet(struct expr *e, tristate want, bool at_most, const char **separator)
{
	const char *inner = "";

	if (at_most ? expr_calc_value(e) <= want : expr_calc_value(e) >= want)
		return;
	switch (e->type) {
	case E_AND:
	case E_OR:
		if ((e->type == E_AND) != at_most) {
			unmet(e->left.expr, want, at_most, separator);
			unmet(e->right.expr, want, at_most, separator);
			break;
		}
		item(separator);
		printf("{\"any\": [");
		alternatives(e, e->type, want, at_most, &inner);
		printf("]}");
		break;
	case E_NOT:
		unmet(e->left.expr, 2 - want, !at_most, separator);
		break;
	case E_SYMBOL:
		if (e->left.sym->flags & SYMBOL_CONST) {
			item(separator);
			printf("{\"expression\": \"%s\", \"needed\": \"%s\"}", e->left.sym->name, TRISTATE[want]);
			break;
		}
		item(separator);
		explain(e->left.sym, want, at_most);
		break;
	default:
		comparison(e, want, at_most, separator);
	}
}

/* When one of its prompts can be answered; NULL if it has none. */
static struct expr *prompts(struct symbol *sym)
{
	struct expr *any = NULL;
	struct property *prompt;

	for_all_prompts(sym, prompt)
		any = expr_alloc_or(any, prompt->visible.expr ?: expr_alloc_symbol(&symbol_yes));
	return any;
}

static void because(struct expr *e, tristate want)
{
	const char *separator = "";

	printf(", \"because\": [");
	depth++;
	if (e && depth <= DEPTH)
		unmet(e, want, false, &separator);
	depth--;
	printf("]");
}

static void state(struct symbol *sym, tristate want, bool at_most)
{
	struct menu *choice = sym_get_choice_menu(sym);
	struct expr *prompt = prompts(sym);
	struct symbol *chosen = choice ? sym_calc_choice(choice) : NULL;

	/* Something that is on or off takes a module that it depends on for "on". */
	if (!at_most && sym->type != S_TRISTATE)
		want = mod;
	if (sym->type == S_UNKNOWN)
		printf("\"undefined\"");
	else if (at_most && sym->rev_dep.tri > want) {
		printf("\"selected\"");
		by(sym, want, false);
	} else if (chosen && (at_most || sym->visible >= want)) {
		printf("\"chosen\", \"chosen\": ");
		text(chosen->name ?: "");
	} else if (at_most ? sym->visible != no : prompt && sym->visible >= want)
		printf("\"free\"");
	else if (at_most)
		printf("\"default\"");
	else if (prompt) {
		printf("\"limited\"");
		because(prompt, want);
	} else {
		printf("\"promptless\"");
		by(sym, no, true);
		because(sym->dir_dep.expr, want);
	}
}

static void explain(struct symbol *sym, tristate want, bool at_most)
{
	sym_calc_value(sym);
	if (sym->type != S_TRISTATE && want == mod)
		want = at_most ? no : yes;
	printf("{\"symbol\": ");
	text(sym->name ?: "");
	printf(", \"value\": \"%s\", \"needed\": \"%s\"", TRISTATE[sym->curr.tri], TRISTATE[want]);
	printf(", \"state\": ");
	state(sym, want, at_most);
	printf("}");
}

static void number_or_text(struct symbol *sym, const char *wanted)
{
	struct property *range = sym_get_range_prop(sym);
	struct expr *prompt = prompts(sym);

	if (prompt && sym->visible == no) {
		printf("\"limited\"");
		because(prompt, yes);
	} else if (!prompt)
		printf("\"default\"");
	else if (sym->type == S_STRING ? *wanted != '"' : !sym_string_valid(sym, wanted))
		printf("\"type\"");
	else if (range && !sym_string_within_range(sym, wanted)) {
		printf("\"range\", \"low\": ");
		text(sym_get_string_value(range->expr->left.sym));
		printf(", \"high\": ");
		text(sym_get_string_value(range->expr->right.sym));
	} else
		printf("\"free\"");
}

static bool same(struct symbol *sym, const char *value, const char *wanted)
{
	size_t length = strlen(value);

	/* A text has quotes where it is asked for, not in its value. */
	if (sym->type == S_STRING)
		return strlen(wanted) == length + 2 && !strncmp(wanted + 1, value, length);
	return !strcmp(wanted, value);
}

/* False when something else must have been meant: nothing defines the symbol. */
static bool answer(const char *name, const char *wanted)
{
	struct symbol *sym = sym_find(name);
	bool defined = sym && sym->type != S_UNKNOWN;
	bool number = defined && sym->type != S_BOOLEAN && sym->type != S_TRISTATE;
	tristate want = *wanted == 'y' ? yes : *wanted == 'm' ? mod : no;
	const char *value = "n";

	if (defined)
		sym_calc_value(sym);
	/* As in the configuration: numbers and texts that cannot be set are not in it. */
	if (defined && (sym->flags & SYMBOL_WRITE)) {
		value = sym_get_string_value(sym);
		if (same(sym, value, wanted))
			return true;
	} else if (!strcmp(wanted, "n"))
		return true;
	printf("{\"symbol\": ");
	text(name);
	printf(", \"value\": ");
	text(value);
	printf(", \"wanted\": ");
	text(wanted);
	printf(", \"type\": \"%s\", \"state\": ", defined ? sym_type_name(sym->type) : "unknown");
	if (!defined)
		printf("\"undefined\"");
	else if (number)
		number_or_text(sym, wanted);
	else if (strlen(wanted) != 1 || !strchr("nmy", *wanted) || (want == mod && sym->type == S_BOOLEAN))
		printf("\"type\"");
	else
		state(sym, want, sym->curr.tri > want);
	printf("}\n");
	return defined;
}

int main(int count, char **arguments)
{
	char line[1024], name[256], wanted[768];
	const char *separator = "";
	struct symbol *sym;
	bool all_defined = true;

	/* As `conf` is called, with options before the file. */
	if (count < 2)
		return 2;
	conf_parse(arguments[count - 1]);
	if (conf_read(NULL))
		return 1;
	while (fgets(line, sizeof(line), stdin))
		if (sscanf(line, "CONFIG_%255[^= \n]=%767[^\n]", name, wanted) == 2)
			all_defined &= answer(name, wanted);
		else if (sscanf(line, "# CONFIG_%255s is not set", name) == 1)
			answer(name, "n");
	if (all_defined)
		return 0;
	printf("{\"names\": [");
	for_all_symbols(sym)
		if (sym->name && sym->type != S_UNKNOWN && !(sym->flags & SYMBOL_CONST)) {
			item(&separator);
			text(sym->name);
		}
	printf("]}\n");
	return 0;
}
