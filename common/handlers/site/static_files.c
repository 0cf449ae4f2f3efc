/* The fallback route: files below the document root (RFC 9110: GET, HEAD, conditionals, ranges). */
#include "common/base/log.h"
#include "common/handlers/handlers.h"
#include "common/handlers/site/static_range.h"
#include "common/http/conditional.h"
#include "common/http/content_coding.h"
#include "common/http/gzip.h"
#include "common/http/head.h"
#include "common/http/uri.h"

#include <time.h>

static enum file_result open_file(struct handler_context *context, struct span path,
                                  struct file_entry **file)
{
    return file_cache_open(context->files, path, context->turn, context->now_ms, file);
}

/* The path with more behind it. */
static struct span join(struct arena *arena, struct span path, struct span rest)
{
    char *joined = arena_alloc(arena, path.len + rest.len);
    memcpy(joined, path.ptr, path.len);
    memcpy(joined + path.len, rest.ptr, rest.len);
    return (struct span){joined, path.len + rest.len};
}

static void answer_failure(enum file_result result, struct http_response *response)
{
    switch (result) {
    case FILE_FORBIDDEN:
        http_response_error(response, 403);
        break;
    case FILE_EXHAUSTED:
        http_response_error(response, 503);
        http_response_add_header(response, "Retry-After", "1");
        break;
    case FILE_FAILED:
        log_write(LOG_ERROR, "cannot read a file below the document root: %m");
        http_response_error(response, 500);
        break;
    default:
        http_response_error(response, 404);
        break;
    }
}

/* The path is normalised, so it begins with one slash and cannot name another host. */
static void redirect_to_directory(const struct http_request *request,
                                  struct http_response *response)
{
    http_response_error(response, 301);
    buffer_append_span(&response->headers, SPAN("Location: "));
    uri_encode_path(&response->headers, request->path);
    buffer_append_span(&response->headers, SPAN("/"));
    if (request->query.len > 0) {
        buffer_append_span(&response->headers, SPAN("?"));
        uri_encode_query(&response->headers, request->query);
    }
    buffer_append_span(&response->headers, SPAN("\r\n"));
}

/* A date in several lines is no date (RFC 9110, 13.1.3). */
static struct span single_field(const struct http_request *request, enum http_field_id id)
{
    return request->field_occurrences[id] == 1 ? http_request_field(request, id)
                                               : (struct span){NULL, 0};
}

static struct conditional conditional_of(const struct http_request *request, struct arena *arena)
{
    return (struct conditional){
        .if_match = http_head_field_list(request, HTTP_FIELD_IF_MATCH, arena),
        .if_none_match = http_head_field_list(request, HTTP_FIELD_IF_NONE_MATCH, arena),
        .if_modified_since = single_field(request, HTTP_FIELD_IF_MODIFIED_SINCE),
        .if_unmodified_since = single_field(request, HTTP_FIELD_IF_UNMODIFIED_SINCE),
        .if_range = http_request_field(request, HTTP_FIELD_IF_RANGE),
    };
}

static bool has_conditions(const struct http_request *request)
{
    const uint32_t *occurrences = request->field_occurrences;
    return (occurrences[HTTP_FIELD_IF_MATCH] | occurrences[HTTP_FIELD_IF_NONE_MATCH] |
            occurrences[HTTP_FIELD_IF_MODIFIED_SINCE] |
            occurrences[HTTP_FIELD_IF_UNMODIFIED_SINCE] | occurrences[HTTP_FIELD_RANGE]) != 0;
}

/* Whether the part that Range asks for is to be sent. A date that is not the file's own is none by
 * which parts of two answers may be put together. */
static bool range_counts(const struct http_request *request, const struct conditional *conditional,
                         const struct file_entry *file, struct validators validators, int64_t now)
{
    if (!file->date_is_own) {
        validators.last_modified = CONDITIONAL_NO_DATE;
    }
    return request->method == METHOD_GET && request->field_occurrences[HTTP_FIELD_RANGE] == 1 &&
           request->field_occurrences[HTTP_FIELD_IF_RANGE] <= 1 &&
           conditional_if_range_holds(conditional->if_range, &validators, now);
}

/* Conditionals and ranges (RFC 9110, 13 and 14), in the order of 13.2.2. */
static void apply_conditions(const struct http_request *request, struct http_response *response)
{
    struct file_entry *file = response->file;
    struct conditional conditional = conditional_of(request, &response->arena);
    struct validators validators = {.etag = file->etag[0] != '\0' ? span_of(file->etag)
                                                                  : (struct span){NULL, 0},
                                    .last_modified = file->last_modified,
                                    .exists = true};
    int64_t now = (int64_t)time(NULL);
    switch (conditional_evaluate(&conditional, &validators, true, now)) {
    case CONDITIONAL_PROCEED:
        if (range_counts(request, &conditional, file, validators, now)) {
            static_range_apply(request, response);
        }
        break;
    case CONDITIONAL_NOT_MODIFIED:
        response->status = 304;
        response->content_type = NULL;
        break;
    case CONDITIONAL_PRECONDITION_FAILED:
        response->file = NULL;
        buffer_clear(&response->headers);
        http_response_error(response, 412);
        file_entry_release(file);
        break;
    }
}

/* The file as stored in the coding beside the plain one, or else compressed on the fly. NULL:
 * neither. */
static struct file_entry *open_variant(struct handler_context *context, struct arena *arena,
                                       struct span path, struct file_entry *file,
                                       enum content_coding coding)
{
    struct file_entry *variant = NULL;
    if ((file->codings & CODING_BIT(coding)) == 0) {
        return file_cache_gzip(context->files, file);
    }
    path = join(arena, path, span_of(content_coding_suffix(coding)));
    /* It may be gone meanwhile. */
    return open_file(context, path, &variant) == FILE_FOUND ? variant : NULL;
}

/* In which codings the file can be had besides its own. */
static unsigned available_codings(const struct handler_context *context,
                                  const struct file_entry *file)
{
    bool gzip = context->gzip && gzip_suits(file->content_type, file->size_bytes);
    return file->codings | (gzip ? CODING_BIT(CODING_GZIP) : 0);
}

/* The variant of the file that the client likes best; takes over the reference. */
static struct file_entry *choose_variant(const struct http_request *request,
                                         struct http_response *response,
                                         struct handler_context *context, struct span path,
                                         struct file_entry *file, unsigned available)
{
    struct arena *arena = &response->arena;
    http_response_add_header(response, "Vary", "Accept-Encoding");
    enum content_coding coding = content_coding_choose(
        http_head_field_list(request, HTTP_FIELD_ACCEPT_ENCODING, arena), available);
    struct file_entry *variant = NULL;
    if (coding != CODING_IDENTITY) {
        variant = open_variant(context, arena, path, file, coding);
    }
    if (variant == NULL) {
        return file;
    }
    http_response_add_header(response, "Content-Encoding", content_coding_name(coding));
    file_entry_release(file);
    return variant;
}

static void answer_file(const struct http_request *request, struct http_response *response,
                        struct handler_context *context, struct span path, struct file_entry *file)
{
    response->status = 200;
    response->content_type = file->content_type;
    unsigned available = available_codings(context, file);
    if (available != 0) {
        file = choose_variant(request, response, context, path, file, available);
    }
    response->file = file;
    response->file_offset = 0;
    response->file_bytes = file->size_bytes;
    if (has_conditions(request)) {
        apply_conditions(request, response);
    }
}

static void static_files(const struct http_request *request, struct http_response *response,
                         struct handler_context *context, void *data)
{
    (void)data;
    struct span path = request->path;
    bool names_directory = path.ptr[path.len - 1] == '/';
    if (names_directory) {
        path = join(&response->arena, path, SPAN("index.html"));
    }
    struct file_entry *file = NULL;
    enum file_result result = open_file(context, path, &file);
    if (result == FILE_FOUND) {
        answer_file(request, response, context, path, file);
    } else if (result == FILE_IS_DIRECTORY && !names_directory) {
        redirect_to_directory(request, response);
    } else {
        answer_failure(result, response);
    }
}

void static_files_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.methods = METHOD_BIT(METHOD_GET),
                                       .cacheable = true,
                                       .handler = static_files});
}
