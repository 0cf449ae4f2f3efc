#include "server/twinctl/table.h"

#include <ctype.h>
#include <string.h>

enum { PROCESS_WIDTH = 48 }; /* of a row's first part, which says it once for all threads */

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

/* What a client has sent to the server must not reach the terminal as commands. */
static void print_harmless(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        fputc(c < 0x80 && isprint(c) ? c : '?', out);
    }
}

static void print_age(FILE *out, long long age_ms)
{
    char text[32];
    if (age_ms < 100 * 1000) {
        snprintf(text, sizeof(text), "%lld.%lld s", age_ms / 1000, age_ms / 100 % 10);
    } else if (age_ms < 100 * 60 * 1000) {
        snprintf(text, sizeof(text), "%lld min", age_ms / 60000);
    } else {
        snprintf(text, sizeof(text), "%lld h", age_ms / 3600000);
    }
    fprintf(out, "  %8s", text);
}

static void print_process(FILE *out, const json_t *process)
{
    fprintf(out, "%7lld  %7lld  %10lld  %-8s", number_of(process, "number"),
            number_of(process, "pid"), number_of(process, "generation"), text_of(process, "state"));
    print_age(out, number_of(process, "age_ms"));
}

static void print_thread(FILE *out, const json_t *thread)
{
    fprintf(out, "  %7lld  %-4s  %-8s  %11lld  %10lld  ", number_of(thread, "tid"),
            text_of(thread, "role"), text_of(thread, "state"), number_of(thread, "connections"),
            number_of(thread, "requests"));
    const char *current = text_of(thread, "current");
    print_harmless(out, current[0] == '\0' ? "-" : current);
}

static void print_rows(FILE *out, const json_t *process)
{
    const json_t *threads = json_object_get(process, "threads");
    size_t count = json_array_size(threads);
    for (size_t i = 0; i < count || i == 0; i++) {
        if (i == 0) {
            print_process(out, process);
        } else {
            fprintf(out, "%*s", PROCESS_WIDTH, "");
        }
        if (i < count) {
            print_thread(out, json_array_get(threads, i));
        }
        fputc('\n', out);
    }
}

/* What the dead have cost, and what their successors have gone on with. */
static void print_deaths(FILE *out, const json_t *answer)
{
    const json_t *adoption = json_object_get(answer, "adoption");
    if (number_of(answer, "deaths") == 0) {
        return;
    }
    fprintf(out, "deaths %lld, requests lost %lld", number_of(answer, "deaths"),
            number_of(answer, "requests_lost"));
    if (number_of(adoption, "connections") > 0 || number_of(adoption, "lost") > 0) {
        fprintf(out,
                "; connections taken over %lld, lost %lld; requests repeated %lld, resumed %lld, "
                "given up with 500 %lld, with 502 %lld",
                number_of(adoption, "connections"), number_of(adoption, "lost"),
                number_of(adoption, "repeated"), number_of(adoption, "resumed"),
                number_of(adoption, "refused_500"), number_of(adoption, "refused_502"));
    }
    fputc('\n', out);
}

static void print_list(FILE *out, const json_t *answer, const json_t *processes)
{
    fprintf(out, "%s %s, model %s, %s, master %lld, listening on %s\n", text_of(answer, "server"),
            text_of(answer, "version"), text_of(answer, "model"), text_of(answer, "state"),
            number_of(answer, "master_pid"), text_of(answer, "listen"));
    fprintf(out, "%7s  %7s  %10s  %-8s  %8s  %7s  %-4s  %-8s  %11s  %10s  %s\n", "process", "pid",
            "generation", "state", "age", "thread", "role", "state", "connections", "requests",
            "current request");
    for (size_t i = 0; i < json_array_size(processes); i++) {
        print_rows(out, json_array_get(processes, i));
    }
    print_deaths(out, answer);
}

static void print_member(FILE *out, const char *key, const json_t *value)
{
    fprintf(out, ", %s ", key);
    if (json_is_integer(value)) {
        fprintf(out, "%lld", (long long)json_integer_value(value));
    } else {
        print_harmless(out, json_is_string(value) ? json_string_value(value) : "?");
    }
}

static void print_line(FILE *out, json_t *answer)
{
    const char *key;
    json_t *value;
    fputs("ok", out);
    json_object_foreach(answer, key, value)
    {
        if (strcmp(key, "ok") != 0) {
            print_member(out, key, value);
        }
    }
    fputc('\n', out);
}

void table_print(FILE *out, json_t *answer)
{
    const json_t *processes = json_object_get(answer, "processes");
    if (json_is_array(processes)) {
        print_list(out, answer, processes);
    } else {
        print_line(out, answer);
    }
}
