#include "server/master/proc.h"

#include "common/base/check.h"
#include "common/base/small_file.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 96, TEXT_BYTES = 2048, CGROUP_PATH_BYTES = 4096 };

static bool read_of_thread(pid_t pid, pid_t tid, const char *name, char text[TEXT_BYTES])
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)tid, name);
    return small_file_read(path, text, TEXT_BYTES);
}

bool proc_thread_read(pid_t pid, pid_t tid, struct proc_thread *thread)
{
    char text[TEXT_BYTES];
    uint64_t user_ticks;
    uint64_t system_ticks;
    if (!read_of_thread(pid, tid, "stat", text)) {
        return false;
    }
    const char *name_end = strrchr(text, ')'); /* a name may hold blanks and parentheses itself */
    if (name_end == NULL ||
        sscanf(name_end, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
               &thread->state, &user_ticks, &system_ticks) != 3) {
        return false;
    }
    thread->cpu_ticks = user_ticks + system_ticks;
    return true;
}

static void append(char out[PROC_DESCRIPTION_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void append(char out[PROC_DESCRIPTION_BYTES], const char *format, ...)
{
    size_t used = strlen(out);
    CHECK(used < PROC_DESCRIPTION_BYTES);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(out + used, PROC_DESCRIPTION_BYTES - used, format, arguments);
    va_end(arguments);
}

/* A line of a kernel stack is "[<0>] futex_wait_queue+0x5a/0x90". */
static void append_stack(char out[PROC_DESCRIPTION_BYTES], char *text)
{
    const char *before = ", kernel stack ";
    char *rest = text;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        const char *name = strchr(line, ' ');
        if (name != NULL) {
            append(out, "%s%.*s", before, (int)strcspn(name + 1, "+"), name + 1);
            before = " < ";
        }
    }
}

void proc_thread_wait_channel(pid_t pid, pid_t tid, char *out, size_t bytes)
{
    char text[TEXT_BYTES];
    bool waits = read_of_thread(pid, tid, "wchan", text) && strcmp(text, "0") != 0;
    snprintf(out, bytes, "%s", waits ? text : "");
}

void proc_thread_describe(pid_t pid, pid_t tid, char out[PROC_DESCRIPTION_BYTES])
{
    struct proc_thread thread;
    char text[TEXT_BYTES];
    out[0] = '\0';
    if (!proc_thread_read(pid, tid, &thread)) {
        append(out, "gone");
        return;
    }
    append(out, "state %c", thread.state);
    proc_thread_wait_channel(pid, tid, text, sizeof(text));
    if (text[0] != '\0') {
        append(out, ", waits in %s", text);
    }
    if (read_of_thread(pid, tid, "syscall", text) && text[0] >= '0' && text[0] <= '9') {
        append(out, ", system call %.*s", (int)strcspn(text, " \n"), text);
    }
    if (read_of_thread(pid, tid, "stack", text)) {
        append_stack(out, text);
    }
}

uint64_t proc_pss_kib(pid_t pid)
{
    char path[PATH_BYTES];
    char text[TEXT_BYTES];
    uint64_t kib;
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    const char *line = small_file_read(path, text, TEXT_BYTES) ? strstr(text, "\nPss:") : NULL;
    return line != NULL && sscanf(line, " Pss: %" SCNu64, &kib) == 1 ? kib : 0;
}

/* ---- Want of memory ---- */

/* The number behind "oom_kill" in a file; false: it has no such line. */
static bool read_oom_kills(const char *path, uint64_t *kills)
{
    char line[PATH_BYTES];
    bool found = false;
    FILE *file = fopen(path, "re");
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        found = sscanf(line, "oom_kill %" SCNu64, kills) == 1;
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

/* A line is "4:memory:/group" in cgroup v1, and "0::/group" in v2 (cgroups(7)). */
static bool read_oom_kills_of_group(const char *line, const char *mount, uint64_t *kills)
{
    char path[CGROUP_PATH_BYTES];
    const char *controllers = strchr(line, ':');
    const char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL) {
        return false;
    }
    const int bytes = (int)strcspn(group + 1, "\n");
    if (strncmp(controllers, ":memory:", 8) == 0) {
        snprintf(path, sizeof(path), "%s/memory%.*s/memory.oom_control", mount, bytes, group + 1);
    } else if (strncmp(controllers, "::", 2) == 0) {
        snprintf(path, sizeof(path), "%s%.*s/memory.events.local", mount, bytes, group + 1);
    } else {
        return false;
    }
    return read_oom_kills(path, kills);
}

bool proc_cgroup_oom_kills(const char *groups, const char *mount, uint64_t *kills)
{
    char line[CGROUP_PATH_BYTES];
    bool found = false;
    FILE *file = fopen(groups, "re");
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        found = read_oom_kills_of_group(line, mount, kills);
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

uint64_t proc_oom_kills(void)
{
    uint64_t kills = 0;
    (void)(proc_cgroup_oom_kills("/proc/self/cgroup", "/sys/fs/cgroup", &kills) ||
           read_oom_kills("/proc/vmstat", &kills));
    return kills;
}
