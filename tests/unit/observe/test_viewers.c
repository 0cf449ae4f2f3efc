/* Those who watch: the quick, the slow, and those who are gone. */
#include "server/observe/viewers.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "common/base/clock.h"

enum { LARGE_BYTES = 20000, ROOM_BYTES = 8 * 1024 * 1024 };

static struct event_base *base;
static struct events *events;
static struct viewers *viewers;
static unsigned changes, hellos, ticks;
static char *received; /* by the last read_all */
static char large[LARGE_BYTES];

static struct event_text *make_hello(void *data)
{
    (void)data;
    hellos++;
    return events_make(events, "hello", SPAN("{\"hello\":1}"));
}

static struct event_text *make_tick(void *data)
{
    (void)data;
    ticks++;
    return events_make(events, "tick", SPAN("{\"full\":true}"));
}

static void changed(void *data)
{
    (void)data;
    changes++;
}

static int make(void **state)
{
    (void)state;
    changes = hellos = ticks = 0;
    base = event_base_new();
    events = events_create("boot");
    viewers = viewers_create(&(struct viewers_options){.base = base,
                                                       .events = events,
                                                       .make_tick = make_tick,
                                                       .make_hello = make_hello,
                                                       .changed = changed});
    received = malloc(ROOM_BYTES);
    memset(large, 'x', sizeof(large));
    return received == NULL;
}

static int discard(void **state)
{
    (void)state;
    viewers_destroy(viewers);
    events_destroy(events);
    event_base_free(base);
    free(received);
    return 0;
}

/* One more viewer, who says that it saw that last; returns its end of the connection. */
static int watch(const char *last_id)
{
    int ends[2];
    assert_true(viewers_reserve(viewers));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    viewers_take(viewers, ends[0], span_of(last_id));
    return ends[1];
}

/* What there is to read, while the viewers go on sending; "" at the end, too. */
static const char *read_all(int fd)
{
    size_t used = 0;
    ssize_t bytes;
    int idle = 0;
    while (idle < 3) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        bytes = recv(fd, received + used, ROOM_BYTES - 1 - used, 0);
        idle = bytes <= 0 ? idle + 1 : 0;
        used += bytes > 0 ? (size_t)bytes : 0;
    }
    received[used] = '\0';
    return received;
}

static bool is_cut(int fd)
{
    char byte;
    read_all(fd);
    ssize_t bytes = recv(fd, &byte, 1, 0);
    return bytes == 0 || (bytes < 0 && errno != EAGAIN);
}

static void add(uint64_t now_ms, const char *data)
{
    events_add(events, now_ms, "tick", span_of(data));
    viewers_publish(viewers, now_ms);
}

static void add_large(uint64_t now_ms)
{
    events_add(events, now_ms, "tick", (struct span){large, sizeof(large)});
    viewers_publish(viewers, now_ms);
}

static void test_hello_and_what_follows(void **state)
{
    (void)state;
    events_add(events, 1, "tick", SPAN("{\"before\":1}"));
    int fd = watch("");
    assert_int_equal(viewers_count(viewers), 1);
    assert_int_equal(changes, 1);
    assert_string_equal(read_all(fd), "id: boot-1\nevent: hello\ndata: {\"hello\":1}\n\n");
    add(clock_monotonic_ms(), "{\"first\":1}");
    add(clock_monotonic_ms(), "{\"second\":2}");
    assert_string_equal(read_all(fd), "id: boot-2\nevent: tick\ndata: {\"first\":1}\n\n"
                                      "id: boot-3\nevent: tick\ndata: {\"second\":2}\n\n");
    close(fd);
}

static void test_who_comes_back(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        events_add(events, 1, "tick", SPAN("{}"));
    }
    int fd = watch("boot-3");
    assert_string_equal(read_all(fd), "id: boot-4\nevent: tick\ndata: {}\n\n"
                                      "id: boot-5\nevent: tick\ndata: {}\n\n");
    assert_int_equal(hellos, 0);
    int other = watch("other-3");
    assert_non_null(strstr(read_all(other), "hello"));
    close(fd);
    close(other);
}

static void test_who_goes(void **state)
{
    (void)state;
    int fd = watch("");
    int other = watch("");
    assert_int_equal(viewers_count(viewers), 2);
    assert_int_equal(send(fd, "GET / HTTP/1.1\r\n", 16, 0), 16); /* nobody listens to that */
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(viewers_count(viewers), 2);
    close(fd);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(viewers_count(viewers), 1);
    close(other);
    add(clock_monotonic_ms(), "{}"); /* noticed by the sending, at the latest */
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(viewers_count(viewers), 0);
    assert_int_equal(changes, 4);
}

static void test_places(void **state)
{
    (void)state;
    int fds[VIEWERS_MOST];
    for (int i = 0; i < VIEWERS_MOST; i++) {
        fds[i] = watch("");
    }
    assert_false(viewers_reserve(viewers));
    close(fds[0]);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_true(viewers_reserve(viewers));
    assert_false(viewers_reserve(viewers));
    viewers_take(viewers, -1, SPAN("")); /* its client was gone before */
    assert_true(viewers_reserve(viewers));
    viewers_take(viewers, -1, SPAN(""));
    assert_int_equal(viewers_count(viewers), VIEWERS_MOST - 1);
    for (int i = 1; i < VIEWERS_MOST; i++) {
        close(fds[i]);
    }
}

/* It reads nothing for a while: then it is told the newest, all at once, and goes on behind that.
 */
static void test_who_is_slow(void **state)
{
    (void)state;
    uint64_t now_ms = clock_monotonic_ms();
    int fd = watch("");
    int quick = watch("");
    for (int i = 0; i < 60; i++) {
        add_large(now_ms);
        read_all(quick);
    }
    assert_int_equal(ticks, 0); /* not before it reads */
    const char *text = read_all(fd);
    assert_int_equal(ticks, 1);
    const char *full = strstr(text, "id: boot-60\nevent: tick\ndata: {\"full\":true}\n\n");
    assert_non_null(full);
    assert_int_equal(strlen(strstr(full, "\n\n")), 2); /* the end */
    assert_in_range(strlen(text), 40, VIEWERS_QUEUE_BYTES + 131072 + 2 * LARGE_BYTES);
    add(now_ms, "{\"after\":1}");
    assert_string_equal(read_all(fd), "id: boot-61\nevent: tick\ndata: {\"after\":1}\n\n");
    close(fd);
    close(quick);
}

/* However slow, it costs no more memory than one event. */
static void test_who_reads_a_byte_now_and_then(void **state)
{
    (void)state;
    uint64_t now_ms = clock_monotonic_ms();
    int fd = watch("");
    for (int i = 0; i < 200; i++) {
        char byte;
        add_large(now_ms);
        (void)!recv(fd, &byte, 1, 0);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(viewers_count(viewers), 1);
    events_expire(events, now_ms + 100000); /* what it holds is still there */
    read_all(fd);
    assert_in_range(ticks, 1, 200);
    close(fd);
}

static void test_patience_ends(void **state)
{
    (void)state;
    uint64_t now_ms = clock_monotonic_ms();
    int fd = watch("");
    int quick = watch("");
    for (int i = 0; i < 60; i++) {
        add_large(now_ms);
        read_all(quick);
    }
    viewers_publish(viewers, now_ms + VIEWERS_PATIENCE_MS - 1000);
    assert_int_equal(viewers_count(viewers), 2);
    now_ms = clock_monotonic_ms();
    viewers_publish(viewers, now_ms + VIEWERS_PATIENCE_MS + 1);
    assert_int_equal(viewers_count(viewers), 1);
    assert_true(is_cut(fd));
    assert_false(is_cut(quick)); /* it has read all that there was, however long ago */
    close(fd);
    close(quick);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hello_and_what_follows, make, discard),
        cmocka_unit_test_setup_teardown(test_who_comes_back, make, discard),
        cmocka_unit_test_setup_teardown(test_who_goes, make, discard),
        cmocka_unit_test_setup_teardown(test_places, make, discard),
        cmocka_unit_test_setup_teardown(test_who_is_slow, make, discard),
        cmocka_unit_test_setup_teardown(test_who_reads_a_byte_now_and_then, make, discard),
        cmocka_unit_test_setup_teardown(test_patience_ends, make, discard),
    };
    return cmocka_run_group_tests_name("viewers", tests, NULL, NULL);
}
