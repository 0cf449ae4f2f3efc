#include "common/scoreboard/crash_story.h"

#include "common/base/check.h"
#include "common/base/signal_name.h"

#include <signal.h>
#include <stdio.h>

enum { ESCAPED_LINE_BYTES = NOTE_LINE_BYTES * 2 + 1, PHRASE_BYTES = 80 + CRASH_ASSERTION_BYTES };

struct code_name {
    int signal; /* 0: any */
    int code;
    const char *name;
};

#define CODE(signal, code) {signal, code, #code}

static const struct code_name code_names[] = {
    CODE(0, SI_USER),
    CODE(0, SI_QUEUE),
    CODE(0, SI_TIMER),
    CODE(0, SI_MESGQ),
    CODE(0, SI_ASYNCIO),
    CODE(0, SI_SIGIO),
    CODE(0, SI_TKILL),
    CODE(0, SI_KERNEL),
    CODE(SIGSEGV, SEGV_MAPERR),
    CODE(SIGSEGV, SEGV_ACCERR),
    CODE(SIGSEGV, SEGV_BNDERR),
    CODE(SIGSEGV, SEGV_PKUERR),
    CODE(SIGBUS, BUS_ADRALN),
    CODE(SIGBUS, BUS_ADRERR),
    CODE(SIGBUS, BUS_OBJERR),
    CODE(SIGBUS, BUS_MCEERR_AR),
    CODE(SIGBUS, BUS_MCEERR_AO),
    CODE(SIGFPE, FPE_INTDIV),
    CODE(SIGFPE, FPE_INTOVF),
    CODE(SIGFPE, FPE_FLTDIV),
    CODE(SIGFPE, FPE_FLTOVF),
    CODE(SIGFPE, FPE_FLTUND),
    CODE(SIGFPE, FPE_FLTRES),
    CODE(SIGFPE, FPE_FLTINV),
    CODE(SIGFPE, FPE_FLTSUB),
    CODE(SIGILL, ILL_ILLOPC),
    CODE(SIGILL, ILL_ILLOPN),
    CODE(SIGILL, ILL_ILLADR),
    CODE(SIGILL, ILL_ILLTRP),
    CODE(SIGILL, ILL_PRVOPC),
    CODE(SIGILL, ILL_PRVREG),
    CODE(SIGILL, ILL_COPROC),
    CODE(SIGILL, ILL_BADSTK),
};

void crash_code_name(int signal, int code, char out[CRASH_CODE_BYTES])
{
    for (size_t i = 0; i < sizeof(code_names) / sizeof(code_names[0]); i++) {
        const struct code_name *known = &code_names[i];
        if (known->code == code && (known->signal == 0 || known->signal == signal)) {
            snprintf(out, CRASH_CODE_BYTES, "%s", known->name);
            return;
        }
    }
    snprintf(out, CRASH_CODE_BYTES, "code %d", code);
}

bool crash_was_sent(const struct crash_story *story)
{
    return story->code == SI_USER || story->code == SI_TKILL || story->code == SI_QUEUE;
}

/* SI_KERNEL is what x86 says of an address that cannot be one: it does not tell which. */
bool crash_has_address(const struct crash_story *story)
{
    return story->code > 0 && story->code != SI_KERNEL && story->signal != SIGABRT;
}

uint32_t crash_frame_number(const struct stack_story *stack, uint32_t index)
{
    CHECK(index < stack->frame_count);
    return index < stack->left_out_at ? index : index + stack->left_out;
}

/* A quote in the line must not look like its end. */
static void escape_line(const char *line, char out[ESCAPED_LINE_BYTES])
{
    size_t used = 0;
    for (; *line != '\0' && used < ESCAPED_LINE_BYTES - 2; line++) {
        if (*line == '"' || *line == '\\') {
            out[used++] = '\\';
        }
        out[used++] = *line;
    }
    CHECK(used < ESCAPED_LINE_BYTES);
    out[used] = '\0';
}

static void describe_place(const struct crash_story *story, char out[PHRASE_BYTES])
{
    if (story->assertion[0] != '\0') {
        snprintf(out, PHRASE_BYTES, ", assertion failed: %s,", story->assertion);
    } else if (crash_has_address(story)) {
        snprintf(out, PHRASE_BYTES, " at 0x%llx%s", (unsigned long long)story->address,
                 story->stack_overflow ? " (stack overflow)" : "");
    } else if (crash_was_sent(story) && story->sender_pid == story->pid) {
        snprintf(out, PHRASE_BYTES, " sent by itself");
    } else if (crash_was_sent(story)) {
        snprintf(out, PHRASE_BYTES, " sent by pid %d of user %u", story->sender_pid,
                 story->sender_uid);
    } else {
        out[0] = '\0';
    }
}

static void describe_thread(const struct crash_story *story, char out[PHRASE_BYTES])
{
    if (story->slot < 0) {
        snprintf(out, PHRASE_BYTES, "thread %d (which serves nobody)", story->tid);
    } else {
        snprintf(out, PHRASE_BYTES, "thread %d (slot %d)", story->tid, story->slot);
    }
}

void crash_describe(const struct crash_story *story, char out[CRASH_TEXT_BYTES])
{
    char signal[SIGNAL_NAME_BYTES], code[CRASH_CODE_BYTES], line[ESCAPED_LINE_BYTES];
    char place[PHRASE_BYTES], thread[PHRASE_BYTES];
    signal_name(story->signal, signal);
    crash_code_name(story->signal, story->code, code);
    describe_place(story, place);
    describe_thread(story, thread);
    int used = snprintf(out, CRASH_TEXT_BYTES, "%s (%s)%s in %s", signal, code, place, thread);
    CHECK(used > 0 && used < CRASH_TEXT_BYTES); /* what follows begins within the room */
    if (story->has_request) {
        escape_line(story->request.line, line);
        snprintf(out + used, CRASH_TEXT_BYTES - (size_t)used, ", handling \"%s\" from %s", line,
                 story->request.client);
    } else {
        snprintf(out + used, CRASH_TEXT_BYTES - (size_t)used, ", handling no request");
    }
}

void crash_frame_describe(const struct crash_frame *frame, char out[CRASH_TEXT_BYTES])
{
    if (frame->file[0] != '\0') {
        snprintf(out, CRASH_TEXT_BYTES, "%s at %s:%u",
                 frame->function[0] == '\0' ? "?" : frame->function, frame->file, frame->line);
    } else if (frame->function[0] != '\0') {
        snprintf(out, CRASH_TEXT_BYTES, "%s in %s", frame->function,
                 frame->module[0] == '\0' ? "?" : frame->module);
    } else if (frame->module[0] != '\0') {
        snprintf(out, CRASH_TEXT_BYTES, "0x%llx in %s+0x%llx", (unsigned long long)frame->address,
                 frame->module, (unsigned long long)frame->offset);
    } else {
        snprintf(out, CRASH_TEXT_BYTES, "0x%llx", (unsigned long long)frame->address);
    }
}

void crash_log_stack(enum log_level level, const char *who, const struct stack_story *stack)
{
    char text[CRASH_TEXT_BYTES];
    for (uint32_t i = 0; i < stack->frame_count; i++) {
        if (i == stack->left_out_at && stack->left_out > 0) {
            log_write(level, "%s: ... %u frames", who, stack->left_out);
        }
        crash_frame_describe(&stack->frames[i], text);
        log_write(level, "%s: #%u %s", who, crash_frame_number(stack, i), text);
    }
}

void crash_name_process(uint32_t process, char who[CRASH_WHO_BYTES])
{
    snprintf(who, CRASH_WHO_BYTES, "process %u", process);
}

void crash_log(const struct crash_story *story, const char *who)
{
    char text[CRASH_TEXT_BYTES];
    crash_describe(story, text);
    log_write(LOG_ERROR, "%s: %s", who, text);
    crash_log_stack(LOG_ERROR, who, &story->stack);
}
