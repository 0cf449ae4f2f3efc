#include "server/supervise/stop_signals.h"

#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
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

void stop_signals_block(void)
{
    sigset_t set;
    make_set(&set, understood);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log that has reached RLIMIT_FSIZE is no reason to die */
}

void stop_signals_unblock(void)
{
    sigset_t set;
    make_set(&set, understood);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
}

int stop_signals_open(const int *signals)
{
    sigset_t set;
    make_set(&set, signals);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int stop_signals_next(int fd)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return 0;
    }
    return (int)info.ssi_signo;
}
