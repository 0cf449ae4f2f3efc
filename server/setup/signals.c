#include "server/setup/signals.h"

#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

static const int understood[] = {SIGTERM, SIGINT,  SIGQUIT, SIGHUP,   SIGUSR1, SIGUSR2,
                                 SIGCHLD, SIGTTIN, SIGTTOU, SIGWINCH, 0};

static void make_set(sigset_t *set, const int *signals)
{
    sigemptyset(set);
    for (size_t i = 0; signals[i] != 0; i++) {
        sigaddset(set, signals[i]);
    }
}

/* Only "ignored" is inherited. Signals that cannot be changed are left as they are. */
static void heed_all(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN) {
            signal(number, SIG_DFL);
        }
    }
}

static void stop_timers(void)
{
    static const struct itimerval never;
    setitimer(ITIMER_REAL, &never, NULL);
    setitimer(ITIMER_VIRTUAL, &never, NULL);
    setitimer(ITIMER_PROF, &never, NULL);
}

void signals_reset(void)
{
    sigset_t none;
    stop_timers();
    heed_all();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void signals_block(void)
{
    sigset_t set;
    make_set(&set, understood);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log that has reached RLIMIT_FSIZE is no reason to die */
}

static const int ending[] = {SIGTERM, SIGINT, SIGQUIT, 0};

static void set_handlers(void (*handler)(int number))
{
    for (size_t i = 0; ending[i] != 0; i++) {
        signal(ending[i], handler);
    }
}

/* The default action would not end process 1 of a container. */
static void end_at_once(int number)
{
    (void)number;
    _exit(0);
}

void signals_end_at_once(void)
{
    sigset_t set;
    make_set(&set, ending);
    set_handlers(end_at_once);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void signals_wait_again(void)
{
    sigset_t set;
    make_set(&set, ending);
    sigprocmask(SIG_BLOCK, &set, NULL);
    set_handlers(SIG_DFL);
}

void signals_unblock(void)
{
    sigset_t set;
    make_set(&set, understood);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
}

int signals_open(const int *signals)
{
    sigset_t set;
    make_set(&set, signals);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int signals_next(int fd)
{
    uint32_t ignored = 0;
    return signals_next_order(fd, &ignored);
}

int signals_next_order(int fd, uint32_t *bits)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return 0;
    }
    if (info.ssi_code == SI_QUEUE && info.ssi_pid == (uint32_t)getppid()) {
        *bits |= (uint32_t)info.ssi_int;
    }
    return (int)info.ssi_signo;
}
