/* The master from inside: what its files share. master.c is the loop, children.c starts, retires
 * and finds ready, deaths.c reaps, legacies.c says who goes on with what the dead have left,
 * heirs.c starts who does nothing else, rolling.c replaces processes that live, reload.c and
 * upgrade.c use it, resize.c adds and removes some, listening.c looks after what they share,
 * observation.c has it all told by a process of its own, posterity.c leaves a new program what was
 * counted, fault.c asks for what crashes one, keepers.c has those replaced that would leave
 * nothing, phase.c says what may follow on what, books.c what is true after each turn. All of it
 * runs on the master's one thread. */
#ifndef TWINHTTPD_SERVER_MASTER_MASTER_INTERNAL_H
#define TWINHTTPD_SERVER_MASTER_MASTER_INTERNAL_H

#include "common/base/error.h"
#include "server/adoption/estate.h"
#include "server/control/control.h"
#include "server/crash/tellers.h"
#include "server/listen/lookup.h"
#include "server/master/master.h"
#include "server/master/observation.h"
#include "server/master/posterity.h"
#include "server/master/readiness.h"
#include "server/master/recycling.h"
#include "server/master/respawn.h"
#include "server/master/watchdog.h"
#include "server/setup/server.h"
#include "server/setup/service_manager.h"

#include <sys/queue.h>
#include <sys/types.h>

enum {
    STOP_PATIENCE_MS = 1000 /* after SIGTERM, and after a drain deadline: then SIGKILL */
};

enum master_phase {
    MASTER_STARTING,
    MASTER_RUNNING,
    MASTER_HANDED_OVER, /* to a new program that is still on trial */
    MASTER_DRAINING,
    MASTER_STOPPING
};

/* A death from which the recovery is still to be noted. */
struct loss {
    uint64_t death;   /* its number */
    uint64_t died_ns; /* 0: there is none */
};

/* A serving process. */
struct child {
    TAILQ_ENTRY(child) link;
    pid_t pid;
    uint32_t number; /* of its seat; others may have sat there before */
    uint32_t first_slot;
    uint32_t slot_count;
    uint32_t loop_count;    /* of these, the first ones: with an event loop */
    uint32_t spare_count;   /* of these, for spare threads */
    uint32_t spares_wanted; /* of these, as last ordered */
    uint32_t generation;
    uint32_t epoch;        /* of the configuration that it was started with */
    struct plan plan;      /* of that configuration */
    struct estate *estate; /* what it leaves when it dies; NULL: nothing */
    uint64_t inherits;     /* number of the death that has left it, plus 1; 0: it was empty */
    uint32_t listener_ids[ENDPOINTS_MOST];
    size_t listener_count;
    bool owns_sockets; /* each event loop has sockets of its own (reuseport) */
    uint64_t drain_timeout_ms;
    uint64_t started_ns;
    uint64_t kill_at_ms;     /* 0: never */
    uint64_t drain_until_ms; /* 0: it was not asked to end */
    bool ready;
    bool retiring;     /* asked to end while the server goes on */
    bool is_heir;      /* only finishes what another has left: retires from the beginning */
    struct loss loss;  /* of an heir */
    bool aborted;      /* by the watchdog */
    pid_t keeper_pid;  /* of the process that keeps its descriptors; 0: none, or not known */
    bool lacks_keeper; /* it had one */
    uint64_t replace_again_ms; /* a replacement that has come to nothing is not repeated before */
};

/* What a dead process has left to one that is still to come. */
struct legacy {
    TAILQ_ENTRY(legacy) link; /* of those that wait for an heir */
    struct estate *estate;
    uint64_t of_death; /* its number, plus 1; 0: it is empty */
    struct plan plan;  /* by which the process was made */
    uint32_t number;   /* of its seat */
    uint64_t drain_timeout_ms;
    uint64_t drain_until_ms; /* of an heir; 0: it waits in a seat */
    uint64_t start_at_ms;    /* of an heir: not before this */
    struct loss loss;        /* of an heir */
};

/* The place of one serving process. */
struct seat {
    struct child *child;     /* NULL: none */
    struct child *successor; /* started, and not ready yet; NULL: none */
    bool outdated;           /* child is to be replaced, without a gap */
    uint64_t start_at_ms;    /* without child: not before this */
    struct respawn respawn;
    struct legacy *legacy; /* of the last death, for whoever comes next; NULL: none */
    struct loss loss;
};

/* What has been asked for by a signal, and has to wait. */
struct orders {
    bool reload;
    bool upgrade;
    int32_t resize; /* by so many processes */
};

/* The new program that is to take over. */
struct upgrade {
    pid_t pid;               /* 0: there is none */
    int talk_fd;             /* to talk with it; -1: there is nothing more to say */
    uint64_t over_ms;        /* when it must be ready; then the end of its trial; 0: never */
    bool serves;             /* it has been ready */
    uint32_t addresses_left; /* at which it does not serve: a bit each */
};

struct master {
    struct server *server;  /* what processes are started from */
    struct server previous; /* on trial: what to go back to */
    bool on_trial;          /* no process of *server has become ready yet */
    uint32_t last_epoch;    /* of the newest configuration, also if it came to nothing */
    struct lookup lookup;   /* of the addresses of the next configuration... */
    struct config awaited;  /* ...while that is under way */
    const struct server_origin *origin;
    announce_fn announce;
    struct service_manager service_manager;
    enum master_phase phase;
    int exit_status;
    int signal_fd;
    struct readiness readiness;
    uint64_t kill_at_ms; /* when draining or stopping */
    struct orders orders;
    bool powerless; /* its children do not get its signals; reported */
    bool rolling;   /* seats are outdated; to be told when none is any more */
    uint32_t seat_count;
    struct seat *seats;
    TAILQ_HEAD(child_list, child) children;
    TAILQ_HEAD(legacy_list, legacy) legacies; /* that wait for an heir */
    struct tellers tellers;
    struct watchdog watchdog;
    struct recycling recycling;
    struct upgrade upgrade;
    uint64_t oom_kills;      /* of its control group, at the last look */
    struct control *control; /* NULL: off */
    struct observation observation;
    struct posterity posterity;
    uint64_t listening_checked_ms;    /* 0: as soon as may be */
    uint64_t listening_mended_ms;     /* something was spoilt; 0: never */
    uint64_t listening_complained_ms; /* of what could not be mended; 0: never */
};

/* ---- master.c ---- */

/* Opens what the master needs, and makes its seats. False when it cannot, reported. Closed by
 * master_close. */
bool master_open(struct master *master);
void master_close(struct master *master);

/* One turn: does everything that is to be done now. */
void master_work(struct master *master);

/* When there is something to do without news from anybody; 0: never. */
uint64_t master_due_ms(const struct master *master);

/* Whether the master may leave. */
bool master_is_over(const struct master *master);

/* Of two times, the earlier one; 0 stands for never. */
uint64_t master_earlier_ms(uint64_t due_ms, uint64_t other_ms);

/* Ends the server at once. */
void master_stop(struct master *master);

/* Ends it when what is under way has been answered. */
void master_drain(struct master *master);

/* SIGUSR1 */
void master_reopen_logs(struct master *master);

/* ---- books.c ---- */

/* After a turn: what must be true of the master's own memory then. */
void books_check(const struct master *master);

/* ---- phase.c ---- */

/* Goes on to a phase that may follow on the present one. */
void phase_enter(struct master *master, enum master_phase phase);

/* Whether the server ends: by itself, not because another program serves. */
bool phase_is_ending(const struct master *master);

/* Whether vacant seats are filled. */
bool phase_starts_processes(const struct master *master);

/* ---- blame.c ---- */

/* To be called before the first process is started. */
void blame_open(struct master *master);

/* How the process has died, once for each death. */
struct worker_end blame_end(struct master *master, const struct child *child,
                            const struct death_record *death);

/* ---- legacies.c ---- */

/* Who goes on with what a process leaves that has just died. */
enum legacy_way {
    LEGACY_IS_CUT, /* nobody */
    LEGACY_TO_SEAT,
    LEGACY_TO_HEIR
};

enum legacy_way legacies_way(const struct master *master, const struct child *child);

/* The process has died: what it leaves goes that way. Its estate is nobody's afterwards. */
void legacies_leave(struct master *master, struct child *child, enum legacy_way way,
                    const struct loss *loss);

/* What a process that is about to be forked moves into: what its predecessor has left, or an empty
 * one; NULL: it is to leave nothing. */
struct estate *legacies_claim(struct master *master, struct seat *seat, struct child *child,
                              bool succeeds);

/* The process could not be forked: what it had claimed waits in its seat again. */
void legacies_give_back(struct master *master, struct child *child);

/* Nobody will sit there: an heir goes on with what waits there. */
void legacies_pass_on(struct master *master, struct seat *seat);

/* Nobody goes on with it. NULL: nothing. */
void legacies_destroy(const struct master *master, struct legacy *legacy);

/* In a forked process: closes what is not its own. */
void legacies_forget(struct master *master, const struct estate *own);

/* ---- heirs.c ---- */

/* An heir is to go on with it, until then at most. */
void heirs_await(struct master *master, struct legacy *legacy, uint64_t drain_until_ms);

/* Starts those that are awaited. */
void heirs_start_due(struct master *master);

/* When the next one is to be started; 0: never. */
uint64_t heirs_start_due_ms(const struct master *master);

/* Nobody waits for them any more. */
void heirs_abandon(struct master *master);

/* In the forked process: makes the configuration in force that of an heir, which accepts nothing
 * and has the dead one's threads. */
void heirs_settle(struct master *master, const struct child *child);

/* ---- children.c ---- */

/* Starts a process for each seat that has none, and has waited long enough. */
void children_start_due(struct master *master);

/* When the next one is to be started; 0: never. */
uint64_t children_start_due_ms(const struct master *master);

/* A process that is to be forked, made after a configuration and its plan. */
struct child *children_create(const struct server *server, const struct plan *plan, uint32_t number,
                              uint32_t first_slot);

/* Forks it. False with errno set: its slots are free again. */
bool children_fork(struct master *master, struct child *child);

/* Starts a process for a seat, and puts it into *place. Reported on failure: *place stays NULL. */
void children_start(struct master *master, uint32_t number, struct child **place);

/* Asks it to end with the server: what waits at its sockets is answered first, and if the server
 * gives these up, nobody comes any more. */
void children_drain(struct master *master, struct child *child, bool gives_up);

/* Asks it to end while others take over: it answers who is connected until the drain deadline. */
void children_retire(struct master *master, struct child *child);

/* Kills who was started with this configuration, and is in nobody's way any more. */
void children_discard(struct master *master, uint32_t epoch);

/* Sends it a signal; that it has ended meanwhile is no failure. Else reported once. */
void children_order(struct master *master, const struct child *child, int number);

/* To all of them. */
void children_signal(struct master *master, int number);

/* Kills who has not ended in time. */
void children_kill_late(struct master *master);

/* When that is; 0: never. */
uint64_t children_kill_due_ms(const struct master *master);

/* Looks who has become ready. */
void children_check_readiness(struct master *master);

/* ---- master.c ---- */

/* Tells the service manager what is served, and that nothing else is going on. */
void master_tell_serving(struct master *master);

/* ---- deaths.c ---- */

/* Reaps everything: as PID 1 the master also inherits strangers. */
void deaths_reap(struct master *master);

/* ---- keepers.c ---- */

/* The process has become ready with this keeper; 0: with none. */
void keepers_learn(struct child *child, pid_t keeper_pid);

/* A process has ended, of which nobody else knows: if it was the keeper of one that lives, that is
 * replaced. */
void keepers_reap(struct master *master, pid_t pid, int wait_status);

/* Has those replaced that lack a keeper, and are old enough. */
void keepers_run(struct master *master);

/* When the next one is; 0: never. */
uint64_t keepers_due_ms(const struct master *master);

/* ---- rolling.c ---- */

/* Changes the number of seats: new ones are filled at once, who sits on those taken away retires.
 */
void rolling_resize(struct master *master, uint32_t seat_count);

/* Marks a seat, or all, to be replaced one after the other. */
void rolling_replace(struct master *master, uint32_t number);
void rolling_replace_all(struct master *master);

/* The same for a process that serves, and is not about to be replaced anyway; true: it will be. */
bool rolling_request(struct master *master, struct child *child);

/* The next step, if nothing is to be waited for. */
void rolling_advance(struct master *master);

/* When one that has failed is to be tried again; 0: never. */
uint64_t rolling_due_ms(const struct master *master);

/* The seat's successor is ready, or has died before it was: then there is another try later. */
void rolling_succeed(struct master *master, struct seat *seat);
void rolling_fail(struct master *master, struct seat *seat);

/* Which seats are to be replaced follows from the configuration that their processes have. */
void rolling_review(struct master *master);

/* ---- orders.c ---- */

/* SIGHUP, SIGUSR2, SIGTTIN, SIGTTOU: does it now, or when what is going on is over. False with the
 * reason in error, and in the log. */
bool orders_give(struct master *master, int number, struct error *error);

/* Does one that has waited, if it need not wait any more. */
void orders_take_up(struct master *master);

/* ---- resize.c ---- */

/* Adds so many processes, or takes some away, until the next reload. False with
 * the reason in error, and in the log. */
bool resize_by(struct master *master, int32_t change, struct error *error);

/* ---- fault.c ---- */

/* Has the server asked for that path, which crashes or hangs a process of it. False with the reason
 * in error. */
bool fault_request(const struct master *master, const char *target, struct error *error);

/* ---- reload.c ---- */

/* A configuration that does not do leaves everything as it is: false, with the reason in error, and
 * in the log. */
bool reload_begin(struct master *master, struct error *error);

/* What counts until that is decided. */
const struct server *reload_in_force(const struct master *master);

/* Whether it is not decided yet. */
bool reload_is_under_way(const struct master *master);

/* Whether a new configuration stands or falls with this process. Not when the server ends. */
bool reload_is_decided_by(const struct master *master, const struct child *child);

/* The next step, if nothing is to be waited for. */
void reload_proceed(struct master *master);

/* When it is to look without news; 0: never. */
uint64_t reload_due_ms(const struct master *master);

/* The server ends: nobody waits for it any more. */
void reload_abandon(struct master *master);

/* The first process of a new configuration serves, or cannot. */
void reload_commit(struct master *master);
void reload_go_back(struct master *master);

/* ---- listening.c ---- */

/* Looks whether a process has spoilt what all share, and mends it. */
void listening_check(struct master *master);

/* The same when it is time. */
void listening_check_if_due(struct master *master);

/* When that is; 0: never. */
uint64_t listening_due_ms(const struct master *master);

/* The sockets have been another program's, which may have shut them down: serves there again. */
void listening_listen_again(struct master *master);

/* ---- upgrade.c ---- */

/* Starts the program anew from its file, with the listening sockets. When that serves, the
 * children here retire, and the master leaves after a trial; should the new program die before, it
 * serves again itself. If the new one is told to end, both do. False with the reason in error, and
 * in the log. */
bool upgrade_begin(struct master *master, struct error *error);

/* Serves again although the new program does well, and has it end. False: its trial is over. */
bool upgrade_take_back(struct master *master);

/* Ends a new program that is not ready in time. */
void upgrade_check_deadline(struct master *master);

/* When there is something to do about it; 0: never. */
uint64_t upgrade_due_ms(const struct master *master);

/* The server ends: a new program that does not serve yet ends, too. */
void upgrade_abandon(struct master *master);

/* Hears what it has to say, if there is anything. */
void upgrade_hear(struct master *master);

/* The process has ended: true if it was the new program. */
bool upgrade_is_over(struct master *master, pid_t pid, int wait_status);

/* Whether the trial has been passed, so that this master may leave when its processes have. */
bool upgrade_is_passed(const struct master *master);

#endif
