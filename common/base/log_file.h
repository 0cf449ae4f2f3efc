/* What lines of a log are written to: a file, a pipe, a FIFO, a terminal, a socket. Nobody here
 * ever waits for whoever reads it, nor for room on a disk: what cannot be written now is left to
 * the caller. Lines stay whole, also with several processes and threads that write to the same. */
#ifndef TWINHTTPD_COMMON_BASE_LOG_FILE_H
#define TWINHTTPD_COMMON_BASE_LOG_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Opens it for appending; a file that is not there is created with mode 0640. A path that names a
 * descriptor (/dev/stdout, /proc/self/fd/7) leads to what is open there, also if the user could not
 * open it again. -1 with errno set on failure; ENXIO: a FIFO that nobody reads. */
int log_file_open(const char *path);

/* The same beneath an open directory, for a name that is no symbolic link (else ELOOP). */
int log_file_open_at(int directory_fd, const char *name);

/* Whether the path names a descriptor: it leads to the same after a rotation. */
bool log_file_is_descriptor(const char *path);

/* Directs a descriptor that leads to a log to the file that is at path now, which may be a new one.
 * It keeps its number: threads that write at this moment write to one or the other. False with
 * errno set on failure: it leads where it did. */
bool log_file_reopen(int fd, const char *path);

/* Puts new_fd, which is closed, in the place of fd, as log_file_reopen does. */
bool log_file_replace(int fd, int new_fd);

/* What a failure to open it means, in words: errno's text, or better. */
const char *log_file_cause(const char *path, int error);

/* Makes a descriptor that others share (standard error; any after a fork) this process's own, so
 * that none of them can make a write wait, by taking O_NONBLOCK away, and so that they do not get
 * it either. Where that is not possible it stays as it is. True: it is a file that is appended to,
 * and its position is nobody else's (log_position.h). */
bool log_file_own(int fd);

/* Appends whole lines as far as it goes without waiting, and returns how many bytes are there for
 * good; fewer than given: errno tells why. On a pipe each line of at most PIPE_BUF bytes is there
 * entirely or not at all. In a regular file what is torn by the end of the disk is taken back.
 * Elsewhere (a terminal) a line may be torn: the rest is to come next. Slow storage is waited for.
 */
size_t log_file_append(int fd, const char *lines, size_t bytes);

/* The same as far as one write goes; to a file, all. 0: nothing, and errno tells why. Fewer than
 * given, and more than 0: there may be room for more. */
size_t log_file_append_piece(int fd, const char *lines, size_t bytes);

/* What keeps lines from being written, in words; error: errno of log_file_append. */
const char *log_file_loss_cause(int error);

#endif
