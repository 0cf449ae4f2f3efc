#include "common/base/shared_cell.h"

#include "tests/unit/patience.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { THREADS = 4, PROCESSES = 3, ROUNDS = 2000 };

/* What mutual exclusion must protect: load and store with room in between. */
static void add_rounds(struct shared_cell *cell)
{
    for (int i = 0; i < ROUNDS; i++) {
        if (shared_cell_lock(cell) != 0) {
            return;
        }
        uint64_t value = atomic_load_explicit(&cell->value, memory_order_relaxed);
        if (i % 64 == 0) {
            usleep(1);
        }
        atomic_store_explicit(&cell->value, value + 1, memory_order_relaxed);
        shared_cell_unlock(cell);
    }
}

static struct shared_cell *map_cell(void)
{
    void *memory = mmap(NULL, sizeof(struct shared_cell), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    struct shared_cell *cell = memory;
    assert_int_equal(shared_cell_init(cell, SHARED_CELL_PROCESSES), 0);
    assert_int_equal(atomic_load(&cell->value), 0);
    return cell;
}

static void *add_in_a_thread(void *cell)
{
    add_rounds(cell);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct shared_cell cell;
    pthread_t threads[THREADS];
    assert_int_equal(shared_cell_init(&cell, SHARED_CELL_THREADS), 0);
    assert_int_equal(atomic_load(&cell.value), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_in_a_thread, &cell), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&cell.value), THREADS * ROUNDS);
    assert_int_equal(pthread_mutex_destroy(&cell.mutex), 0);
}

static void test_processes(void **state)
{
    (void)state;
    struct shared_cell *cell = map_cell();
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            add_rounds(cell);
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(atomic_load(&cell->value), PROCESSES * ROUNDS);
    munmap(cell, sizeof(*cell));
}

/* A child takes the lock, says so, and is killed while it holds it. */
static void die_holding(struct shared_cell *cell)
{
    int said[2];
    assert_int_equal(pipe(said), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char taken = shared_cell_lock(cell) == 0;
        atomic_fetch_add(&cell->value, 1);
        ssize_t ignored = write(said[1], &taken, 1);
        (void)ignored;
        for (;;) {
            pause();
        }
    }
    char taken = 0;
    close(said[1]);
    assert_int_equal(read(said[0], &taken, 1), 1);
    assert_true(taken);
    close(said[0]);
    assert_int_equal(pthread_mutex_trylock(&cell->mutex), EBUSY);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void test_a_dead_owner(void **state)
{
    (void)state;
    struct shared_cell *cell = map_cell();
    alarm(PATIENCE_S); /* a lock that is not recovered would wait for ever */
    for (uint64_t death = 1; death <= 3; death++) {
        die_holding(cell);
        assert_int_equal(shared_cell_lock(cell), 0);
        assert_int_equal(atomic_load(&cell->value), death);
        shared_cell_unlock(cell);
        assert_int_equal(shared_cell_lock(cell), 0); /* consistent: an ordinary lock again */
        shared_cell_unlock(cell);
    }
    alarm(0);
    assert_int_equal(pthread_mutex_destroy(&cell->mutex), 0);
    munmap(cell, sizeof(*cell));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_processes),
        cmocka_unit_test(test_a_dead_owner),
    };
    return cmocka_run_group_tests_name("shared_cell", tests, NULL, NULL);
}
