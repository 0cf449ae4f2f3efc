/* Which settings have no effect in a server as it is configured. */
#include "common/base/check.h"
#include "common/config/config_internal.h"

/* Why a setting that needs a trait does nothing without it, and what to do. */
struct lack {
    unsigned trait;
    const char *text;
};

static const struct lack lacks[] = {
    {CONFIG_HAS_MASTER, "that is for a master to do; leave --bare out"},
    {CONFIG_HAS_THREADS, "its processes have no threads; add --threads"},
    {CONFIG_HAS_POOL, "there are no pool threads; add --dispatch request, with threads"},
    {CONFIG_HAS_LOOPS, "there is one event loop; ask for more workers or threads"},
    {CONFIG_HAS_SPARES, "no spare threads are asked for; add --on-stuck spare"},
    {CONFIG_HAS_WATCHDOG, "nobody looks who is stuck; set --stuck-after-ms"},
    {CONFIG_HAS_ACCESS_LOG, "there is no access log; name one with --access-log"},
    {CONFIG_HAS_OBSERVER, "there is no observer; give it an address with --observe"},
};

static unsigned own_traits(const struct config *config)
{
    return (config->on_stuck == CONFIG_STUCK_SPARE ? CONFIG_HAS_SPARES : 0) |
           (config->stuck_after_ms != 0 ? CONFIG_HAS_WATCHDOG : 0) |
           (config->access_log != NULL ? CONFIG_HAS_ACCESS_LOG : 0) |
           (config->observe != NULL ? CONFIG_HAS_OBSERVER : 0) |
           (!config->bare ? CONFIG_HAS_MASTER : 0);
}

uint64_t config_idle_settings(const struct config *config, unsigned traits)
{
    uint64_t idle = 0;
    traits |= own_traits(config);
    for (size_t i = 0; i < config_setting_count; i++) {
        if ((config_settings[i].needs & ~traits) != 0) {
            idle |= UINT64_C(1) << i;
        }
    }
    return idle & config->chosen;
}

void config_describe_idle(const struct config *config, unsigned traits, unsigned index,
                          struct error *out)
{
    CHECK(index < config_setting_count);
    const struct config_setting *setting = &config_settings[index];
    traits |= own_traits(config);
    const char *reason = "";
    for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]) && reason[0] == '\0'; i++) {
        if ((setting->needs & ~traits & lacks[i].trait) != 0) {
            reason = lacks[i].text;
        }
    }
    error_set(out, "%s has no effect: %s, or leave it out", setting->key, reason);
}
