#include "common/net/output.h"

#include "common/base/check.h"
#include "common/base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    FULL_BYTES = 8192,
    COPIED_PART_BYTES = 4096, /* a longer part of a file in memory is not copied */
    SLACK_BYTES = 4096,       /* room behind a text that is worth giving back */
    SENDFILE_CHUNK_BYTES = 1 << 20,
    TURN_BYTES = 4 << 20 /* in one call of output_flush */
};

/* ---- Filling ---- */

static bool is_within(const struct file_entry *file, uint64_t offset, uint64_t bytes)
{
    return offset <= file->size_bytes && bytes <= file->size_bytes - offset;
}

static void set_body(struct output *output, uint64_t offset, uint64_t bytes, uint64_t body_bytes)
{
    CHECK(output->file == NULL || output->text == NULL); /* a piece lies in one place */
    output->offset = offset;
    output->left = bytes;
    output->body_bytes = body_bytes;
}

void output_set_file(struct output *output, struct file_entry *file, uint64_t offset,
                     uint64_t bytes)
{
    CHECK(output->left == 0 && output->parts == NULL && bytes > 0);
    CHECK(is_within(file, offset, bytes));
    output->file = file;
    set_body(output, offset, bytes, bytes);
}

void output_set_text(struct output *output, struct buffer *text)
{
    CHECK(output->left == 0 && output->parts == NULL && text->len > 0);
    if (text->capacity - text->len > SLACK_BYTES) {
        text->data = memory_resize(text->data, text->len);
    }
    output->text = text->data;
    set_body(output, 0, text->len, text->len);
    *text = (struct buffer){0};
}

/* Lines and short parts behind the bytes, up to a part that is a piece of its own. */
static void append_parts(struct output *output)
{
    struct byte_range range;
    while (output->left == 0 && output->bytes.len < FULL_BYTES) {
        if (!multipart_next(output->parts, &output->bytes, &range)) {
            multipart_destroy(output->parts);
            output->parts = NULL;
            return;
        }
        uint64_t bytes = range.last - range.first + 1;
        CHECK(range.first <= range.last && is_within(output->file, range.first, bytes));
        if (output->file->content != NULL && bytes <= COPIED_PART_BYTES) {
            buffer_append(&output->bytes, output->file->content + range.first, (size_t)bytes);
        } else {
            output->offset = range.first;
            output->left = bytes;
        }
    }
}

void output_set_parts(struct output *output, struct file_entry *file, struct multipart *parts)
{
    CHECK(output->left == 0 && output->parts == NULL);
    output->file = file;
    output->parts = parts;
    set_body(output, 0, 0, multipart_bytes(parts));
    append_parts(output);
}

bool output_is_empty(const struct output *output)
{
    return output->bytes.len == 0 && output->left == 0 && output->parts == NULL;
}

bool output_is_in_memory(const struct output *output)
{
    return output->parts == NULL && (output->file == NULL || output->file->content != NULL);
}

bool output_is_full(const struct output *output)
{
    return output->left > 0 || output->parts != NULL || output->bytes.len >= FULL_BYTES;
}

void output_clear(struct output *output)
{
    buffer_clear(&output->bytes);
    output->sent = 0;
    output->left = 0;
    if (output->file != NULL) {
        file_entry_release(output->file);
        output->file = NULL;
    }
    if (output->parts != NULL) {
        multipart_destroy(output->parts);
        output->parts = NULL;
    }
    if (output->text != NULL) {
        free(output->text);
        output->text = NULL;
    }
}

void output_drop_sent(struct output *output)
{
    buffer_consume(&output->bytes, output->sent);
    output->sent = 0;
}

/* ---- Sending ---- */

static bool is_transient(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK;
}

/* Where what is left of the piece lies; empty: not in memory, or there is no piece. */
static struct span piece_in_memory(const struct output *output)
{
    const char *memory = output->file != NULL ? output->file->content : output->text;
    if (output->left == 0 || memory == NULL) {
        return (struct span){NULL, 0};
    }
    return (struct span){memory + output->offset, (size_t)output->left};
}

static struct span unsent_bytes(const struct output *output)
{
    if (output->sent == output->bytes.len) {
        return (struct span){NULL, 0};
    }
    return (struct span){output->bytes.data + output->sent, output->bytes.len - output->sent};
}

/* Both in one call. Small answers are bytes alone. */
static ssize_t send_once(const struct output *output, int fd, struct span bytes, struct span piece)
{
    if (piece.len == 0) {
        int more = output->left > 0 || output->parts != NULL ? MSG_MORE : 0;
        return send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT | more);
    }
    struct iovec both[] = {{(char *)(uintptr_t)bytes.ptr, bytes.len},
                           {(char *)(uintptr_t)piece.ptr, piece.len}};
    const struct msghdr message = {.msg_iov = both, .msg_iovlen = 2};
    return sendmsg(fd, &message,
                   MSG_NOSIGNAL | MSG_DONTWAIT | (output->parts != NULL ? MSG_MORE : 0));
}

static void advance(struct output *output, uint64_t taken)
{
    size_t left = output->bytes.len - output->sent;
    size_t of_bytes = taken < left ? (size_t)taken : left;
    CHECK(taken - of_bytes <= output->left); /* no more than there was */
    output->sent += of_bytes;
    output->offset += taken - of_bytes;
    output->left -= taken - of_bytes;
}

static enum output_result flush_memory(struct output *output, int fd, uint64_t *sent)
{
    for (;;) {
        struct span bytes = unsent_bytes(output);
        struct span piece = piece_in_memory(output);
        if (bytes.len + piece.len == 0) {
            return OUTPUT_DONE;
        }
        ssize_t n = send_once(output, fd, bytes, piece);
        if (n < 0 && errno != EINTR) {
            return is_transient(errno) ? OUTPUT_BLOCKED : OUTPUT_FAILED;
        }
        if (n > 0) {
            advance(output, (size_t)n);
            *sent += (uint64_t)n;
        }
    }
}

/* Whether sendfile failed because of the file; else it was the socket. */
static bool is_files_fault(int error)
{
    return error == EIO || error == ESTALE || error == EINVAL || error == EOVERFLOW ||
           error == ESPIPE;
}

static enum output_result flush_file(struct output *output, int fd, uint64_t until, uint64_t *sent)
{
    while (output->left > 0) {
        if (*sent >= until) {
            return OUTPUT_BLOCKED;
        }
        CHECK(output->sent == output->bytes.len); /* the head is out before the file */
        off_t offset = (off_t)output->offset;
        size_t chunk =
            output->left < SENDFILE_CHUNK_BYTES ? (size_t)output->left : SENDFILE_CHUNK_BYTES;
        ssize_t n = sendfile(fd, output->file->fd, &offset, chunk);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && is_transient(errno)) {
            return OUTPUT_BLOCKED;
        }
        if (n < 0 && !is_files_fault(errno)) {
            return OUTPUT_FAILED;
        }
        if (n <= 0) { /* 0: the file has shrunk. The announced length cannot be kept */
            output->error = n == 0 ? 0 : errno;
            return OUTPUT_CUT_SHORT;
        }
        output->offset += (uint64_t)n;
        output->left -= (uint64_t)n;
        *sent += (uint64_t)n;
    }
    return OUTPUT_DONE;
}

/* All has been sent but what parts can tell of. */
static void next_parts(struct output *output)
{
    CHECK(output->left == 0 && output->sent == output->bytes.len);
    buffer_clear(&output->bytes);
    output->sent = 0;
    append_parts(output);
}

bool output_skip(struct output *output, uint64_t bytes)
{
    for (;;) {
        uint64_t here = output->bytes.len - output->sent + output->left;
        if (bytes < here || (bytes == here && output->parts == NULL)) {
            advance(output, bytes);
            return true;
        }
        if (output->parts == NULL) {
            return false;
        }
        bytes -= here;
        advance(output, here);
        next_parts(output);
    }
}

enum output_result output_flush(struct output *output, int socket_fd, uint64_t *sent)
{
    const uint64_t until = *sent + TURN_BYTES;
    for (;;) {
        enum output_result result = flush_memory(output, socket_fd, sent);
        if (result == OUTPUT_DONE && output->left > 0) {
            result = flush_file(output, socket_fd, until, sent);
        }
        if (result != OUTPUT_DONE) {
            return result;
        }
        if (output->parts == NULL) {
            output_clear(output);
            return OUTPUT_DONE;
        }
        next_parts(output);
    }
}
