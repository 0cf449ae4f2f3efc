#include "server/twinctl/top_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static void assert_address(const char *text, const char *host, const char *numbers, uint16_t port)
{
    struct top_address address;
    struct error error;
    char found[INET6_ADDRSTRLEN] = "";
    if (!top_address_parse(text, &address, &error)) {
        fail_msg("%s: %s", text, error.text);
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address.socket;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address.socket;
    bool is_6 = address.socket.ss_family == AF_INET6;
    inet_ntop(address.socket.ss_family, is_6 ? (const void *)&in6->sin6_addr : &in->sin_addr, found,
              sizeof(found));
    assert_string_equal(address.host, host);
    assert_string_equal(found, numbers);
    assert_int_equal(ntohs(is_6 ? in6->sin6_port : in->sin_port), port);
    assert_int_equal(address.socket_bytes, is_6 ? sizeof(*in6) : sizeof(*in));
}

static void test_addresses(void **state)
{
    (void)state;
    assert_address("127.0.0.1:8090", "127.0.0.1:8090", "127.0.0.1", 8090);
    assert_address("localhost:1", "localhost:1", "127.0.0.1", 1);
    assert_address("[::1]:65535", "[::1]:65535", "::1", 65535);
    assert_address("http://127.0.0.1:8090/", "127.0.0.1:8090", "127.0.0.1", 8090);
    assert_address("http://127.0.0.1:8090/#token=abc", "127.0.0.1:8090", "127.0.0.1", 8090);
}

static void test_what_is_no_address(void **state)
{
    (void)state;
    const char *const texts[] = {"",
                                 ":",
                                 "8090",
                                 "127.0.0.1",
                                 "127.0.0.1:",
                                 "127.0.0.1:0",
                                 "127.0.0.1:65536",
                                 "127.0.0.1:+5",
                                 "127.1:80",
                                 "example.org:80",
                                 "[::1",
                                 "[::1]",
                                 "::1:80",
                                 "[]:80",
                                 "[127.0.0.1]:80",
                                 "https://127.0.0.1:80/",
                                 "a.very.long.name.that.goes.on.and.on.and.on.and.on.and.on.and.on."
                                 "and.on.and.on.and.on:80"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct top_address address;
        struct error error;
        if (top_address_parse(texts[i], &address, &error)) {
            fail_msg("%s is taken", texts[i]);
        }
        assert_non_null(strchr(error.text, ';'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_what_is_no_address),
    };
    return cmocka_run_group_tests_name("top_client", tests, NULL, NULL);
}
