/* The document root: the directory that a path named when it was opened, and names now.
 *
 * A deployment may switch a symbolic link (current -> releases/42), move another directory into the
 * place, or mount over it. The path is therefore looked up anew twice a second; when it leads
 * elsewhere, the new directory takes the place of the old one at the same descriptor. One for each
 * process; its threads share it. */
#ifndef TWINHTTPD_COMMON_HTTP_DOCUMENT_ROOT_H
#define TWINHTTPD_COMMON_HTTP_DOCUMENT_ROOT_H

#include "common/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct document_root;

/* Opens the directory; path is copied, and if it is relative it means the working directory of
 * whoever looks. NULL with one line in error: cause and fix. Processes that are forked have one of
 * their own each. Closed by document_root_close, when no thread uses it any more. */
struct document_root *document_root_open(const char *path, struct error *error);
void document_root_close(struct document_root *root); /* NULL: nothing */

/* Its descriptor (O_PATH), the same for life; the root's own. */
int document_root_fd(const struct document_root *root);

/* The path. */
const char *document_root_path(const struct document_root *root);

/* Whether openat2(2) is missing or forbidden here, so that names are looked up step by step. */
bool document_root_goes_by_steps(const struct document_root *root);

/* Opens a file for reading beneath the directory (see beneath_open). */
int document_root_open_file(const struct document_root *root, const char *path);

/* Looks whether the path leads elsewhere now, if that was not done in the last half second. Returns
 * how often it has led elsewhere so far: whoever remembers files forgets them when that changes.
 * From any thread; now_ms is CLOCK_MONOTONIC. When the path cannot be looked up, or the directory
 * behind it cannot be searched, what was there goes on being served, which the log tells once. */
uint32_t document_root_follow(struct document_root *root, uint64_t now_ms);

/* The path is not to be looked up any more: who will serve lacks the permission. Before any fork or
 * thread that follows it. */
void document_root_pin(struct document_root *root);

#endif
