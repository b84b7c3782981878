/*
 * database: one statement to a granted database, or what tables and columns it has.
 *
 * The tool has no files and no connection: the host runs the statement, within the grant.
 */

#include <string.h>

#include "ask.h"
#include "tool.h"

enum { ROWS = 100 };

typedef enum { QUERY, TABLES, DESCRIBE } operation;

static const char *const OPERATIONS[] = {"query", "tables", "describe", NULL};

/* SQLite's own tables are left out. */
static const char SQLITE_TABLES[] =
    "select name, type from sqlite_master where type in ('table', 'view') "
    "and substr(name, 1, 7) <> 'sqlite_' order by name";
static const char SQLITE_COLUMNS[] =
    "select name, type, \"notnull\" = 0 and pk = 0 as nullable, dflt_value as \"default\", "
    "pk > 0 as primary_key from pragma_table_info(?) order by cid";

/* What other databases have instead. */
static const char OTHER_TABLES[] =
    "select table_name as name, case table_type when 'VIEW' then 'view' else 'table' end as type "
    "from information_schema.tables "
    "where table_schema not in ('information_schema', 'pg_catalog', 'mysql', 'sys', "
    "'performance_schema') order by table_name";
static const char OTHER_COLUMNS[] =
    "select column_name as name, data_type as type, "
    "case is_nullable when 'YES' then 1 else 0 end as nullable, column_default as \"default\" "
    "from information_schema.columns where table_name = ? order by ordinal_position";

/* `parameters` is JSON text; empty: none. */
static host_answer ask(slice database, slice sql, slice parameters, int64_t limit) {
    out_open('{');
    out_member_string("database", database);
    out_member_string("sql", sql);
    if (parameters.length) {
        out_name("parameters");
        out_bytes(parameters.text, parameters.length);
    }
    out_member_unsigned("limit", (uint64_t)limit);
    out_close('}');
    return ask_host(host_query, out_taken(0), "the result");
}

static slice written_json(json value) {
    out_json(value);
    return out_taken(0);
}

/* ["name"] */
static slice one_parameter(slice name) {
    out_open('[');
    out_string(name);
    out_close(']');
    return out_taken(0);
}

static _Noreturn void fail_refused(host_answer said, slice database) {
    if (same(said.code, "not_granted"))
        fail("not_granted", "%.*s (asked of the database \"%.*s\"; it needs a grant of that name "
                            "and of this kind of statement)",
             SLICE(shortened(said.message, 1200)), SLICE(shortened(database, 80)));
    fail(copy_text(said.code), "%.*s", SLICE(shortened(said.message, 1800)));
}

static json checked_rows(host_answer said, slice database) {
    if (said.refused) fail_refused(said, database);
    json rows = json_get(said.answer, "rows");
    if (json_type_of(rows) != JSON_ARRAY ||
        json_type_of(json_get(said.answer, "columns")) != JSON_ARRAY)
        fail("bad_answer", "the host's answer is not a result");
    return rows;
}

static void run_query(json arguments, slice database) {
    slice parameters = {"", 0}, sql = argument_string(arguments, "sql");
    if (!sql.length) fail("missing_argument", "sql is required for a query");
    if (has_argument(arguments, "table")) fail("bad_argument", "table is for describe");
    if (has_argument(arguments, "parameters"))
        parameters = written_json(json_get(arguments, "parameters"));
    host_answer said = ask(database, sql, parameters, argument_integer(arguments, "limit", ROWS));
    json rows = checked_rows(said, database);
    json truncated = json_get(said.answer, "truncated"), changed = json_get(said.answer, "changed");
    out_open('{');
    out_name("columns");
    out_json(json_get(said.answer, "columns"));
    out_name("rows");
    out_json(rows);
    out_member_unsigned("row_count", json_count(rows));
    out_name("changed");
    if (json_type_of(changed) == JSON_NUMBER) out_json(changed);
    else out_unsigned(0);
    out_member_boolean("truncated", json_type_of(truncated) == JSON_TRUE);
    out_close('}');
}

/* Of SQLite, or else of a database with an information_schema. */
static host_answer ask_either(slice database, const char *sqlite, const char *other,
                              slice parameters) {
    host_answer said = ask(database, slice_of(sqlite), parameters, 1000);
    if (!said.refused || !(same(said.code, "failed") || same(said.code, "bad_request"))) return said;
    host_answer second = ask(database, slice_of(other), parameters, 1000);
    /* What is wrong with the database itself was said the first time. */
    return second.refused ? said : second;
}

static void write_flag(const char *name, json value) {
    int64_t number = 0;
    bool on = json_type_of(value) == JSON_TRUE || (json_integer(value, &number) && number);
    out_member_boolean(name, on);
}

static void write_table(json row) {
    out_open('{');
    out_name("name");
    out_json(json_item(row, 0));
    out_name("type");
    out_json(json_item(row, 1));
    out_close('}');
}

static void write_column(json row) {
    json fallback = json_item(row, 3), key = json_item(row, 4);
    out_open('{');
    out_name("name");
    out_json(json_item(row, 0));
    out_name("type");
    out_json(json_item(row, 1));
    write_flag("nullable", json_item(row, 2));
    if (json_type_of(fallback) != JSON_NULL && json_type_of(fallback) != JSON_NOTHING) {
        out_name("default");
        out_json(fallback);
    }
    if (json_type_of(key) != JSON_NOTHING) write_flag("primary_key", key);
    out_close('}');
}

static void write_rows(const char *name, json rows, void (*write_row)(json row)) {
    out_name(name);
    out_open('[');
    for (json_each it = json_each_of(rows); json_more(&it); json_step(&it)) {
        out_next();
        if (json_count(it.value) < 2) fail("bad_answer", "the host's answer is not a result");
        write_row(it.value);
    }
    out_close(']');
}

static void run_tables(slice database) {
    host_answer said = ask_either(database, SQLITE_TABLES, OTHER_TABLES, (slice){"", 0});
    json rows = checked_rows(said, database);
    out_open('{');
    out_member_string("database", database);
    write_rows("tables", rows, write_table);
    out_member_boolean("truncated",
                       json_type_of(json_get(said.answer, "truncated")) == JSON_TRUE);
    out_close('}');
}

static _Noreturn void fail_unknown_table(slice database, slice table) {
    buffer names = {0};
    json rows = checked_rows(ask_either(database, SQLITE_TABLES, OTHER_TABLES, (slice){"", 0}),
                             database);
    for (json_each it = json_each_of(rows); json_more(&it) && names.length < 800; json_step(&it)) {
        json name = json_item(it.value, 0);
        if (json_type_of(name) != JSON_STRING) continue;
        if (names.length) add_text(&names, ", ");
        add_slice(&names, shortened(json_string(name), 80));
    }
    if (!names.length) add_text(&names, "none");
    fail("unknown_table", "there is no table \"%.*s\" in %.*s; there is %.*s",
         SLICE(shortened(table, 80)), SLICE(shortened(database, 80)), (int)names.length,
         names.bytes);
}

static void run_describe(slice database, slice table) {
    if (!table.length) fail("missing_argument", "table is required to describe one");
    slice parameters = one_parameter(table);
    host_answer said = ask_either(database, SQLITE_COLUMNS, OTHER_COLUMNS, parameters);
    json rows = checked_rows(said, database);
    if (!json_count(rows)) fail_unknown_table(database, table);
    out_open('{');
    out_member_string("database", database);
    out_member_string("table", table);
    write_rows("columns", rows, write_column);
    out_close('}');
}

void run(json arguments) {
    int chosen = argument_choice(arguments, "operation", OPERATIONS, QUERY);
    slice database = argument_string(arguments, "database");
    if (chosen != QUERY)
        for (const char *const *name = (const char *const[]){"sql", "parameters", "limit", NULL};
             *name; name++)
            if (has_argument(arguments, *name)) fail("bad_argument", "%s is for query", *name);
    if (chosen == TABLES && has_argument(arguments, "table"))
        fail("bad_argument", "table is for describe");
    if (chosen == QUERY) run_query(arguments, database);
    else if (chosen == TABLES) run_tables(database);
    else run_describe(database, argument_string(arguments, "table"));
}
