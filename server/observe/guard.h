/* Who may ask the observer. It listens where only this machine reaches it, mostly, and so does
 * every browser on it: a page from elsewhere must be able neither to read from it nor to give
 * commands.
 *
 * - Host must be an address as a number, localhost, or a name that the settings list: a name of
 *   somebody else's, which leads here by a trick (DNS rebinding), is refused. Which number it is,
 *   and which port, does not matter: nobody can make another number lead here but who forwards it,
 *   as ssh -L and containers do. A client that names none (HTTP/1.0) is no browser.
 * - Origin must be absent, or the observer itself: so a page of another site is refused.
 * - A command also takes the token that the server has printed. */
#ifndef TWINHTTPD_SERVER_OBSERVE_GUARD_H
#define TWINHTTPD_SERVER_OBSERVE_GUARD_H

#include "common/http/request.h"
#include "common/http/response.h"

/* Why a request is refused (403), in one line with what to do; NULL: it is not. names: "a,b", by
 * which the observer may be called, too; NULL: there are none. */
const char *guard_refusal(const struct http_request *request, const char *names);

/* Adds what tells a browser that no other site is to make anything of the response. */
void guard_add_headers(struct http_response *response);

/* Whether "Authorization: Bearer TOKEN" is there, and right. How long it takes tells nothing of the
 * token. */
bool guard_has_token(const struct http_request *request, const char *token);

#endif
