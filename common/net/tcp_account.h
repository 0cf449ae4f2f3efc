/* How many bytes were read from and written to a TCP connection since it began, asked of the kernel
 * by one who has not counted: the successor of a process that has died.
 *
 * read    = bytes received - bytes that nobody has read
 * written = bytes acknowledged + bytes that are not acknowledged, sent or not
 *
 * The kernel counts a FIN as a byte wherever it was sent or has come, which its state tells. A SYN
 * counts on the side that has connected, and nowhere in a connection that was accepted. The counts
 * do not wrap: they have 64 bits, and only the queues are differences of sequence numbers. */
#ifndef TWINHTTPD_COMMON_NET_TCP_ACCOUNT_H
#define TWINHTTPD_COMMON_NET_TCP_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

struct tcp_account {
    uint64_t read_bytes;      /* by this side */
    uint64_t written_bytes;   /* by this side: what the kernel has taken, sent or not */
    bool client_has_finished; /* its FIN has come: what is unread is the last */
    bool server_has_finished; /* this side has ended its stream, by shutdown() */
    bool is_over;             /* reset, or finished by both: nothing more can be sent */
};

/* Fills the account of a connection that was accepted, while nobody reads, writes or shuts it down:
 * its process has died, or asks by itself. Packets may come and go meanwhile. The counts are exact,
 * but for two cases:
 * - The connection is over. The kernel no longer tells which FINs it has counted, so each count may
 *   be one too many. Both ends are marked as finished. What is unread can still be read.
 * - The client has finished, and the end of its stream was read (recv() gave 0). Then read_bytes is
 *   an upper bound: a client that forges packets can send more FINs, and the kernel counts each.
 *   Whoever reads the end has to note it, and how much came before it.
 *
 * False, and errno tells why:
 * - EBADF, ENOTSOCK: as getsockopt()
 * - EPROTOTYPE: not TCP. Multipath TCP is not, either: its counts are those of one of its streams.
 * - ENOTCONN: it listens, is not connected yet, or never was
 * - EINVAL: SO_OOBINLINE is not set. It has to be set on the listening socket already: without it
 *   recv() leaves out each byte that a client marks as urgent, while the kernel counts it as read.
 * - ENOTSUP: the kernel has no such counts (before Linux 4.2)
 * - EAGAIN: in a thousand rounds packets came between any two questions. Ask again: there cannot be
 *   more packets than fit in the queues, which nobody empties or fills meanwhile. */
bool tcp_account_ask(int socket_fd, struct tcp_account *account);

#endif
