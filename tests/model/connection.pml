/* A connection whose processes die: see README.md. The names are those of common/net: durable.c,
 * connection_requests.c, connection_sending.c, connection_adoption.c. */
#include "common/net/durable_states.h"

/* ---- What a run is told by its environment; all else is tried in all ways ---- */

c_decl {
    static int told(const char *name, int otherwise)
    {
        const char *text = getenv(name);
        return text != NULL ? atoi(text) : otherwise;
    }
}
byte deaths;   /* that may come at any time; those of a poisonous request come on top */
byte poison;   /* the request whose handler ends its process each time */
byte own;      /* what a death weighs under a request whose handler brings it about; others weigh 1 */
byte forgiven; /* such a sum under a request, before it is answered 500 */
bool others;   /* some of those are brought about by another connection's request */
bool few;      /* leave out clients that expect and do not wait, and answers that fill the output */
byte fault;    /* a mistake that is made on purpose: one of these */
#define FAULT_MOVE_IN_TWO_STORES          1
#define FAULT_SENT_IN_TWO_STORES          2
#define FAULT_OUTPUT_CHANGED_IN_PLACE     3
#define FAULT_SENT_NOTED_BEFORE_IT_IS     4
#define FAULT_SENT_BEFORE_IT_IS_OFFERED   5
#define FAULT_BEGUN_NOTED_TOO_LATE        6
#define FAULT_POST_IS_REPEATED            7
#define FAULT_KERNEL_IS_NOT_ASKED         8
#define FAULT_DEATHS_ARE_NOT_COUNTED      9
#define FAULT_RESTART_KEEPS_THE_OUTPUT   10
#define FAULT_RESTART_KEEPS_THE_PROMISE  11
#define FAULT_OLD_OUTPUT_IS_READ         12
#define FAULT_DRAINING_CHANGES_WHAT_WAS_SENT 13
#define FAULT_NEIGHBOURS_ARE_BLAMED          14
#define FAULT_OWN_DEATHS_WEIGH_LITTLE        15
#define FAULT_REFUSALS_ARE_FORGOTTEN         16

#define REQUESTS 3
#define NOBODY   0

/* What an answer is; a digit of a digest. */
#define OK         1
#define ERROR      2 /* 500: processes have died under it */
#define REFUSED    3 /* 502: it may have run */
#define TOO_SLOW   4 /* 408, and the connection ends */
#define CONTINUE   5 /* 100 */
#define DIGIT(what, whose) ((what) * 4 + (whose))
#define WHAT(digit)        ((digit) >> 2)
#define WHOSE(digit)       ((digit) & 3)
#define DIGIT_OF(d, n)     (((d) >> (5 * (n))) & 31)
#define HALVES     2 /* in which each is sent */

/* ---- What is asked: chosen at the beginning, and the same for all processes ---- */

byte post;        /* which request is a POST that may not run twice: a head and a body */
bool expects;     /* "100 Continue" */
bool waits;       /* ... for it, before it sends the body and more */
bool last_closes; /* the last request wants no other answer behind its own */
bool file;        /* the first answer fills the output */

/* What the client sends is counted in units: a GET, a POST's head, a POST's body. */
#define UNITS           (REQUESTS + 1)
#define REQUEST_AT(u)   ((u) < post -> (u) + 1 : (u))
#define IS_BODY(u)      ((u) == post)
#define UNITS_SENT      ((waits && heard_interim < HALVES) -> post : UNITS)

/* What a process is doing. */
#define WAITING      0
#define BODY         1
#define HANDLING     2
#define CLOSING_DOWN 3

/* ---- What outlives a process ---- */

typedef word_t {
    byte consumed, begun, answered, suspect, attempts;
    bit input_place, has_input, output_place, interim_put, interim_sent, closing
};
typedef output_t {
    byte begins_at, bytes, answers;
    int digest;
    bool closes
};
word_t word;
output_t output[2];
byte input_begins_at[2];
byte memory_begins_at[2]; /* which unit does lie first in the memory of the place */
bool leaving;             /* of the record's "where", all that matters here */

/* The kernel's. */
byte read_units; /* by all processes */
byte written;    /* halves of answers, since the connection began */

/* ---- Handlers, and who is to blame ---- */

byte runs;         /* of the POST's handler */
byte at_work;      /* the request whose handler may run */
byte weight;       /* of the last death under whoever was at work: 0, it was another connection's doing */
byte blamed;       /* the one that was at work at the last death that counts */
byte in_a_row;     /* how much such deaths under it weigh */
byte sudden;       /* deaths */
byte all;          /* how much all of them weigh */
bool dying;

/* ---- The client, who sees each half as it is written ---- */

byte heard;          /* answers that are complete */
byte heard_half;     /* NOBODY, or what the one is whose first half it has */
byte heard_interim;  /* halves */
bool heard_the_last; /* it said so */
bool was_cut;        /* as may be: see MAY_BE_CUT */

inline hear(digit, ends)
{
    assert(!heard_the_last);
    if
    :: WHAT(digit) == CONTINUE ->
        assert(heard + 1 == post && heard_half == NOBODY && heard_interim < HALVES);
        heard_interim++
    :: WHAT(digit) != CONTINUE && heard_half == NOBODY ->
        assert(WHOSE(digit) == heard + 1); /* in order, none twice, none left out */
        heard_half = digit
    :: else ->
        assert(digit == heard_half);
        assert(heard + 1 != post || WHAT(digit) != OK || runs == 1);
        heard_half = NOBODY;
        heard_the_last = ends;
        heard++;
        if
        :: heard == blamed -> blamed = NOBODY; in_a_row = 0
        :: else
        fi
    fi
}

inline run_handler(which)
{
    assert(blamed != which || in_a_row <= forgiven); /* else it is answered 500 */
    if
    :: which == post ->
        assert(runs == 0);
        runs++
    :: else
    fi;
    if
    :: which == poison -> dying = true; weight = own
    :: else
    fi
}

/* With request dispatch it runs on another thread, whenever that likes. */
byte job;
bool job_done;

active proctype other_thread()
{
end:
    do
    :: d_step { job != NOBODY && !job_done && !dying -> run_handler(job); job_done = true }
    od
}

/* Death comes between any two statements. */
active proctype killer()
{
end:
    do
    :: d_step { sudden < deaths && !dying -> sudden++; dying = true; weight = 1 }
    :: d_step { sudden < deaths && !dying && others -> sudden++; dying = true; weight = 0 }
    od
}

/* ---- Steps: each is one store of the word ---- */

#define OF(field)      (word.field)
#define NUMBER(state)  , state
#define STEP_NUMBER(s) , STEP_##s
mtype = { NO_STATE DURABLE_STATES(NUMBER) };
mtype = { NO_STEP DURABLE_STEPS(STEP_NUMBER) };
hidden mtype before, after; /* only within a store */
hidden byte answers;

inline find_state(state)
{
    state = NO_STATE;
#define FIND(name) if :: DURABLE_IS_##name(OF) -> assert(state == NO_STATE); state = name :: else fi;
    DURABLE_STATES(FIND)
    assert(state != NO_STATE)
}

/* The table says so, and each of its lines that is used is told. */
#define LINE(its, step, from, to) \
    :: its == STEP_##step && before == from && after == to -> \
       c_code { static int told; if (!told) { told = 1; printf("line: %s\n", #step " " #from " " #to); } }
inline must_be_in_the_table(step)
{
    if
    DURABLE_MAY(LINE, step)
    :: else -> assert(false)
    fi
}

#define IS_EMPTY (word.begun == 0 && !word.interim_put)
#define OTHER(place) (1 - word.place)

/* Nobody reads what does not count any more: here whoever did would read nonsense. It also makes
 * states alike that do not differ. */
#define NONSENSE 99
inline turn_output()
{
    output[word.output_place].begins_at = NONSENSE;
    output[word.output_place].bytes = 0;
    output[word.output_place].digest = 0;
    output[word.output_place].answers = 0;
    output[word.output_place].closes = false;
    word.output_place = OTHER(output_place)
}

/* The place that does not count yet, field by field. */
inline prepare_output(start_, length_, digest_, answers_, closes_)
{
    output[OTHER(output_place)].begins_at = start_;
    output[OTHER(output_place)].bytes = length_;
    output[OTHER(output_place)].digest = digest_;
    output[OTHER(output_place)].answers = answers_;
    output[OTHER(output_place)].closes = closes_
}

inline durable_input_take()
{
    memory_begins_at[word.input_place] = read_units;
    input_begins_at[word.input_place] = read_units;
    d_step {
        find_state(before);
        word.has_input = 1;
        word.consumed = 0;
        find_state(after);
        must_be_in_the_table(STEP_TAKE)
    }
}

inline durable_input_move()
{
    memory_begins_at[OTHER(input_place)] = memory_begins_at[word.input_place] + word.consumed;
    input_begins_at[OTHER(input_place)] = input_begins_at[word.input_place] + word.consumed;
    if
    :: fault == FAULT_MOVE_IN_TWO_STORES -> word.input_place = OTHER(input_place)
    :: else
    fi;
    d_step {
        find_state(before);
        if
        :: fault != FAULT_MOVE_IN_TWO_STORES -> word.input_place = OTHER(input_place)
        :: else
        fi;
        word.consumed = 0;
        input_begins_at[OTHER(input_place)] = NONSENSE;
        memory_begins_at[OTHER(input_place)] = NONSENSE;
        find_state(after);
        must_be_in_the_table(STEP_MOVE)
    }
}

inline durable_input_give()
{
    d_step {
        find_state(before);
        input_begins_at[word.input_place] = NONSENSE;
        memory_begins_at[word.input_place] = NONSENSE;
        word.has_input = 0;
        word.consumed = 0;
        find_state(after);
        must_be_in_the_table(STEP_GIVE)
    }
}

inline durable_begin(which)
{
    if
    :: IS_EMPTY -> prepare_output(put, 0, 0, 0, false)
    :: else
    fi;
    d_step {
        find_state(before);
        if
        :: IS_EMPTY -> turn_output()
        :: else
        fi;
        if
        :: word.begun == word.answered -> word.begun++
        :: else /* it begins again */
        fi;
        at_work = which;
        find_state(after);
        must_be_in_the_table(STEP_BEGIN)
    }
}

inline durable_answered()
{
    d_step {
        find_state(before);
        word.answered++;
        at_work = NOBODY;
        find_state(after);
        must_be_in_the_table(STEP_ANSWER)
    }
}

inline durable_interim()
{
    if
    :: IS_EMPTY -> prepare_output(put, 0, 0, 0, false)
    :: else
    fi;
    d_step {
        find_state(before);
        if
        :: IS_EMPTY -> turn_output()
        :: else
        fi;
        word.interim_put = 1;
        find_state(after);
        must_be_in_the_table(STEP_INTERIM)
    }
}

#define COUNTS output[word.output_place]

inline durable_sending()
{
    if
    :: COUNTS.bytes == put - COUNTS.begins_at && COUNTS.digest == digest
    :: else ->
        if
        :: fault == FAULT_OUTPUT_CHANGED_IN_PLACE ->
            COUNTS.bytes = put - COUNTS.begins_at;
            COUNTS.digest = digest;
            COUNTS.answers = word.answered;
            COUNTS.closes = phase == CLOSING_DOWN
        :: else ->
        prepare_output(COUNTS.begins_at, put - COUNTS.begins_at, digest, word.answered, phase == CLOSING_DOWN);
        d_step {
            find_state(before);
            turn_output();
            find_state(after);
            must_be_in_the_table(STEP_SENDING)
        }
        fi
    fi
}

inline durable_sent(consumed_, written_, closes_)
{
    if
    :: !(closes_) && word.begun > word.answered -> prepare_output(written_, 0, 0, 0, false)
    :: else
    fi;
    if
    :: fault == FAULT_SENT_IN_TWO_STORES -> word.consumed = consumed_
    :: else
    fi;
    d_step {
        find_state(before);
        answers = word.answered;
        word.begun = (closes_ -> 0 : word.begun - answers);
        if
        :: word.begun > 0 -> turn_output()
        :: else
        fi;
        word.consumed = consumed_;
        word.answered = 0;
        word.suspect = (word.suspect > answers -> word.suspect - answers : 0);
        word.attempts = (word.suspect > 0 -> word.attempts : 0);
        word.interim_sent = word.interim_put || (word.interim_sent && answers == 0);
        word.interim_put = 0;
        word.closing = closes_;
        find_state(after);
        must_be_in_the_table(STEP_SENT)
    }
}

/* What has been sent of an output that was left. */
#define NOTHING 0
#define A_PART  1
#define ALL     2

#define ATTEMPTS_MOST 5
#define BLAME \
    (weight == 0 && fault == FAULT_NEIGHBOURS_ARE_BLAMED -> 1 : \
     (weight > 1 && fault == FAULT_OWN_DEATHS_WEIGH_LITTLE -> 1 : weight))

inline durable_restart(keep_output)
{
    if
    :: keep_output -> assert(COUNTS.answers <= word.answered)
    :: else -> prepare_output(COUNTS.begins_at, 0, 0, 0, false)
    fi;
    d_step {
        find_state(before);
        if
        :: BLAME > 0 && word.begun > word.answered ->
            word.attempts = (word.suspect == word.answered + 1 -> word.attempts : 0) + BLAME;
            word.attempts = (word.attempts > ATTEMPTS_MOST -> ATTEMPTS_MOST : word.attempts);
            word.suspect = word.answered + 1
        :: else
        fi;
        word.attempts = (fault == FAULT_DEATHS_ARE_NOT_COUNTED -> 0 : word.attempts);
        if
        :: keep_output -> word.answered = COUNTS.answers
        :: else ->
            word.answered = 0;
            if
            :: fault != FAULT_RESTART_KEEPS_THE_OUTPUT -> turn_output()
            :: else
            fi;
            word.interim_put = word.interim_put && fault == FAULT_RESTART_KEEPS_THE_PROMISE
        fi;
        find_state(after);
        must_be_in_the_table(STEP_RESTART)
    }
}

/* One that was answered before has been given up, and now the blame falls on another: a word has room for one. */
#define FORGETS_A_REFUSAL \
    (word.suspect > 0 && word.suspect <= old.answers && word.attempts > forgiven && \
     BLAME > 0 && word.begun > word.answered && fault != FAULT_REFUSALS_ARE_FORGOTTEN)

/* ---- A process ---- */

#define IS_SILENT (replay && part == A_PART)
#define LENGTH    (read_units - input_begins_at[word.input_place])
#define HERE      (memory_begins_at[word.input_place] + used) /* the unit at hand */

/* It drains; or what is made again said so. */
#define CLOSES_NOW \
    ((IS_SILENT && fault != FAULT_DRAINING_CHANGES_WHAT_WAS_SENT && old.closes && met == old.answers) || \
     ((!IS_SILENT || fault == FAULT_DRAINING_CHANGES_WHAT_WAS_SENT) && drains))

/* Whether there is something to be parsed, and may be. */
#define MAY_STEP \
    (word.has_input && used < LENGTH && (phase == WAITING || phase == BODY) && !is_full && \
     !(IS_SILENT && put - old.begins_at >= old.bytes))
#define IS_WITHIN_A_REQUEST (phase == BODY || phase == HANDLING)

/* An answer that was begun to be sent and that nobody can make again: the POST's, and one that was
 * given because the client was too slow, and now is not. */
#define IS_LOST(n) \
    (WHAT(DIGIT_OF(old.digest, n)) == TOO_SLOW || DIGIT_OF(old.digest, n) == DIGIT(OK, post))
#define MAY_BE_CUT   (IS_LOST(0) || IS_LOST(1) || IS_LOST(2) || IS_LOST(3))

inline read_output()
{
    old.begins_at = COUNTS.begins_at;
    old.bytes = COUNTS.bytes;
    old.answers = COUNTS.answers;
    old.digest = COUNTS.digest;
    old.closes = COUNTS.closes
}

/* Into the output, behind what is there. */
inline put_into_output(what)
{
    digest = digest | (DIGIT(what, request) << (5 * items));
    items++;
    put = put + HALVES
}

inline note_begun()
{
    if
    :: !has_begun && !IS_SILENT ->
        durable_begin(request);
        has_begun = true
    :: else
    fi
}

inline respond(what)
{
    note_begun();
    d_step {
        put_into_output(what);
        is_full = is_full || (file && request == 1);
        phase = ((what == TOO_SLOW || (request == REQUESTS && last_closes) || CLOSES_NOW) -> CLOSING_DOWN : WAITING)
    };
    if
    :: has_begun ->
        durable_answered();
        has_begun = false
    :: else
    fi
}

inline forget_replay()
{
    replay = false; part = NOTHING; met = 0; part_sent = 0;
    is_begun = 0; suspect = 0; attempts = 0; interim_sent = 0; interim_put = 0;
    old.begins_at = 0; old.bytes = 0; old.answers = 0; old.digest = 0; old.closes = false
}

/* All that a process forgets when it dies. */
inline forget()
{
    used = 0; done = 0; start = 0; request = 0; phase = WAITING;
    put = 0; sent = 0; items = 0; digest = 0; output_begins_at = 0;
    drains = false; has_begun = false; is_full = false; sending = false; here = false; body_has_begun = false;
    forget_replay()
}

active proctype process()
{
    byte used, done, start, request, phase;
    byte put, sent, items, output_begins_at;
    int digest;
    bool drains, has_begun, is_full, sending, here, body_has_begun;
    bool replay;
    byte part, met, part_sent, is_begun, suspect, attempts;
    bit interim_sent, interim_put;
    output_t old;

    c_code {
        now.deaths = told("DEATHS", 1);
        now.poison = told("POISON", 0);
        now.forgiven = told("FORGIVEN", 1);
        now.own = told("OWN", 1);
        now.others = told("OTHERS", 0);
        now.few = told("FEW", 0);
        now.fault = told("FAULT", 0);
    };
    if :: post = 1 :: post = 2 :: post = 3 fi;
    if :: true :: !few -> expects = true :: d_step { expects = true; waits = true } fi;
    if :: true :: last_closes = true fi;
    if :: true :: !few -> file = true fi;

birth:
    { /* connection_adopt: of a new connection, there is nothing to be taken over */
        if
        :: leaving -> goto gone
        :: else
        fi;
        d_step {
            find_state(before); /* no other word is believed */
            assert(!word.has_input ||
                   (input_begins_at[word.input_place] <= read_units && word.consumed <= LENGTH));
            used = word.consumed;
            done = used;
            start = used;
            put = written;
            sent = written;
            output_begins_at = put
        };
        if
        :: word.closing -> goto see_out
        :: !word.closing && !IS_EMPTY
        :: else ->
            if
            :: word.interim_sent ->
                d_step {
                    replay = true;
                    interim_sent = 1;
                    old.answers = (fault == FAULT_OLD_OUTPUT_IS_READ -> COUNTS.answers : 0)
                }
            :: else
            fi;
            goto step
        fi;
        d_step { /* replay_output */
            read_output();
            part_sent = (fault == FAULT_KERNEL_IS_NOT_ASKED -> 0 : written - old.begins_at);
            assert(part_sent >= 0 && part_sent <= old.bytes && old.answers <= word.answered);
            part = (part_sent == 0 -> NOTHING : (part_sent < old.bytes -> A_PART : ALL))
        };
        if
        :: part == A_PART && FORGETS_A_REFUSAL ->
            d_step { was_cut = true; leaving = true };
            goto gone
        :: else
        fi;
        if
        :: part == ALL && old.closes ->
            durable_sent(word.consumed, written, true);
            goto see_out
        :: part == ALL && !old.closes && old.answers == 0 -> durable_sent(word.consumed, written, false)
        :: part == ALL && !old.closes && old.answers > 0
        :: part != ALL -> d_step { put = old.begins_at; sent = put; output_begins_at = put }
        fi;
        durable_restart(part != NOTHING);
        d_step { /* create_replay */
            replay = true;
            read_output();
            is_begun = word.begun;
            suspect = word.suspect;
            attempts = word.attempts;
            interim_sent = word.interim_sent;
            interim_put = word.interim_put
        };
        if
        :: is_begun > 1 -> drains = true /* then each answer is the last */
        :: true
        fi;

step: /* connection_requests_step */
        if
        :: MAY_STEP && phase == WAITING ->
            d_step {
                start = used;
                assert(!IS_BODY(HERE)); /* a request begins here, and it is the next one */
                request = REQUEST_AT(HERE);
                used++
            };
            if
            :: request == post -> goto begin_body
            :: else -> goto handle
            fi
        :: MAY_STEP && phase == BODY ->
            d_step {
                assert(IS_BODY(HERE));
                used++
            };
            goto handle
        :: else -> goto flush
        fi;

begin_body:
        phase = BODY;
        d_step {
            body_has_begun = LENGTH > used;
            if
            :: replay && met == 0 && interim_sent -> body_has_begun = true
            :: replay && !(met == 0 && interim_sent) && met == is_begun && interim_put ->
                body_has_begun = part == ALL
            :: else
            fi
        };
        if
        :: expects && !body_has_begun ->
            if
            :: !IS_SILENT -> durable_interim()
            :: else
            fi;
            d_step { put_into_output(CONTINUE) }
        :: else
        fi;
        goto step;

handle:
        if
        :: replay -> /* connection_replay_next */
            d_step { met++; assert(old.answers <= is_begun) };
            if
            :: met > is_begun
            :: met <= is_begun && met <= old.answers && part == ALL -> goto pass_over
            :: met <= is_begun && !(met <= old.answers && part == ALL) ->
                if
                :: met == suspect && attempts > forgiven ->
                    assert(all > forgiven);
                    respond(ERROR);
                    goto step
                :: !(met == suspect && attempts > forgiven) && request == post &&
                   fault != FAULT_POST_IS_REPEATED ->
                    respond(REFUSED);
                    goto step
                :: else -> here = met <= old.answers && part == A_PART
                fi
            fi
        :: else
        fi;
        if
        :: fault != FAULT_BEGUN_NOTED_TOO_LATE -> note_begun()
        :: else
        fi;
        if
        :: !here -> d_step { phase = HANDLING; job = request }
        :: true ->
            d_step { run_handler(request); here = false };
            respond(OK)
        fi;
        goto step;

pass_over: /* its answer has been sent */
        phase = WAITING;
        if
        :: met == old.answers ->
            durable_sent(used, sent, false);
            d_step { done = used; start = used }
        :: else
        fi;
        goto step;

flush:
        if
        :: IS_SILENT && put - old.begins_at == old.bytes && digest == old.digest ->
            d_step { sent = sent + part_sent; part = NOTHING }
        :: IS_SILENT && !(put - old.begins_at == old.bytes && digest == old.digest) ->
            assert(MAY_BE_CUT);
            d_step { was_cut = true; leaving = true };
            goto gone
        :: else
        fi;
        if
        :: replay && met >= is_begun -> d_step { forget_replay() }
        :: else
        fi;

send: /* connection_sending_flush */
        if
        :: put == sent -> goto sent_all
        :: else
        fi;
        done = (IS_WITHIN_A_REQUEST -> start : used); /* when all of this is sent */
        if
        :: fault == FAULT_SENT_NOTED_BEFORE_IT_IS -> durable_sent(done, put, phase == CLOSING_DOWN)
        :: fault == FAULT_SENT_BEFORE_IT_IS_OFFERED
        :: else -> durable_sending()
        fi;
        do /* the kernel takes as much as it likes */
        :: written < put ->
            d_step {
                hear(DIGIT_OF(digest, (written - output_begins_at) / HALVES),
                     phase == CLOSING_DOWN && written + 1 == put);
                written++
            }
        :: break
        od;
        sent = written;
        if
        :: put != sent ->
            sending = true;
            goto wait
        :: else
        fi;
        if
        :: fault != FAULT_SENT_NOTED_BEFORE_IT_IS -> durable_sent(done, sent, phase == CLOSING_DOWN)
        :: else
        fi;
        d_step {
            start = done;
            digest = 0;
            items = 0;
            output_begins_at = put;
            is_full = false;
            sending = false
        };
sent_all:
        if
        :: phase == CLOSING_DOWN -> goto see_out
        :: phase != CLOSING_DOWN && MAY_STEP -> goto step
        :: else
        fi;
        if /* rest */
        :: phase != HANDLING && word.has_input && done == LENGTH ->
            durable_input_give();
            d_step { used = 0; done = 0; start = 0 }
        :: else
        fi;

wait:
        if
        :: sending -> goto send
        :: phase == HANDLING && job_done ->
            d_step { job = NOBODY; job_done = false };
            respond(OK);
            if
            :: sending -> goto wait
            :: else -> goto step
            fi
        :: !sending && phase != HANDLING && read_units < UNITS_SENT -> goto receive
        :: !sending && phase == BODY ->
            respond(TOO_SLOW);
            goto send
        :: !sending && phase == WAITING && heard == REQUESTS -> goto leave
        fi;

receive:
        if
        :: !word.has_input ->
            durable_input_take();
            d_step { used = 0; done = 0; start = 0 }
        :: word.has_input -> /* there is room behind it */
        :: word.has_input ->
            durable_input_move();
            d_step { used = used - done; start = start - done; done = 0 }
        fi;
        read_units++;
        do
        :: read_units < UNITS_SENT -> read_units++
        :: break
        od;
        goto step;

see_out: /* and the client sees the end */
        if
        :: word.has_input -> durable_input_give()
        :: true /* it need not linger */
        fi;

leave:
        leaving = true;
        goto gone
    }
    unless
    {
        d_step {
            dying ->
            all = all + weight;
            if
            :: at_work == NOBODY -> blamed = NOBODY; in_a_row = 0
            :: at_work != NOBODY && weight == 0
            :: at_work != NOBODY && weight > 0 && at_work == blamed -> in_a_row = in_a_row + weight
            :: else -> blamed = at_work; in_a_row = weight
            fi;
            at_work = NOBODY;
            job = NOBODY;
            job_done = false;
            forget();
            dying = false
        };
        goto birth
    };

gone:
    assert(was_cut || ((heard == REQUESTS || heard_the_last) && heard_half == NOBODY))
}
