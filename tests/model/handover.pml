/* A connection that moves between two event loops whose processes die: see README.md. The names are
 * those of common/net: claims.c, durable.c, connection_handover.c, connection_arrival.c,
 * connection_adoption.c; and of server/adoption: estate_adopt.c, estate_scan.c. */

/* ---- What a run is told by its environment; all else is tried in all ways ---- */

c_decl {
    static int told(const char *name, int otherwise)
    {
        const char *text = getenv(name);
        return text != NULL ? atoi(text) : otherwise;
    }
}
byte deaths; /* that may come at any time */
byte moves;  /* that are begun at most */
byte fault;  /* a mistake that is made on purpose: one of these */
#define FAULT_PENDING_IS_NOTED_TOO_LATE      1
#define FAULT_NOBODY_EXPECTS                 2
#define FAULT_WHO_RECEIVES_DOES_NOT_CLAIM    3
#define FAULT_WHO_SUCCEEDS_DOES_NOT_CLAIM    4
#define FAULT_CLAIMS_HAVE_NO_NUMBER          5
#define FAULT_RECORD_FORGETS_THE_CLAIM       6
#define FAULT_EXPECTED_WITHOUT_THE_CLAIM     7
#define FAULT_KEEPERS_GO_TOO_EARLY           8
#define FAULT_CLAIM_COUNTS_FOR_THE_SUCCESSOR 9
#define FAULT_CLAIM_IS_TAKEN_IN_TWO_STEPS    10
#define FAULT_EXPECTED_IS_ENDED_TOO_EARLY    11
#define FAULT_EXPECTED_OUTLIVES_THE_SEARCH   12
#define FAULT_OFFERED_BEFORE_IT_IS_NOTED     13

#define LOOPS       2
#define RECORDS     2 /* of a loop: who holds the connection may be sent it once more */
#define QUEUE       2 /* messages in an inbox */
#define GENERATIONS 8
#define OFFERED     15
#define NUMBERS     8 /* of claims */
#define OTHER       (1 - self)

/* ---- What outlives a process ---- */

typedef record_t {
    byte generation; /* of "where"; 0: it is free */
    bit leaving, pending;
    byte claim
};
typedef area_t {
    record_t records[RECORDS];
    byte expected_generation; /* 0: nothing is expected */
    byte expected_claim
};
area_t area[LOOPS];

/* A claim is giver * NUMBERS + number, and never 0. One place for each giver, so that it is soon
 * used again: a word is whose it is, and its number. */
#define CLAIM(giver, number) (((giver) + 1) * NUMBERS + (number))
#define GIVER(claim)         ((claim) / NUMBERS - 1)
#define NUMBER(claim)        ((claim) % NUMBERS)
byte holder[LOOPS];
byte number[LOOPS];

/* The kernel's: descriptors of the connection in each table (which a keeper keeps open), and
 * messages that carry one. */
byte descriptors[GENERATIONS];
byte belongs_to[GENERATIONS]; /* loop + 1 */
chan inbox[LOOPS] = [QUEUE] of { byte };

/* ---- What is looked at ---- */

byte generations;
byte begun;        /* moves */
bool holds[LOOPS]; /* and may answer on it */
bool rests[LOOPS]; /* has nothing in hand */
bool dying[LOOPS];
byte died;

/* One of them, no other, has the connection from now on. */
inline hold()
{
    assert(!holds[self] && !holds[OTHER]);
    holds[self] = true
}

/* ---- claims.c: one compare-and-swap ---- */

inline claims_take(claim_, generation_)
{
    d_step {
        is_mine = false;
        if
        :: (number[GIVER(claim_)] + 1 == NUMBER(claim_)) && holder[GIVER(claim_)] != OFFERED ->
            is_mine = true; /* its giver died before it had offered it */
            number[GIVER(claim_)] = NUMBER(claim_);
            holder[GIVER(claim_)] = generation_
        :: number[GIVER(claim_)] == NUMBER(claim_) && holder[GIVER(claim_)] == OFFERED ->
            is_mine = true;
            if
            :: fault != FAULT_CLAIM_IS_TAKEN_IN_TWO_STEPS -> holder[GIVER(claim_)] = generation_
            :: else
            fi
        :: number[GIVER(claim_)] == NUMBER(claim_) && holder[GIVER(claim_)] == generation_ ->
            is_mine = true
        :: else
        fi
    };
    if
    :: fault == FAULT_CLAIM_IS_TAKEN_IN_TWO_STEPS && is_mine -> holder[GIVER(claim_)] = generation_
    :: else
    fi
}

inline claims_offer()
{
    number[self] = NUMBER(claim);
    holder[self] = OFFERED
}

/* ---- durable.c: each statement is one store ---- */

#define RECORD area[self].records[record]

inline free_record()
{
    d_step {
        record = 0;
        do
        :: RECORD.generation != 0 -> record++; assert(record < RECORDS)
        :: else -> break
        od
    }
}

inline durable_enter(claim_)
{
    free_record();
    RECORD.claim = claim_;
    d_step {
        RECORD.generation = generation;
        RECORD.leaving = 0;
        RECORD.pending = (claim_ != 0 && fault != FAULT_RECORD_FORGETS_THE_CLAIM)
    };
    area[self].expected_generation = 0
}

inline durable_leave()
{
    RECORD.leaving = 1;
    descriptors[generation]--;
    release_record()
}

inline release_record()
{
    d_step {
        RECORD.generation = 0;
        RECORD.leaving = 0;
        RECORD.pending = 0;
        RECORD.claim = 0
    }
}

inline durable_expect(claim_)
{
    area[self].expected_claim = claim_;
    area[self].expected_generation = generation
}

/* The tables of those before it close. */
inline settle()
{
    d_step {
        record = 1;
        do
        :: record < generation ->
            if
            :: belongs_to[record] == self + 1 -> descriptors[record] = 0
            :: else
            fi;
            record++
        :: else -> break
        od;
        record = 0
    }
}

/* Records that tell of a descriptor in this table. */
inline count_recorded(of_generation)
{
    recorded = (area[self].records[0].generation == of_generation) +
               (area[self].records[1].generation == of_generation)
}

proctype loop(byte self; byte generation)
{
    byte record, claim, recorded, wanted, whose;
    bool is_mine, is_found;
    bool is_first = true; /* nobody was here before */

birth:
    {
        if
        :: is_first -> goto serve
        :: else
        fi;
        d_step {
            generations++;
            generation = generations;
            assert(generation < GENERATIONS);
            belongs_to[generation] = self + 1
        };
        if
        :: fault == FAULT_KEEPERS_GO_TOO_EARLY -> settle()
        :: else
        fi;
        d_step { /* estate_scan: what a table has beside what is recorded */
            wanted = area[self].expected_generation;
            count_recorded(wanted);
            is_found = wanted != 0 && descriptors[wanted] > recorded;
            descriptors[generation] = descriptors[generation] + is_found;
            record = 0
        };
        if
        :: !is_found && fault != FAULT_EXPECTED_OUTLIVES_THE_SEARCH -> area[self].expected_generation = 0
        :: else
        fi;
adopt: /* connection_adopt, for each record */
        if
        :: record == RECORDS -> goto adopt_found
        :: record < RECORDS && (RECORD.generation == 0 || RECORD.leaving) -> release_record()
        :: record < RECORDS && RECORD.generation != 0 && !RECORD.leaving ->
            assert(descriptors[RECORD.generation] > 0); /* who closes it says so before */
            descriptors[generation]++;
            is_mine = true;
            if
            :: RECORD.pending && fault != FAULT_WHO_SUCCEEDS_DOES_NOT_CLAIM ->
                whose = (fault == FAULT_CLAIM_COUNTS_FOR_THE_SUCCESSOR -> generation : RECORD.generation);
                claims_take(RECORD.claim, whose)
            :: else
            fi;
            if
            :: is_mine -> d_step { RECORD.generation = generation; RECORD.pending = 0; hold() }
            :: else ->
                release_record();
                descriptors[generation]--
            fi
        fi;
        record++;
        goto adopt;

adopt_found: /* connection_adopt_expected */
        record = 0;
        if
        :: is_found ->
            is_mine = true;
            if
            :: area[self].expected_claim != 0 -> claims_take(area[self].expected_claim, wanted)
            :: else
            fi;
            if
            :: is_mine ->
                durable_expect(0);
                durable_enter(0);
                d_step { hold() }
            :: else ->
                descriptors[generation]--;
                area[self].expected_generation = 0
            fi
        :: else
        fi;
        settle();

serve:
        skip;
        d_step { claim = 0; recorded = 0; wanted = 0; whose = 0; is_found = false; is_mine = false; record = 0; rests[self] = true };
end_of_what_is_to_be_done:
        do
        :: d_step { holds[self] && begun < moves && holder[self] != OFFERED ->
                    rests[self] = false; begun++ };
            goto give
        :: d_step { nempty(inbox[self]) -> rests[self] = false };
            goto receive
        od;

give: /* send_claimed */
        skip;
        d_step {
            claim = CLAIM(self, (fault == FAULT_CLAIMS_HAVE_NO_NUMBER -> 0 : number[self] + 1));
            assert(NUMBER(claim) != 0 || fault == FAULT_CLAIMS_HAVE_NO_NUMBER);
            record = (area[self].records[0].generation == generation -> 0 : 1)
        };
        if
        :: fault == FAULT_OFFERED_BEFORE_IT_IS_NOTED -> d_step { claims_offer() }
        :: else
        fi;
        RECORD.claim = claim;
        if
        :: fault != FAULT_PENDING_IS_NOTED_TOO_LATE -> RECORD.pending = 1
        :: else
        fi;
        if
        :: fault != FAULT_OFFERED_BEFORE_IT_IS_NOTED -> d_step { claims_offer() }
        :: else
        fi;
        if
        :: d_step { nfull(inbox[OTHER]) -> inbox[OTHER]!claim; holds[self] = false };
            if
            :: fault == FAULT_PENDING_IS_NOTED_TOO_LATE -> RECORD.pending = 1
            :: else
            fi;
            durable_leave()
        :: true -> /* it cannot be sent */
            claims_take(claim, generation);
            RECORD.pending = 0
        fi;
        goto serve;

receive: /* take_next */
        skip;
        d_step { inbox[self]?<claim> };
        if
        :: fault != FAULT_NOBODY_EXPECTS ->
            whose = (fault == FAULT_EXPECTED_WITHOUT_THE_CLAIM -> 0 : claim);
            durable_expect(whose)
        :: else
        fi;
        d_step { inbox[self]?claim; descriptors[generation]++ };
        if
        :: fault == FAULT_EXPECTED_IS_ENDED_TOO_EARLY -> area[self].expected_generation = 0
        :: else
        fi;
        durable_enter(claim); /* connection_arrive */
        is_mine = true;
        if
        :: fault != FAULT_WHO_RECEIVES_DOES_NOT_CLAIM -> claims_take(claim, generation)
        :: else
        fi;
        if
        :: is_mine ->
            RECORD.pending = 0;
            d_step { hold() }
        :: else -> durable_leave()
        fi;
        goto serve
    }
    unless
    {
        d_step {
            dying[self] ->
            dying[self] = false;
            is_first = false;
            holds[self] = false;
            rests[self] = false;
            claim = 0; recorded = 0; wanted = 0; whose = 0; record = 0; is_mine = false; is_found = false
        };
        goto birth
    }
}

/* When all has been done, somebody has it, and nothing is on offer. */
active proctype observer()
{
end:
    do
    :: d_step { rests[0] && rests[1] && empty(inbox[0]) && empty(inbox[1]) && !dying[0] && !dying[1] ->
                assert(holds[0] || holds[1]);
                assert(holder[0] != OFFERED && holder[1] != OFFERED) /* no place is lost */ }
    od
}

/* Death comes between any two statements. */
active proctype killer()
{
end:
    do
    :: d_step { died < deaths && !dying[0] && !dying[1] -> died++; dying[0] = true }
    :: d_step { died < deaths && !dying[0] && !dying[1] -> died++; dying[1] = true }
    od
}

init
{
    c_code {
        now.deaths = told("DEATHS", 1);
        now.moves = told("MOVES", 2);
        now.fault = told("FAULT", 0);
    };
    atomic {
        generations = LOOPS;
        belongs_to[1] = 1;
        belongs_to[2] = 2;
        descriptors[1] = 1; /* the first one has accepted it */
        area[0].records[0].generation = 1;
        holds[0] = true;
        run loop(0, 1);
        run loop(1, 2)
    }
}
