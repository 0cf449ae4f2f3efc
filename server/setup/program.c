#include "server/setup/program.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

static const char own_link[] = "/proc/self/exe";

/* False: it does not fit, or there is no working directory any more. */
static bool make_absolute(const char *name, char path[PATH_MAX])
{
    char directory[PATH_MAX] = "";
    if (name[0] != '/' && getcwd(directory, sizeof(directory)) == NULL) {
        return false;
    }
    int bytes = snprintf(path, PATH_MAX, "%s%s%s", directory, name[0] == '/' ? "" : "/", name);
    return bytes > 0 && bytes < PATH_MAX;
}

/* Where /proc is missing, nothing but the names can be believed. */
static bool is_own(const char *path)
{
    struct stat own;
    struct stat there;
    if (stat(path, &there) != 0) {
        return false;
    }
    return stat(own_link, &own) != 0 || (own.st_dev == there.st_dev && own.st_ino == there.st_ino);
}

static bool is_path_of_own(const char *name, char path[PATH_MAX])
{
    return name != NULL && strchr(name, '/') != NULL && make_absolute(name, path) && is_own(path);
}

bool program_find(const char *name, char path[PATH_MAX])
{
    /* what the kernel was told: a script's name for the interpreter of one */
    const char *told = (const char *)(uintptr_t)getauxval(AT_EXECFN);
    if (is_path_of_own(name, path) || is_path_of_own(told, path)) {
        return true;
    }
    ssize_t bytes = readlink(own_link, path, PATH_MAX - 1);
    path[bytes > 0 ? bytes : 0] = '\0';
    return bytes > 0;
}

/* Never execvp: it hands what the kernel refuses to a shell. */
void program_run(const char *path, char *const *argv)
{
    execv(path, argv);
}

const char *program_fix(const char *path, int error)
{
    switch (error) {
    case ENOEXEC:
        return "it is no program for this machine: put a whole one in its place";
    case EACCES:
        return "make it an executable file, on a file system that allows it";
    case ETXTBSY:
        return "it is still being written: try again later, and replace it by a rename";
    case ENOENT:
        return access(path, F_OK) == 0 ? "the interpreter that it names is missing"
                                       : "put the new program there";
    default:
        return "put a program there that can be run";
    }
}
