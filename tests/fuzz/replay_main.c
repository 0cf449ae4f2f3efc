/* For compilers without libFuzzer: runs the target once with each file given, or with each file in
 * a directory given. A finding ends the program with a signal; the last name printed is its input.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>

static unsigned runs;

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    uint8_t *data = NULL;
    size_t size = 0, bytes = 0;
    do {
        data = realloc(data, size + BUFSIZ);
        FUZZ_CHECK(data != NULL);
        bytes = fread(data + size, 1, BUFSIZ, file);
        size += bytes;
    } while (bytes > 0);
    fclose(file);
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    runs++;
    return 0;
}

static int replay(const char *path)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return replay_file(path);
    }
    int failed = 0;
    struct dirent *entry = NULL;
    while ((entry = readdir(directory)) != NULL) {
        char inside[4096];
        snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name);
        failed |= entry->d_name[0] == '.' ? 0 : replay_file(inside);
    }
    closedir(directory);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        failed |= replay(argv[i]);
    }
    printf("%u inputs, no finding\n", runs);
    return failed != 0 || runs == 0;
}
