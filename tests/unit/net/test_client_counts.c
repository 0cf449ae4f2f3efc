#include "common/net/client_counts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/client_at.h"

#include <stdio.h>

static struct client_counts counts;

static bool enter(struct client_address client)
{
    return client_counts_enter(&counts, &client, 1);
}

static void leave(struct client_address client)
{
    client_counts_leave(&counts, &client);
}

static void test_ports_do_not_matter(void **state)
{
    (void)state;
    struct client_address client = client_at("192.0.2.1", 1000);
    for (int i = 0; i < 3; i++) {
        assert_true(client_counts_enter(&counts, &client, 3));
        client.words[0]++; /* the next port */
    }
    assert_false(client_counts_enter(&counts, &client, 3));
    leave(client_at("192.0.2.1", 1));
    assert_true(client_counts_enter(&counts, &client, 3));
    for (int i = 0; i < 3; i++) {
        leave(client);
    }
    assert_null(counts.tree);
}

static void test_which_addresses_are_one_client(void **state)
{
    (void)state;
    assert_true(enter(client_at("192.0.2.1", 1)));
    assert_true(enter(client_at("192.0.2.2", 1)));
    assert_true(enter(client_at_v6("2001:db8:0:1::1", 1)));
    assert_false(enter(client_at_v6("2001:db8:0:1:ffff::2", 2))); /* the same /64 */
    assert_true(enter(client_at_v6("2001:db8:0:2::1", 1)));
    assert_true(enter(client_at_v6("::1", 1)));
    assert_false(enter(client_at_v6("::ffff:192.0.2.1", 1))); /* IPv4 on a dual-stack socket */
    assert_false(enter(client_at_v6("::ffff:192.0.2.2", 2)));
    assert_true(enter(client_at_v6("::ffff:192.0.2.3", 1)));
    leave(client_at("192.0.2.1", 1));
    leave(client_at("192.0.2.2", 1));
    leave(client_at_v6("2001:db8:0:1::1", 1));
    leave(client_at_v6("2001:db8:0:2::1", 1));
    leave(client_at_v6("::1", 1));
    leave(client_at("192.0.2.3", 1));
    assert_null(counts.tree);
}

static void test_many_clients(void **state)
{
    (void)state;
    enum { CLIENTS = 1000 };
    char text[32];
    for (int i = 0; i < 2 * CLIENTS; i++) { /* each comes twice, and is refused once */
        snprintf(text, sizeof(text), "10.0.%d.%d", i % CLIENTS / 250, i % CLIENTS % 250);
        assert_int_equal(enter(client_at(text, 1)), i < CLIENTS);
    }
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(text, sizeof(text), "10.0.%d.%d", i / 250, i % 250);
        leave(client_at(text, 1));
    }
    assert_null(counts.tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports_do_not_matter),
        cmocka_unit_test(test_which_addresses_are_one_client),
        cmocka_unit_test(test_many_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
