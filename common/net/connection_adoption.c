/* Goes on with connections that a process has left behind when it died. */
#include "common/base/check.h"
#include "common/net/claims.h"
#include "common/net/connection_internal.h"
#include "common/net/connection_replay.h"
#include "common/net/durable.h"
#include "common/net/tcp_account.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* No answer is made again from any place on (access_log_accept). */
#define ALL_IS_SENT UINT64_MAX

/* How an adopted connection stands. */
enum standing { STANDS_WELL, STANDS_AT_ITS_END, STANDS_NOWHERE };

static enum replay_part part_of(uint64_t sent, uint64_t bytes)
{
    return sent == 0 ? REPLAY_NOTHING : sent < bytes ? REPLAY_A_PART : REPLAY_ALL;
}

/* The client may have it all without knowing that nothing more will come. */
static void see_out(struct connection *c)
{
    connection_set_phase(c, PHASE_CLOSING);
    connection_journal_leave(c);
    if (shutdown(c->fd, SHUT_WR) == 0) {
        connection_linger_begin(c);
    } else {
        connection_destroy(c);
    }
}

static bool is_suspect(const struct connection *c, const struct worker_end *end)
{
    char client[CLIENT_TEXT_BYTES];
    client_address_format(&c->client, client);
    for (uint32_t i = 0; i < end->suspect_count; i++) {
        if (strcmp(end->suspects[i], client) == 0) {
            return true;
        }
    }
    return !end->suspects_known;
}

/* How much the end of its predecessor weighs under the connection's request that was at work. */
static uint32_t blame_of(const struct connection *c, const struct worker_end *end)
{
    if (!is_suspect(c, end)) {
        return 0;
    }
    return end->by_itself ? REPLAY_OWN_DEATH_WEIGHS : REPLAY_KILL_WEIGHS;
}

/* Lines that were not added yet when the predecessor died. */
static void accept_lines(const struct connection *c, uint64_t made_again_from)
{
    struct access_log *log = c->loop->access_log;
    if (log != NULL) {
        access_log_accept(log, durable_index(c->loop->options.durable, c->record), made_again_from);
    }
}

/* A request was given up, and half of that is sent: only a record that blames it makes that again
 * without running it. There is room for one, and now the blame falls on another. */
static bool would_run_once_more(const struct connection *c, const struct durable_output *output,
                                const struct worker_end *end)
{
    const struct durable_state state = durable_state(c->record);
    return state.suspect > 0 && state.suspect <= output->answers &&
           state.attempts > REPLAY_FORGIVEN && state.begun > state.answered && blame_of(c, end) > 0;
}

/* Output that the record tells of. */
static enum standing replay_output(struct connection *c, uint64_t written_bytes,
                                   const struct worker_end *end)
{
    const struct durable_state state = durable_state(c->record);
    const struct durable_output output = durable_output(c->record);
    uint64_t sent = written_bytes - output.begins_at;
    if (written_bytes < output.begins_at || sent > output.bytes ||
        output.answers > state.answered) {
        return STANDS_NOWHERE;
    }
    enum replay_part part = part_of(sent, output.bytes);
    accept_lines(c, part == REPLAY_ALL ? ALL_IS_SENT : output.begins_at);
    if (part == REPLAY_A_PART && would_run_once_more(c, &output, end)) {
        return STANDS_NOWHERE;
    }
    if (part == REPLAY_ALL && output.closes) {
        durable_sent(c->record, state.consumed, written_bytes, true);
        connection_journal_last(c, output.answers);
        return STANDS_AT_ITS_END;
    }
    if (part == REPLAY_ALL && output.answers == 0) { /* "100 Continue" alone */
        durable_sent(c->record, state.consumed, written_bytes, false);
    } else if (part != REPLAY_ALL) {
        c->sent_bytes = c->put_bytes = output.begins_at;
    }
    durable_restart(c->record, part != REPLAY_NOTHING, blame_of(c, end));
    connection_replay_begin(c, part, sent);
    return connection_replay_is_hopeless(c) ? STANDS_NOWHERE : STANDS_WELL;
}

static enum standing find_out(struct connection *c, uint64_t written_bytes,
                              const struct worker_end *end)
{
    const struct config *config = connection_config(c);
    const struct durable_state state = durable_state(c->record);
    c->sent_bytes = c->put_bytes = written_bytes;
    c->served = written_bytes > 0;
    connection_wait_for_request(c, c->served ? config->idle_timeout_ms : config->header_timeout_ms);
    if (c->served) {
        connection_move(c, PLACE_IN_USE);
    }
    if (!state.closing && (state.begun > 0 || state.interim_put)) {
        return replay_output(c, written_bytes, end);
    }
    accept_lines(c, ALL_IS_SENT);
    if (state.closing) {
        return STANDS_AT_ITS_END;
    }
    if (state.interim_sent) {
        connection_replay_begin(c, REPLAY_NOTHING, 0);
        connection_replay_forget_output(c);
    }
    return STANDS_WELL;
}

static struct connection *enter(struct loop *loop, struct durable_record *record, int fd,
                                const struct client_address *client, const struct buffer *input)
{
    connection_count_client(loop, client);
    struct connection *c = connection_enter(loop, fd, client);
    c->record = record;
    c->input = *input;
    c->input_done = durable_state(record).consumed;
    c->input_used = c->request_start = c->input_done;
    return c;
}

/* It was on its way from one loop to another, who or whose successor has it. */
static bool has_moved(const struct loop *loop, const struct durable_record *record)
{
    uint32_t generation;
    uint64_t claim = durable_claim(record, &generation);
    struct claims *claims = loop->options.claims;
    return claim != 0 && (claims == NULL || !claims_take(claims, claim, generation));
}

static bool keeps_log(const struct loop *loop)
{
    return loop->access_log != NULL && access_log_is_kept(loop->access_log);
}

/* Its client has left, and nothing more can be sent: what it has asked has a line each all the
 * same. What had not begun is not looked at. */
static void see_off(struct connection *c, uint64_t written_bytes, const struct worker_end *end)
{
    (void)find_out(c, written_bytes, end);
    if (c->replay == NULL) {
        connection_destroy(c);
        return;
    }
    connection_replay_part(c);
    connection_advance_soon(c);
}

/* A FIN may count as a byte that was read, of a connection that is over. */
static bool take_record(struct durable *durable, struct durable_record *record, int fd,
                        const struct tcp_account *account, struct buffer *input)
{
    return durable_adopt(durable, record, fd, account->read_bytes, input) ||
           (account->is_over && account->read_bytes > 0 &&
            durable_adopt(durable, record, fd, account->read_bytes - 1, input));
}

/* Of a connection that is over: only this option tells, and never less than it is asked for. */
static void find_client_that_has_left(int fd, struct sockaddr_storage *address)
{
    socklen_t bytes = sizeof(struct sockaddr_in6);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERNAME, address, &bytes) != 0) {
        bytes = sizeof(struct sockaddr_in);
        (void)getsockopt(fd, SOL_SOCKET, SO_PEERNAME, address, &bytes); /* else nobody is known */
    }
}

/* Of a TCP connection. False: it is over. */
static bool find_client(int fd, struct client_address *client)
{
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof(address);
    bool found = getpeername(fd, (struct sockaddr *)&address, &bytes) == 0;
    if (!found) {
        find_client_that_has_left(fd, &address);
    }
    *client = client_address_pack((const struct sockaddr *)&address);
    return found;
}

/* Ten thousand may wait: each call counts. */
bool connection_adopt(struct loop *loop, struct durable_record *record, int fd,
                      const struct worker_end *end)
{
    struct tcp_account account;
    struct client_address client;
    struct buffer input;
    struct durable *durable = loop->options.durable;
    if (has_moved(loop, record)) {
        durable_drop(durable, record);
        close(fd);
        return true;
    }
    /* The dead can have shared its flags with whoever has sent it. */
    bool is_known = tcp_account_ask(fd, &account) && fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
    bool has_left = is_known && (!find_client(fd, &client) || account.is_over);
    if (!is_known || (has_left && !keeps_log(loop)) ||
        !take_record(durable, record, fd, &account, &input)) {
        if (!has_left) {
            connection_journal_lost(loop, record);
        }
        durable_drop(durable, record);
        close(fd);
        return has_left;
    }
    struct connection *c = enter(loop, record, fd, &client, &input);
    c->read_bytes = account.read_bytes;
    if (has_left) {
        see_off(c, account.written_bytes, end);
        return true;
    }
    connection_journal_adoption(loop, ADOPTION_CONNECTIONS, 1);
    switch (find_out(c, account.written_bytes, end)) {
    case STANDS_WELL:
        connection_advance_soon(c);
        return true;
    case STANDS_AT_ITS_END:
        see_out(c);
        return true;
    case STANDS_NOWHERE:
        break;
    }
    connection_journal_lost(loop, record);
    connection_destroy(c);
    return false;
}

void connection_lose(struct loop *loop, struct durable_record *record)
{
    uint32_t generation;
    if (durable_claim(record, &generation) == 0) { /* else it is on its way to another loop */
        connection_journal_lost(loop, record);
    }
    durable_drop(loop->options.durable, record);
}

void connection_lose_disbelieved(struct loop *loop)
{
    uint64_t connections = durable_disbelieved(loop->options.durable);
    connection_journal_adoption(loop, ADOPTION_LOST, connections);
    connection_journal_adoption(loop, ADOPTION_LOST_AWAITED, connections);
}
