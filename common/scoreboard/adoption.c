#include "common/scoreboard/adoption.h"

#include "common/base/json_writer.h"
#include "common/scoreboard/scoreboard.h"

#include <stdio.h>

void adoption_add(struct adoption_counts *sum, const adoption_counters *counters)
{
    for (int i = 0; i < ADOPTION_KINDS; i++) {
        sum->of[i] += adoption_plausible(atomic_load(&(*counters)[i]));
    }
}

void adoption_take(struct adoption_counts *sum, adoption_counters *counters)
{
    for (int i = 0; i < ADOPTION_KINDS; i++) {
        sum->of[i] += adoption_plausible(atomic_exchange(&(*counters)[i], 0));
    }
}

static void add_living(const struct scoreboard *scoreboard, struct adoption_counts *sum)
{
    uint32_t count = scoreboard_slot_count(scoreboard);
    for (uint32_t i = 0; i < count; i++) {
        if (atomic_load(&scoreboard->slots[i].legacy) != 0) { /* else it cannot have any */
            adoption_add(sum, &scoreboard->slots[i].counters.adoption);
        }
    }
}

void adoption_sum(const struct scoreboard *scoreboard, struct adoption_counts *sum)
{
    for (int i = 0; i < ADOPTION_KINDS; i++) {
        sum->of[i] = atomic_load(&scoreboard->dead.adoption[i]);
    }
    add_living(scoreboard, sum);
}

struct adoption_loss adoption_loss(const struct scoreboard *scoreboard)
{
    struct adoption_counts living = {0};
    add_living(scoreboard, &living);
    uint64_t in_progress = living.of[ADOPTION_LOST_IN_PROGRESS];
    return (struct adoption_loss){
        .requests = atomic_load(&scoreboard->requests_lost) + in_progress +
                    living.of[ADOPTION_LOST_AWAITED],
        .in_progress = atomic_load(&scoreboard->in_progress_lost) + in_progress,
    };
}

void adoption_describe(const struct adoption_counts *counts, char out[ADOPTION_TEXT_BYTES])
{
    snprintf(out, ADOPTION_TEXT_BYTES,
             "%llu requests repeated, %llu answers resumed, %llu requests given up with 500 and "
             "%llu with 502; %llu connections lost",
             (unsigned long long)counts->of[ADOPTION_REPEATED],
             (unsigned long long)counts->of[ADOPTION_RESUMED],
             (unsigned long long)counts->of[ADOPTION_REFUSED_500],
             (unsigned long long)counts->of[ADOPTION_REFUSED_502],
             (unsigned long long)counts->of[ADOPTION_LOST]);
}

void adoption_put_json(struct json_writer *json, const char *key,
                       const struct adoption_counts *counts)
{
    json_key(json, key);
    json_object_begin(json);
    json_put_uint(json, "connections", counts->of[ADOPTION_CONNECTIONS]);
    json_put_uint(json, "lost", counts->of[ADOPTION_LOST]);
    json_put_uint(json, "repeated", counts->of[ADOPTION_REPEATED]);
    json_put_uint(json, "resumed", counts->of[ADOPTION_RESUMED]);
    json_put_uint(json, "skipped", counts->of[ADOPTION_SKIPPED]);
    json_put_uint(json, "refused_500", counts->of[ADOPTION_REFUSED_500]);
    json_put_uint(json, "refused_502", counts->of[ADOPTION_REFUSED_502]);
    json_object_end(json);
}
