#include "server/observe/procfs.h"

#include "common/base/memory.h"
#include "common/base/small_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 128, TEXT_BYTES = 2048 };

/* A process as it was read. */
struct reading {
    struct procfs_process shown;
    bool has_times; /* the next two are known */
    uint64_t ran_ns;
    uint64_t waited_ns;
};

struct procfs {
    const char *root;
    uint64_t ticks_per_second;
    uint64_t page_kib;
    uint64_t read_ms; /* CLOCK_MONOTONIC, of the last reading; 0: none */
    uint32_t round;   /* counts the readings */
    uint32_t count;
    struct reading *readings; /* those of the processes in the last reading */
    uint32_t sums_count;
    struct procfs_sums *sums;
};

struct procfs *procfs_create(const char *root)
{
    struct procfs *procfs = memory_alloc_zeroed(1, sizeof(*procfs));
    procfs->root = root;
    procfs->ticks_per_second = (uint64_t)sysconf(_SC_CLK_TCK);
    procfs->page_kib = (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
    return procfs;
}

void procfs_destroy(struct procfs *procfs)
{
    free(procfs->readings);
    free(procfs->sums);
    free(procfs);
}

/* ---- Files ---- */

static bool read_of_thread(const struct procfs *procfs, int32_t pid, int32_t tid, const char *name,
                           char text[TEXT_BYTES])
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%d/task/%d/%s", procfs->root, (int)pid, (int)tid, name);
    return small_file_read(path, text, TEXT_BYTES);
}

/* Memory and CPU time of a process. */
static void read_stat(const struct procfs *procfs, struct procfs_process *out)
{
    char path[PATH_BYTES], text[TEXT_BYTES];
    uint64_t user_ticks, system_ticks, pages;
    snprintf(path, sizeof(path), "%s/%d/stat", procfs->root, (int)out->pid);
    /* behind a name that may hold anything */
    const char *end = small_file_read(path, text, TEXT_BYTES) ? strrchr(text, ')') : NULL;
    if (end != NULL && sscanf(end,
                              ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                              " %*d %*d %*d %*d %*d %*d %*u %*u %" SCNu64,
                              &user_ticks, &system_ticks, &pages) == 3) {
        out->cpu_ms = (user_ticks + system_ticks) * 1000 / procfs->ticks_per_second;
        out->rss_kib = pages * procfs->page_kib;
    }
}

static bool find_number(const char *text, const char *key, uint64_t *number)
{
    const char *at = strstr(text, key);
    return at != NULL && sscanf(at + strlen(key), "%" SCNu64, number) == 1;
}

/* What it is made of in detail. Not for every user: then it stays unknown. */
static void read_memory(const struct procfs *procfs, struct procfs_process *out)
{
    char path[PATH_BYTES], text[TEXT_BYTES];
    uint64_t pss_kib, clean_kib, dirty_kib;
    snprintf(path, sizeof(path), "%s/%d/smaps_rollup", procfs->root, (int)out->pid);
    if (small_file_read(path, text, TEXT_BYTES) && find_number(text, "\nPss:", &pss_kib) &&
        find_number(text, "\nPrivate_Clean:", &clean_kib) &&
        find_number(text, "\nPrivate_Dirty:", &dirty_kib)) {
        out->pss_kib = pss_kib;
        out->private_kib = clean_kib + dirty_kib;
    }
}

static void add(uint64_t *sum, uint64_t number)
{
    *sum = (*sum == PROCFS_UNKNOWN ? 0 : *sum) + number;
}

static void read_switches(const struct procfs *procfs, int32_t tid, struct procfs_process *out)
{
    char text[TEXT_BYTES];
    uint64_t voluntary, involuntary;
    if (read_of_thread(procfs, out->pid, tid, "status", text) &&
        find_number(text, "\nvoluntary_ctxt_switches:", &voluntary) &&
        find_number(text, "\nnonvoluntary_ctxt_switches:", &involuntary)) {
        add(&out->switches_voluntary, voluntary);
        add(&out->switches_involuntary, involuntary);
    }
}

static void read_times(const struct procfs *procfs, int32_t tid, struct reading *out)
{
    char text[TEXT_BYTES];
    uint64_t ran_ns, waited_ns;
    if (read_of_thread(procfs, out->shown.pid, tid, "schedstat", text) &&
        sscanf(text, "%" SCNu64 " %" SCNu64, &ran_ns, &waited_ns) == 2) {
        out->has_times = true;
        out->ran_ns += ran_ns;
        out->waited_ns += waited_ns;
    }
}

/* ---- A process ---- */

static struct procfs_process unknown(const struct facts_process *process)
{
    return (struct procfs_process){
        .pid = process->pid,
        .generation = process->generation,
        .rss_kib = PROCFS_UNKNOWN,
        .pss_kib = PROCFS_UNKNOWN,
        .private_kib = PROCFS_UNKNOWN,
        .cpu_ms = PROCFS_UNKNOWN,
        .cpu_share = PROCFS_UNKNOWN,
        .waiting_share = PROCFS_UNKNOWN,
        .switches_voluntary = PROCFS_UNKNOWN,
        .switches_involuntary = PROCFS_UNKNOWN,
    };
}

static const struct reading *find_reading(const struct procfs *procfs,
                                          const struct facts_process *process)
{
    for (uint32_t i = 0; i < procfs->count; i++) {
        const struct procfs_process *shown = &procfs->readings[i].shown;
        if (shown->pid == process->pid && shown->generation == process->generation) {
            return &procfs->readings[i];
        }
    }
    return NULL;
}

static struct procfs_sums *sums_of(struct procfs *procfs, uint32_t number)
{
    for (uint32_t i = 0; i < procfs->sums_count; i++) {
        if (procfs->sums[i].number == number) {
            return &procfs->sums[i];
        }
    }
    procfs->sums = memory_resize(procfs->sums, (procfs->sums_count + 1) * sizeof(*procfs->sums));
    procfs->sums[procfs->sums_count] = (struct procfs_sums){.number = number};
    return &procfs->sums[procfs->sums_count++];
}

static uint64_t growth(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

/* A process that is there at the first reading has used its time before anybody looked; one that
 * has come since, all of it. A thread that has ended takes its times with it: then nothing was
 * used. */
static void note_times(struct procfs *procfs, const struct facts_process *process,
                       struct reading *now, const struct reading *before, uint64_t span_ms)
{
    struct procfs_sums *sums = sums_of(procfs, process->number);
    if (!now->has_times || procfs->read_ms == 0) {
        return;
    }
    const bool is_new = before == NULL || !before->has_times;
    const uint64_t ran_ns = growth(now->ran_ns, is_new ? 0 : before->ran_ns);
    const uint64_t waited_ns = growth(now->waited_ns, is_new ? 0 : before->waited_ns);
    sums->cpu_us += ran_ns / 1000;
    sums->waiting_us += waited_ns / 1000;
    if (!is_new && span_ms > 0) {
        now->shown.cpu_share = ran_ns / 1000 / span_ms;
        now->shown.waiting_share = waited_ns / 1000 / span_ms;
    }
}

/* Of these the kernel makes pages of text: with many threads not each time. */
static void look_closely(const struct procfs *procfs, const struct facts *facts,
                         const struct facts_process *process, struct procfs_process *out)
{
    read_stat(procfs, out);
    for (uint32_t i = process->first; i < process->first + process->count; i++) {
        if (facts->slots[i].tid > 0) {
            read_switches(procfs, facts->slots[i].tid, out);
        }
    }
}

/* In turn, so that about PROCFS_LOOKS threads are looked at; a process that is new at once. */
static bool has_its_turn(const struct procfs *procfs, const struct facts *facts, uint32_t index,
                         const struct reading *before)
{
    const uint32_t rounds = 1 + facts->slot_count / (PROCFS_LOOKS + 1);
    return before == NULL || (index + procfs->round) % rounds == 0;
}

/* The same, of PROCFS_MEMORY_LOOKS processes. */
static bool has_its_memory_turn(const struct procfs *procfs, uint32_t count, uint32_t index)
{
    const uint32_t begin = procfs->round % count * PROCFS_MEMORY_LOOKS % count;
    return (index + count - begin) % count < PROCFS_MEMORY_LOOKS;
}

static struct reading read_process(const struct procfs *procfs, const struct facts *facts,
                                   uint32_t index, const struct reading *before)
{
    const struct facts_process *process = &facts->processes[index];
    struct reading out = {.shown = before != NULL ? before->shown : unknown(process)};
    out.shown.cpu_share = out.shown.waiting_share = PROCFS_UNKNOWN;
    if (has_its_turn(procfs, facts, index, before)) {
        out.shown.switches_voluntary = out.shown.switches_involuntary = PROCFS_UNKNOWN;
        look_closely(procfs, facts, process, &out.shown);
    }
    if (has_its_memory_turn(procfs, facts->process_count, index)) {
        read_memory(procfs, &out.shown);
    }
    for (uint32_t i = process->first; i < process->first + process->count; i++) {
        if (facts->slots[i].tid > 0) {
            read_times(procfs, facts->slots[i].tid, &out);
        }
    }
    return out;
}

static struct reading *read_processes(struct procfs *procfs, const struct facts *facts,
                                      uint64_t span_ms)
{
    const uint32_t count = facts->process_count;
    struct reading *readings = memory_alloc_zeroed(count + 1, sizeof(*readings));
    for (uint32_t i = 0; i < count; i++) {
        const struct facts_process *process = &facts->processes[i];
        const struct reading *before = find_reading(procfs, process);
        readings[i] = read_process(procfs, facts, i, before);
        note_times(procfs, process, &readings[i], before, span_ms);
    }
    procfs->round++;
    return readings;
}

void procfs_refresh(struct procfs *procfs, const struct facts *facts)
{
    const uint64_t span_ms = facts->now_ms - procfs->read_ms;
    if (procfs->read_ms != 0 && span_ms < PROCFS_INTERVAL_MS) {
        return;
    }
    struct reading *readings = read_processes(procfs, facts, span_ms);
    free(procfs->readings);
    procfs->readings = readings;
    procfs->count = facts->process_count;
    procfs->read_ms = facts->now_ms;
}

struct procfs_process procfs_of(const struct procfs *procfs, const struct facts_process *process)
{
    const struct reading *reading = find_reading(procfs, process);
    return reading != NULL ? reading->shown : unknown(process);
}

uint32_t procfs_sums_count(const struct procfs *procfs)
{
    return procfs->sums_count;
}

const struct procfs_sums *procfs_sums_at(const struct procfs *procfs, uint32_t index)
{
    return &procfs->sums[index];
}
