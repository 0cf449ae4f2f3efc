#include "common/base/client_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/client_at.h"

static void assert_formatted(const struct client_address *client, const char *expected)
{
    char text[CLIENT_TEXT_BYTES];
    memset(text, 'x', sizeof(text));
    client_address_format(client, text);
    assert_string_equal(text, expected);
}

static void assert_ipv6(const char *ip, uint16_t port, const char *expected)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET6, ip, &address.sin6_addr), 1);
    struct client_address client = client_address_pack((struct sockaddr *)&address);
    assert_formatted(&client, expected);
}

static void test_client_addresses(void **state)
{
    (void)state;
    struct client_address client = client_at("127.0.0.1", 5555);
    assert_formatted(&client, "127.0.0.1:5555");
    client = client_at("255.255.255.255", 65535);
    assert_formatted(&client, "255.255.255.255:65535");
    client = client_at("0.0.0.0", 0);
    assert_formatted(&client, "0.0.0.0:0");
    assert_ipv6("::1", 1, "[::1]:1");
    assert_ipv6("::ffff:127.0.0.1", 80, "127.0.0.1:80"); /* over IPv4, to a socket of IPv6 */
    assert_ipv6("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535,
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
}

static void test_unknown_client_addresses(void **state)
{
    (void)state;
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/x"};
    struct client_address client = client_address_pack((struct sockaddr *)&local);
    assert_formatted(&client, "unknown");
    assert_formatted(&(struct client_address){{0}}, "unknown");
    assert_formatted(&(struct client_address){{UINT64_MAX, 1, 2}}, "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_addresses),
        cmocka_unit_test(test_unknown_client_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
