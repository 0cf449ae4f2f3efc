/* The YAML file. libcyaml reads the values through a schema made from the settings table; before
 * that, a scan of libyaml's events finds what libcyaml cannot tell: the line of each key (its own
 * report names the line of the event before), keys given twice, and what kind of value is wrong. */
#include "common/config/config_internal.h"

#include "common/base/buffer.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <string.h>
#include <yaml.h>

enum {
    FILE_MAX_BYTES = 1024 * 1024, /* nobody means /dev/zero */
    READ_BYTES = 4096,
    SHOWN_PATH_BYTES = 200, /* of a long path its end is shown: the cause must fit as well */
    WHERE_BYTES = 320
};

struct file {
    const char *shown_path;
    struct buffer content;
    struct buffer list; /* what stands behind the key that may have a list, with commas */
    size_t lines[CONFIG_SETTINGS_MOST]; /* where each key stands, from 1; 0: not in the file */
    struct error *error;
};

/* What the scan expects next. */
enum scan_state { SCAN_ROOT, SCAN_KEY, SCAN_VALUE, SCAN_LIST, SCAN_END };

struct scan {
    struct file *file;
    enum scan_state state;
    unsigned documents;
    bool has_keys;
    const struct config_setting *setting; /* of the key just seen */
};

static bool read_all(struct file *file, FILE *stream)
{
    size_t bytes = 0;
    do {
        buffer_reserve(&file->content, READ_BYTES);
        bytes = fread(file->content.data + file->content.len, 1, READ_BYTES, stream);
        file->content.len += bytes;
    } while (bytes == READ_BYTES && file->content.len <= FILE_MAX_BYTES);
    if (ferror(stream)) {
        return error_set(file->error, "%s: cannot be read: %s; give --config a YAML file",
                         file->shown_path, strerror(errno));
    }
    if (file->content.len > FILE_MAX_BYTES) {
        return error_set(file->error, "%s: is larger than %d bytes; give --config a YAML file",
                         file->shown_path, FILE_MAX_BYTES);
    }
    return true;
}

static bool read_file(struct file *file, const char *path)
{
    FILE *stream = fopen(path, "re");
    if (stream == NULL) {
        return error_set(file->error, "%s: cannot be opened: %s; check the path after --config",
                         file->shown_path, strerror(errno));
    }
    bool good = read_all(file, stream);
    fclose(stream);
    return good;
}

static bool scan_fail(const struct scan *scan, const yaml_event_t *event, const char *cause_and_fix)
{
    return error_set(scan->file->error, "%s:%zu: %s", scan->file->shown_path,
                     event->start_mark.line + 1, cause_and_fix);
}

static bool scan_root(struct scan *scan, const yaml_event_t *event)
{
    scan->state = event->type == YAML_MAPPING_START_EVENT ? SCAN_KEY : SCAN_END;
    bool is_nothing = event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0;
    if (scan->state == SCAN_KEY || is_nothing) {
        return true;
    }
    return scan_fail(scan, event, "not a setting; write lines of the form \"key: value\"");
}

static bool scan_key(struct scan *scan, const yaml_event_t *event)
{
    struct file *file = scan->file;
    size_t line = event->start_mark.line + 1;
    if (event->type == YAML_MAPPING_END_EVENT) {
        scan->state = SCAN_END;
        return true;
    }
    if (event->type != YAML_SCALAR_EVENT) {
        return scan_fail(scan, event, "not a key; write lines of the form \"key: value\"");
    }
    const char *key = (const char *)event->data.scalar.value;
    scan->setting = config_setting_find(key);
    if (scan->setting == NULL) {
        return error_set(file->error, "%s:%zu: unknown key \"%.80s\"; see --help for the settings",
                         file->shown_path, line, key);
    }
    size_t *first_line = &file->lines[scan->setting - config_settings];
    if (*first_line != 0) {
        return error_set(file->error,
                         "%s:%zu: duplicate key \"%s\" (first on line %zu); keep one of them",
                         file->shown_path, line, key, *first_line);
    }
    *first_line = line;
    scan->has_keys = true;
    scan->state = SCAN_VALUE;
    return true;
}

static const char *name_of_wrong_type(yaml_event_type_t type)
{
    switch (type) {
    case YAML_SEQUENCE_START_EVENT:
        return "a list";
    case YAML_MAPPING_START_EVENT:
        return "a mapping";
    default:
        return "an alias";
    }
}

static bool has_list(const struct config_setting *setting)
{
    return setting->kind == CONFIG_KIND_LISTEN;
}

static void add_to_list(struct buffer *list, const yaml_event_t *item)
{
    if (list->len > 0) {
        buffer_append(list, ",", 1);
    }
    buffer_append(list, (const char *)item->data.scalar.value, item->data.scalar.length);
}

static bool scan_value(struct scan *scan, const yaml_event_t *event)
{
    bool in_list = scan->state == SCAN_LIST;
    if (event->type == YAML_SCALAR_EVENT) {
        scan->state = in_list ? SCAN_LIST : SCAN_KEY;
        if (has_list(scan->setting)) {
            add_to_list(&scan->file->list, event);
        }
        return true;
    }
    if (in_list && event->type == YAML_SEQUENCE_END_EVENT) {
        scan->state = SCAN_KEY;
        return true;
    }
    if (!in_list && has_list(scan->setting) && event->type == YAML_SEQUENCE_START_EVENT) {
        scan->state = SCAN_LIST;
        return true;
    }
    const struct file *file = scan->file;
    /* The settings with a list belong to both servers: the allowed values are the same. */
    char allowed[CONFIG_ALLOWED_BYTES];
    config_setting_allowed(scan->setting, CONFIG_SERVER_PREFORK, allowed);
    return error_set(file->error, "%s:%zu: %s: %s is not valid; use %s (in quotes if need be)",
                     file->shown_path, file->lines[scan->setting - config_settings],
                     scan->setting->key, name_of_wrong_type(event->type), allowed);
}

static bool scan_event(struct scan *scan, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        scan->documents++;
        if (scan->documents > 1) {
            return scan_fail(scan, event, "a second document; keep all settings in the first");
        }
        return true;
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_NO_EVENT:
        return true;
    default:
        break;
    }
    switch (scan->state) {
    case SCAN_ROOT:
        return scan_root(scan, event);
    case SCAN_KEY:
        return scan_key(scan, event);
    case SCAN_VALUE:
    case SCAN_LIST:
        return scan_value(scan, event);
    case SCAN_END:
        break;
    }
    return true;
}

/* libyaml has no line for bytes that are not text, only their offset. */
static size_t line_of_offset(const struct buffer *content, size_t offset)
{
    size_t line = 1;
    for (size_t i = 0; i < content->len && i < offset; i++) {
        line += content->data[i] == '\n';
    }
    return line;
}

static bool fail_syntax(const struct file *file, const yaml_parser_t *parser)
{
    size_t line = parser->error == YAML_READER_ERROR
                      ? line_of_offset(&file->content, parser->problem_offset)
                      : parser->problem_mark.line + 1;
    return error_set(file->error,
                     "%s:%zu: YAML syntax error: %s; correct the line, and put a value that "
                     "begins with * or [ in quotes",
                     file->shown_path, line,
                     parser->problem == NULL ? "not readable" : parser->problem);
}

static bool scan_events(struct scan *scan, yaml_parser_t *parser)
{
    bool good = true;
    bool ended = false;
    while (good && !ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            return fail_syntax(scan->file, parser);
        }
        good = scan_event(scan, &event);
        ended = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    return good;
}

/* Fills file->lines. *has_keys is false for a file without settings, which libcyaml would refuse.
 */
static bool scan_keys(struct file *file, bool *has_keys)
{
    struct scan scan = {.file = file, .state = SCAN_ROOT};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return error_set(file->error, "%s: out of memory", file->shown_path);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)file->content.data,
                                 file->content.len);
    bool good = scan_events(&scan, &parser);
    yaml_parser_delete(&parser);
    *has_keys = scan.has_keys;
    return good;
}

/* Every value is read as text: libcyaml's own numbers would take "010" for 8, and have no "auto".
 * What may be a text or a list it has no word for: that the scan has read. */
static void make_schema(cyaml_schema_field_t fields[CONFIG_SETTINGS_MOST + 1])
{
    for (size_t i = 0; i < config_setting_count; i++) {
        fields[i] = (cyaml_schema_field_t){
            .key = config_settings[i].key,
            .data_offset = (uint32_t)(i * sizeof(char *)),
            .value = {.type = CYAML_STRING,
                      .flags = (enum cyaml_flag)(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL),
                      .data_size = sizeof(char *),
                      .string = {.min = 0, .max = CYAML_UNLIMITED}}};
        if (has_list(&config_settings[i])) {
            fields[i].value =
                (cyaml_schema_value_t){.type = CYAML_IGNORE, .flags = CYAML_FLAG_OPTIONAL};
        }
    }
    fields[config_setting_count] = (cyaml_schema_field_t)CYAML_FIELD_END;
}

static bool apply_values(const struct file *file, enum config_server server, char *const *values,
                         struct config *config)
{
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct config_setting *setting = &config_settings[i];
        const char *text = values[i];
        if (has_list(setting)) {
            text = file->lines[i] != 0 ? file->list.data : NULL;
        }
        if (text != NULL && !config_setting_apply(setting, server, text, config)) {
            char where[WHERE_BYTES];
            snprintf(where, sizeof(where), "%s:%zu: %s", file->shown_path, file->lines[i],
                     setting->key);
            return config_fail_value(file->error, where, setting, server, text);
        }
    }
    return true;
}

static bool load_values(const struct file *file, enum config_server server, struct config *config)
{
    static const cyaml_config_t cyaml = {.mem_fn = cyaml_mem};
    cyaml_schema_field_t fields[CONFIG_SETTINGS_MOST + 1];
    make_schema(fields);
    const cyaml_schema_value_t schema = {.type = CYAML_MAPPING,
                                         .flags = CYAML_FLAG_POINTER,
                                         .data_size =
                                             (uint32_t)(config_setting_count * sizeof(char *)),
                                         .mapping = {.fields = fields}};
    cyaml_data_t *values = NULL;
    cyaml_err_t result = cyaml_load_data((const uint8_t *)file->content.data, file->content.len,
                                         &cyaml, &schema, &values, NULL);
    if (result != CYAML_OK) {
        return error_set(file->error, "%s: cannot be read as settings: %s; see --help for them",
                         file->shown_path, cyaml_strerror(result));
    }
    bool good = apply_values(file, server, (char *const *)values, config);
    cyaml_free(&cyaml, &schema, values, 0);
    return good;
}

bool config_file_apply(const char *path, enum config_server server, struct config *config,
                       struct error *error)
{
    size_t path_bytes = strlen(path);
    struct file file = {.shown_path = path, .error = error};
    if (path_bytes > SHOWN_PATH_BYTES) {
        file.shown_path = path + path_bytes - SHOWN_PATH_BYTES;
    }
    bool has_keys = false;
    bool good = read_file(&file, path) && scan_keys(&file, &has_keys);
    buffer_append(&file.list, "", 1); /* its end */
    good = good && (!has_keys || load_values(&file, server, config));
    buffer_free(&file.list);
    buffer_free(&file.content);
    return good;
}
