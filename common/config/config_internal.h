/* What the files of config share. Nobody else includes this. */
#ifndef TWINHTTPD_COMMON_CONFIG_CONFIG_INTERNAL_H
#define TWINHTTPD_COMMON_CONFIG_CONFIG_INTERNAL_H

#include "common/base/error.h"
#include "common/config/config.h"

#include <stddef.h>

enum config_kind {
    CONFIG_KIND_COUNT,   /* uint64_t, min to max */
    CONFIG_KIND_CHOICE,  /* an enum: the index into names */
    CONFIG_KIND_SWITCH,  /* bool */
    CONFIG_KIND_FLAG,    /* bool; on the command line the option alone switches it on */
    CONFIG_KIND_PATH,    /* char * */
    CONFIG_KIND_USER,    /* char * */
    CONFIG_KIND_LISTEN,  /* char *; in the YAML file also a list */
    CONFIG_KIND_ADDRESS, /* char *: one address, by number or localhost */
    CONFIG_KIND_NAMES    /* char *: names of hosts, with commas between them */
};

/* One row of the settings table. */
struct config_setting {
    const char *key;    /* in the YAML file */
    const char *option; /* on the command line, without the dashes */
    enum config_kind kind;
    size_t offset; /* of the member in struct config */
    uint64_t min;
    uint64_t max;
    const char *const *names;  /* CONFIG_KIND_CHOICE: NULL-terminated */
    const char *empty_word;    /* the word that stands for 0 or NULL; NULL: there is none */
    const char *default_value; /* as it would be written in the file */
    unsigned servers;          /* which servers have it: enum config_server, ORed */
    unsigned zero_servers;     /* servers that take 0 although min is higher */
    unsigned needs;            /* enum config_trait, ORed: without all of them it has no effect */
    const char *elsewhere;     /* the fix for whoever gives it to the other server */
    const char *help;
};

enum {
    CONFIG_SETTINGS_MOST = 64, /* each has a bit in config.chosen */
    CONFIG_ALLOWED_BYTES = 128
};

extern const struct config_setting config_settings[];
extern const size_t config_setting_count;

/* The row of a YAML key, or NULL. */
const struct config_setting *config_setting_find(const char *key);

/* Checks text and, when the server has the setting, stores it in *config. False: the text is not
 * valid, and nothing has changed. */
bool config_setting_apply(const struct config_setting *setting, enum config_server server,
                          const char *text, struct config *config);

/* Renders the values that a setting takes: "auto or a number from 1 to 512". */
void config_setting_allowed(const struct config_setting *setting, enum config_server server,
                            char out[CONFIG_ALLOWED_BYTES]);

/* Fails with "<where>: <text> is not valid; use <allowed>". */
bool config_fail_value(struct error *error, const char *where, const struct config_setting *setting,
                       enum config_server server, const char *text);

/* Reads the YAML file over *config. False: error holds "<path>:<line>: <cause>; <fix>". */
bool config_file_apply(const char *path, enum config_server server, struct config *config,
                       struct error *error);

#endif
