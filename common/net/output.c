#include "common/net/output.h"

#include <assert.h>
#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

enum {
    FULL_BYTES = 65536,
    SENDFILE_CHUNK_BYTES = 1 << 20,
    SENDFILE_TURN_BYTES = 4 << 20 /* in one call of output_flush */
};

void output_set_file(struct output *output, struct file_entry *file, uint64_t offset,
                     uint64_t bytes)
{
    assert(output->file == NULL && bytes > 0);
    output->file = file;
    output->file_offset = offset;
    output->file_bytes = bytes;
}

bool output_is_empty(const struct output *output)
{
    return output->bytes.len == 0 && output->file == NULL;
}

bool output_is_full(const struct output *output)
{
    return output->file != NULL || output->bytes.len >= FULL_BYTES;
}

void output_clear(struct output *output)
{
    buffer_clear(&output->bytes);
    output->sent = 0;
    if (output->file != NULL) {
        file_entry_release(output->file);
        output->file = NULL;
    }
}

static enum output_result result_of_errno(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK ? OUTPUT_BLOCKED : OUTPUT_FAILED;
}

static enum output_result flush_bytes(struct output *output, int fd, uint64_t *sent)
{
    int more = output->file != NULL ? MSG_MORE : 0;
    while (output->sent < output->bytes.len) {
        ssize_t n = send(fd, output->bytes.data + output->sent, output->bytes.len - output->sent,
                         MSG_NOSIGNAL | more);
        if (n < 0 && errno != EINTR) {
            return result_of_errno();
        }
        if (n > 0) {
            output->sent += (size_t)n;
            *sent += (uint64_t)n;
        }
    }
    return OUTPUT_DONE;
}

static enum output_result flush_file(struct output *output, int fd, uint64_t *sent)
{
    uint64_t turn_bytes = 0;
    while (output->file_bytes > 0) {
        if (turn_bytes >= SENDFILE_TURN_BYTES) {
            return OUTPUT_BLOCKED;
        }
        off_t offset = (off_t)output->file_offset;
        size_t chunk = output->file_bytes < SENDFILE_CHUNK_BYTES ? (size_t)output->file_bytes
                                                                 : SENDFILE_CHUNK_BYTES;
        ssize_t n = sendfile(fd, output->file->fd, &offset, chunk);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return result_of_errno();
        }
        if (n == 0) { /* the file has shrunk: the announced length cannot be kept */
            return OUTPUT_FAILED;
        }
        output->file_offset += (uint64_t)n;
        output->file_bytes -= (uint64_t)n;
        *sent += (uint64_t)n;
        turn_bytes += (uint64_t)n;
    }
    return OUTPUT_DONE;
}

enum output_result output_flush(struct output *output, int socket_fd, uint64_t *sent)
{
    enum output_result result = flush_bytes(output, socket_fd, sent);
    if (result == OUTPUT_DONE && output->file != NULL) {
        result = flush_file(output, socket_fd, sent);
    }
    if (result == OUTPUT_DONE) {
        output_clear(output);
    }
    return result;
}
