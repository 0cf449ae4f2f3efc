/* Whose a connection is that is on its way: the first who takes the claim. */
#include "common/net/claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct claims *claims;

static int make(void **state)
{
    (void)state;
    claims = claims_create(5, 2);
    return claims == NULL;
}

static int discard(void **state)
{
    (void)state;
    claims_destroy(claims);
    return 0;
}

static uint64_t offer(uint32_t giver_id)
{
    uint64_t claim = claims_choose(claims, giver_id);
    if (claim != 0) {
        claims_offer(claims, claim);
    }
    return claim;
}

static void test_the_first_has_it(void **state)
{
    (void)state;
    uint64_t claim = offer(5);
    assert_int_not_equal(claim, 0);
    assert_true(claims_take(claims, claim, 10));
    assert_false(claims_take(claims, claim, 11));
    assert_true(claims_take(claims, claim, 10)); /* or its successor asks */
}

static void test_another_process_takes_it(void **state)
{
    (void)state;
    int status;
    uint64_t claim = offer(6);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(claims_take(claims, claim, 10) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_false(claims_take(claims, claim, 11));
}

static void test_an_old_claim_is_nobodys(void **state)
{
    (void)state;
    uint64_t old = offer(5);
    assert_true(claims_take(claims, old, 10));
    uint64_t next = offer(5);
    assert_int_not_equal(next, old);
    assert_false(claims_take(claims, old, 10));
    assert_true(claims_take(claims, next, 11));
}

/* Its giver has died in between: its successor has it, and the place is used again. */
static void test_one_that_was_never_offered(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * CLAIMS_UNDER_WAY; i++) {
        uint64_t claim = claims_choose(claims, 5);
        assert_int_not_equal(claim, 0);
        assert_true(claims_take(claims, claim, 10));
        assert_false(claims_take(claims, claim, 11));
    }
    assert_int_not_equal(claims_choose(claims, 5), 0);
}

static void test_too_many_are_under_way(void **state)
{
    (void)state;
    uint64_t first = offer(5);
    for (int i = 1; i < CLAIMS_UNDER_WAY; i++) {
        assert_int_not_equal(offer(5), 0);
    }
    assert_int_equal(offer(5), 0);
    assert_int_not_equal(offer(6), 0); /* another's are not touched */
    assert_true(claims_take(claims, first, 10));
    assert_int_not_equal(offer(5), 0);
}

static void test_nonsense_is_nobodys(void **state)
{
    (void)state;
    const uint64_t nonsense[] = {1,
                                 UINT64_MAX,
                                 (uint64_t)4 << 32 | 1,
                                 (uint64_t)7 << 32 | 1,
                                 (uint64_t)5 << 32 | 0xff000001U,
                                 (uint64_t)5 << 32 | 77};
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        assert_false(claims_take(claims, nonsense[i], 10));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_first_has_it, make, discard),
        cmocka_unit_test_setup_teardown(test_another_process_takes_it, make, discard),
        cmocka_unit_test_setup_teardown(test_an_old_claim_is_nobodys, make, discard),
        cmocka_unit_test_setup_teardown(test_one_that_was_never_offered, make, discard),
        cmocka_unit_test_setup_teardown(test_too_many_are_under_way, make, discard),
        cmocka_unit_test_setup_teardown(test_nonsense_is_nobodys, make, discard),
    };
    return cmocka_run_group_tests_name("claims", tests, NULL, NULL);
}
