/* What the word of a record can say of its connection, and what may follow: one table. durable.c
 * holds each step against it, tests/unit/net/test_durable_states.c shows that the code does what it
 * says and nothing else, and the model (tests/model) that a process never does what it does not
 * say, whenever its predecessors died. Macros alone, of what C and Promela have in common.
 *
 * To add a state: its name in DURABLE_STATES, its DURABLE_IS_, and the lines that lead to it and
 * from it. The tests say what is missing. */
#ifndef TWINHTTPD_COMMON_NET_DURABLE_STATES_H
#define TWINHTTPD_COMMON_NET_DURABLE_STATES_H

/* clang-format off */

/* ---- States ---- */

#define DURABLE_STATES(STATE) \
    STATE(BARE)     /* no input lies here: what comes next is the beginning of a request */ \
    STATE(READ)     /* nothing of the input has been looked at, as far as anybody need know */ \
    STATE(INVITING) /* "100 Continue" is the last thing in the output; what is before it is \
                       complete */ \
    STATE(INVITED)  /* ... and has been sent: the rest of the request is awaited */ \
    STATE(AT_WORK)  /* a request has begun and is not answered */ \
    STATE(ANSWERED) /* all that have begun are answered */ \
    STATE(CLOSING)  /* the last answer has been sent */ \
    STATE(CLOSED)   /* ... and the input's memory given back */

/* Which one it is: at most one. OF(field) is the field of struct durable_state. */
#define DURABLE_IS_BARE(OF) \
    (!OF(closing) && !OF(has_input) && DURABLE_OWES_NOTHING(OF) && !OF(interim_sent))
#define DURABLE_IS_READ(OF) \
    (!OF(closing) && OF(has_input) && DURABLE_OWES_NOTHING(OF) && !OF(interim_sent))
#define DURABLE_IS_INVITING(OF) \
    (!OF(closing) && OF(has_input) && OF(interim_put) && OF(begun) == OF(answered))
#define DURABLE_IS_INVITED(OF) \
    (!OF(closing) && OF(has_input) && DURABLE_OWES_NOTHING(OF) && OF(interim_sent))
#define DURABLE_IS_AT_WORK(OF) (!OF(closing) && OF(has_input) && OF(begun) > OF(answered))
#define DURABLE_IS_ANSWERED(OF) \
    (!OF(closing) && OF(has_input) && !OF(interim_put) && OF(begun) > 0 && \
     OF(begun) == OF(answered))
#define DURABLE_IS_CLOSING(OF) (OF(closing) && OF(has_input) && DURABLE_OWES_NOTHING(OF))
#define DURABLE_IS_CLOSED(OF)  (OF(closing) && !OF(has_input) && DURABLE_OWES_NOTHING(OF))

#define DURABLE_OWES_NOTHING(OF) (OF(begun) == 0 && OF(answered) == 0 && !OF(interim_put))

/* ---- Steps: durable_input_take to durable_restart ---- */

#define DURABLE_STEPS(STEP) \
    STEP(TAKE) STEP(MOVE) STEP(GIVE) \
    STEP(BEGIN) STEP(ANSWER) STEP(INTERIM) STEP(SENDING) STEP(SENT) \
    STEP(RESTART)

/* What a process does, and where it leads. MAY(WITH, step, from, to). Of a step, the commonest line
 * comes first: they are asked in this order. */
#define DURABLE_MAY(MAY, WITH) \
    MAY(WITH, TAKE,    BARE,     READ) \
    MAY(WITH, MOVE,    READ,     READ) \
    MAY(WITH, MOVE,    INVITED,  INVITED) \
    MAY(WITH, MOVE,    AT_WORK,  AT_WORK)  /* it was refused before it had come to its end */ \
    MAY(WITH, GIVE,    READ,     BARE) \
    MAY(WITH, GIVE,    CLOSING,  CLOSED) \
    MAY(WITH, BEGIN,   READ,     AT_WORK) \
    MAY(WITH, BEGIN,   INVITED,  AT_WORK) \
    MAY(WITH, BEGIN,   AT_WORK,  AT_WORK)  /* again, after a death */ \
    MAY(WITH, BEGIN,   ANSWERED, AT_WORK) \
    MAY(WITH, ANSWER,  AT_WORK,  AT_WORK)  /* others had begun before a death */ \
    MAY(WITH, ANSWER,  AT_WORK,  ANSWERED) \
    MAY(WITH, INTERIM, READ,     INVITING) \
    MAY(WITH, INTERIM, ANSWERED, INVITING) \
    MAY(WITH, SENDING, ANSWERED, ANSWERED) \
    MAY(WITH, SENDING, AT_WORK,  AT_WORK)  /* of those before it */ \
    MAY(WITH, SENDING, INVITING, INVITING) \
    MAY(WITH, SENT,    ANSWERED, READ) \
    MAY(WITH, SENT,    ANSWERED, CLOSING) \
    MAY(WITH, SENT,    AT_WORK,  AT_WORK) \
    MAY(WITH, SENT,    AT_WORK,  CLOSING)  /* what had begun behind the last one is not answered */ \
    MAY(WITH, SENT,    INVITING, INVITED) \
    MAY(WITH, RESTART, INVITING, READ)     /* nothing has been sent */ \
    MAY(WITH, RESTART, INVITING, AT_WORK) \
    MAY(WITH, RESTART, INVITING, INVITING) /* something has */ \
    MAY(WITH, RESTART, INVITED,  INVITED) \
    MAY(WITH, RESTART, AT_WORK,  AT_WORK) \
    MAY(WITH, RESTART, ANSWERED, AT_WORK) \
    MAY(WITH, RESTART, ANSWERED, ANSWERED)

/* What happens only if a predecessor has lied: its successor must not die of that. */
#define DURABLE_MAY_AFTER_LIES(MAY, WITH) \
    MAY(WITH, MOVE,    INVITING, INVITING) /* answered, it said, and there is no whole request */ \
    MAY(WITH, MOVE,    ANSWERED, ANSWERED) \
    MAY(WITH, BEGIN,   INVITING, AT_WORK)  /* the same, and what there is gets refused */ \
    MAY(WITH, ANSWER,  AT_WORK,  INVITING) \
    MAY(WITH, INTERIM, INVITING, INVITING) /* no request's head lay there as a whole */ \
    MAY(WITH, INTERIM, INVITED,  INVITING) \
    MAY(WITH, INTERIM, AT_WORK,  AT_WORK) \
    MAY(WITH, SENT,    INVITING, CLOSING) \
    MAY(WITH, RESTART, READ,     READ)     /* it had begun nothing */ \
    MAY(WITH, RESTART, INVITING, INVITED)

/* clang-format on */

#endif
