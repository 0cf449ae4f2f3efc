/* What a successor and a keeper say to each other, and what a keeper is made of. */
#ifndef TWINHTTPD_SERVER_ADOPTION_KEEPER_INTERNAL_H
#define TWINHTTPD_SERVER_ADOPTION_KEEPER_INTERNAL_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Descriptors in a message: the kernel carries no more (SCM_MAX_FD). */
enum { KEEPER_BATCH = 253 };

enum keeper_wish {
    KEEPER_TELL = 1, /* whether they are open */
    KEEPER_GIVE      /* and those that are */
};

/* A message each. */
struct keeper_request {
    uint64_t nonce;
    uint32_t wish;
    uint32_t count;
    int32_t numbers[KEEPER_BATCH];
};

/* The descriptors come along, in the order of the numbers that are open. */
struct keeper_answer {
    uint64_t nonce; /* the request's */
    uint32_t count; /* the request's */
    int32_t error;  /* why no descriptor comes along; 0 */
    uint8_t is_open[KEEPER_BATCH];
};

union keeper_control {
    struct cmsghdr header; /* for its alignment */
    unsigned char bytes[CMSG_SPACE(sizeof(int) * KEEPER_BATCH)];
};

enum { KEEPER_FILTER_STEPS = 11 };

/* All that a keeper has: it lies at the end of a page, and the stack before it. */
struct keeper_loop {
    int keeping;
    uintptr_t page_bytes;
    uintptr_t memory; /* the page */
    void *rseq;       /* what the C library has registered for this thread; NULL: nothing */
    struct sock_fprog filter;
    struct sock_filter steps[KEEPER_FILTER_STEPS];
    struct keeper_request request;
    struct keeper_answer answer;
    union keeper_control control;
};

/* The system calls of a keeper, for its architecture. */
void keeper_fill_filter(struct sock_filter steps[KEEPER_FILTER_STEPS]);

/* Whether keeper_loop.c knows this architecture. */
bool keeper_loop_is_known(void);

/* The thread's pointer, from which the C library counts to its memory for rseq. */
char *keeper_loop_thread_pointer(void);

/* Starts the process that shares the table. Its pid, or a negative error number. */
long keeper_loop_spawn(struct keeper_loop *loop);

#endif
