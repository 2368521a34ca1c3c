#include "control.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 32 * 1024, WORDS_MAX = 4096, ERROR_ROOM = 256 };

/* One line being carried out. */
struct request {
    struct control *control;
    char *words[WORDS_MAX];
    size_t count;
    struct text *answer;
    size_t begin; /* where its answer starts */
};

/* --- text out --- */

static void __attribute__((format(printf, 2, 3))) put(struct text *text, const char *format, ...)
{
    va_list arguments;
    size_t left = text->room - text->length;
    va_start(arguments, format);
    int wanted = vsnprintf(text->bytes + text->length, left, format, arguments);
    va_end(arguments);
    if (wanted > 0)
        text->length += (size_t)wanted < left ? (size_t)wanted : left - 1;
}

/* Replaces whatever the line has answered so far. False, so that a handler can return it. */
static bool __attribute__((format(printf, 2, 3))) fail(struct request *request, const char *format, ...)
{
    char sentence[ERROR_ROOM];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    /* An answer is one line of printable text, whatever the message held. */
    for (char *at = sentence; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    request->answer->length = request->begin;
    put(request->answer, "err %s", sentence);
    return false;
}

/* --- text in --- */

static bool parse_unsigned(const char *word, uint64_t highest, uint64_t *value)
{
    uint64_t result = 0;
    size_t digits = strlen(word);
    if (!digits || digits > 20 || strspn(word, "0123456789") != digits)
        return false;
    for (; *word; word++) {
        if (__builtin_mul_overflow(result, 10, &result) ||
            __builtin_add_overflow(result, (uint64_t)(*word - '0'), &result))
            return false;
    }
    *value = result;
    return result <= highest;
}

static bool parse_probability(const char *word, double *value)
{
    char *end;
    if (!*word || strspn(word, "0123456789.e-+") != strlen(word))
        return false;
    *value = strtod(word, &end);
    return !*end && *value >= 0.0 && *value <= 1.0;
}

static bool parse_flag(const char *word, bool *value)
{
    *value = word[0] == '1';
    return (word[0] == '0' || word[0] == '1') && !word[1];
}

static bool parse_shape(const char *word, enum jitter_shape *shape)
{
    *shape = strcmp(word, "normal") == 0 ? JITTER_NORMAL : JITTER_UNIFORM;
    return *shape == JITTER_NORMAL || strcmp(word, "uniform") == 0;
}

static bool parse_bursts(char *word, struct impairment *impairment)
{
    double *const parts[] = {
        &impairment->to_bad, &impairment->to_good, &impairment->loss_in_bad, &impairment->loss_in_good};
    impairment->bursts = true;
    for (size_t i = 0; i < 4; i++) {
        char *part = strsep(&word, ",");
        if (!part || !parse_probability(part, parts[i]))
            return false;
    }
    return !word;
}

/* --- impairments as words --- */

static bool parse_trace(struct control *control, const char *word, struct impairment *impairment)
{
    uint32_t count = control->staged.count;
    if (strcmp(word, "staged") != 0 || !count || control->staged.ms[count - 1] == 0 || impairment->trace)
        return false;
    impairment->trace = trace_new(control->staged.ms, count);
    return impairment->trace;
}

static bool parse_queue(const char *key, const char *value, struct impairment *impairment)
{
    uint64_t number;
    if (strcmp(key, "limit") == 0) {
        if (!parse_unsigned(value, LIMIT_MAX_PACKETS, &number) || !number)
            return false;
        impairment->limit_packets = (uint32_t)number;
        return true;
    }
    return parse_unsigned(value, RATE_MAX_BIT_S, &impairment->rate_bit_s) && impairment->rate_bit_s >= RATE_MIN_BIT_S;
}

/* False for an unknown key and for a bad value alike. */
static bool parse_pair(struct control *control, const char *key, char *value, struct impairment *impairment)
{
    if (strcmp(key, "delay") == 0)
        return parse_unsigned(value, DELAY_MAX_NS, &impairment->delay_ns);
    if (strcmp(key, "jitter") == 0)
        return parse_unsigned(value, DELAY_MAX_NS, &impairment->jitter_ns);
    if (strcmp(key, "dist") == 0)
        return parse_shape(value, &impairment->jitter_shape);
    if (strcmp(key, "overtake") == 0)
        return parse_flag(value, &impairment->jitter_reorders);
    if (strcmp(key, "loss") == 0)
        return parse_probability(value, &impairment->loss);
    if (strcmp(key, "ge") == 0)
        return parse_bursts(value, impairment);
    if (strcmp(key, "duplicate") == 0)
        return parse_probability(value, &impairment->duplicate);
    if (strcmp(key, "corrupt") == 0)
        return parse_probability(value, &impairment->corrupt);
    if (strcmp(key, "reorder") == 0)
        return parse_probability(value, &impairment->reorder);
    if (strcmp(key, "blackhole") == 0)
        return parse_flag(value, &impairment->blackhole);
    if (strcmp(key, "trace") == 0)
        return parse_trace(control, value, impairment);
    if (strcmp(key, "rate") == 0 || strcmp(key, "limit") == 0)
        return parse_queue(key, value, impairment);
    return false;
}

static bool parse_impairment(struct request *request, size_t first, struct impairment *impairment)
{
    for (size_t i = first; i < request->count; i++) {
        char *value = request->words[i], *key = strsep(&value, "=");
        if (!value)
            return fail(request, "%s is not KEY=VALUE", key);
        if (!parse_pair(request->control, key, value, impairment))
            return fail(request, "unknown key or value out of range: %s", key);
    }
    const char *conflict = impairment_conflict(impairment);
    return conflict ? fail(request, "%s", conflict) : true;
}

static void put_probability(struct text *text, const char *key, double value)
{
    if (value > 0.0)
        put(text, " %s=%.17g", key, value);
}

static void put_impairment(struct text *text, const struct impairment *impairment)
{
    put(text, " delay=%" PRIu64 " jitter=%" PRIu64 " dist=%s overtake=%d blackhole=%d", impairment->delay_ns,
        impairment->jitter_ns, impairment->jitter_shape == JITTER_NORMAL ? "normal" : "uniform",
        impairment->jitter_reorders, impairment->blackhole);
    put_probability(text, "loss", impairment->loss);
    if (impairment->bursts)
        put(text, " ge=%.17g,%.17g,%.17g,%.17g", impairment->to_bad, impairment->to_good, impairment->loss_in_bad,
            impairment->loss_in_good);
    put_probability(text, "duplicate", impairment->duplicate);
    put_probability(text, "corrupt", impairment->corrupt);
    put_probability(text, "reorder", impairment->reorder);
    if (impairment->rate_bit_s)
        put(text, " rate=%" PRIu64, impairment->rate_bit_s);
    if (impairment->limit_packets)
        put(text, " limit=%" PRIu32, impairment->limit_packets);
    if (impairment->trace)
        put(text, " trace=%" PRIu32 ":%08" PRIx32, impairment->trace->count, impairment->trace->crc);
}

/* --- statistics as words --- */

static void put_buckets(struct text *text, const struct histogram *histogram, const char **separator)
{
    for (unsigned i = HISTOGRAM_BUCKETS; i-- > 0;)
        if (histogram->early[i]) {
            put(text, "%s-%" PRIu64 ":-%" PRIu64 ":%" PRIu64, *separator, histogram_high(i), histogram_low(i),
                histogram->early[i]);
            *separator = ",";
        }
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (histogram->late[i]) {
            put(text, "%s%" PRIu64 ":%" PRIu64 ":%" PRIu64, *separator, histogram_low(i), histogram_high(i),
                histogram->late[i]);
            *separator = ",";
        }
}

static void put_counters(struct text *text, const struct direction *direction)
{
    const struct counters *counters = &direction->counters;
    put(text, " packets=%" PRIu64 " bytes=%" PRIu64 " duplicated=%" PRIu64 " corrupted=%" PRIu64, counters->packets,
        counters->bytes, counters->duplicated, counters->corrupted);
    put(text, " reordered=%" PRIu64 " held=%" PRIu64 " held_max=%" PRIu64, counters->reordered, direction->held_packets,
        counters->depth_max);
    for (unsigned i = 0; i < DROP_CAUSES; i++)
        put(text, " drop.%s=%" PRIu64, drop_cause_names[i], counters->dropped[i]);
}

/* --- commands --- */

static struct link *find_link(struct request *request)
{
    uint64_t id;
    struct link *link = NULL;
    if (request->count < 2 || !parse_unsigned(request->words[1], LAB_MAX_LINK_ID, &id))
        fail(request, "%s needs a link number from 0 to %d", request->words[0], LAB_MAX_LINK_ID);
    else if (!(link = lab_find(request->control->lab, (uint32_t)id)))
        fail(request, "no link %" PRIu64, id);
    return link;
}

static struct way *find_way(struct request *request)
{
    struct link *link = find_link(request);
    if (!link)
        return NULL;
    if (request->count > 2 && strcmp(request->words[2], "ab") == 0)
        return &link->ways[A_TO_B];
    if (request->count > 2 && strcmp(request->words[2], "ba") == 0)
        return &link->ways[B_TO_A];
    fail(request, "%s needs a direction, ab or ba", request->words[0]);
    return NULL;
}

static bool takes(struct request *request, size_t arguments)
{
    if (request->count == arguments + 1)
        return true;
    return fail(request, "%s takes %zu arguments, got %zu", request->words[0], arguments, request->count - 1);
}

static bool do_ping(struct request *request)
{
    return takes(request, 0);
}

static bool do_info(struct request *request)
{
    struct lab *lab = request->control->lab;
    if (!takes(request, 0))
        return false;
    wire_count_overruns(&lab->wire);
    put(request->answer, " links=%" PRIu32 " held_bytes=%" PRIu64 " limit_bytes=%" PRIu64 " advance=%" PRIu64 " anticipate=%s",
        lab->links_count, lab->common.budget.used_bytes, lab->common.budget.limit_bytes, lab->common.advance_ns, lab->wake.off ? "off" : "on");
    put(request->answer, " overruns=%" PRIu64 " malformed=%" PRIu64, lab->wire.overruns, lab->wire.malformed);
    return true;
}

static bool do_add(struct request *request)
{
    char **words = request->words;
    struct lab *lab = request->control->lab;
    uint64_t id, seed;
    char error[ERROR_ROOM];
    if (!takes(request, 4))
        return false;
    if (!parse_unsigned(words[1], LAB_MAX_LINK_ID, &id))
        return fail(request, "a link number is from 0 to %d", LAB_MAX_LINK_ID);
    if (!parse_unsigned(words[4], UINT64_MAX, &seed))
        return fail(request, "a seed is an unsigned 64-bit number");
    if (lab_find(lab, (uint32_t)id))
        return fail(request, "link %" PRIu64 " exists", id);
    if (strlen(words[2]) >= PORT_NAME_ROOM || strlen(words[3]) >= PORT_NAME_ROOM)
        return fail(request, "an interface name has at most %d characters", PORT_NAME_ROOM - 1);
    if (strcmp(words[2], words[3]) == 0)
        return fail(request, "a link needs two interfaces");
    if (!lab_add(lab, (uint32_t)id, words[2], words[3], seed, error, sizeof error))
        return fail(request, "%s", error);
    return true;
}

static bool do_del(struct request *request)
{
    struct link *link = takes(request, 1) ? find_link(request) : NULL;
    if (!link)
        return false;
    lab_remove(request->control->lab, link);
    return true;
}

static bool do_set(struct request *request)
{
    struct impairment impairment = {0};
    struct way *way = find_way(request);
    if (!way)
        return false;
    if (!parse_impairment(request, 3, &impairment)) {
        trace_drop(impairment.trace);
        return false;
    }
    lab_configure(request->control->lab, way, &impairment);
    return true;
}

static bool do_get(struct request *request)
{
    struct way *way = takes(request, 2) ? find_way(request) : NULL;
    if (!way)
        return false;
    put_impairment(request->answer, &way->direction.impairment);
    return true;
}

static bool do_carrier(struct request *request)
{
    struct link *link = takes(request, 2) ? find_link(request) : NULL;
    if (!link)
        return false;
    bool up = strcmp(request->words[2], "up") == 0;
    if (!up && strcmp(request->words[2], "down") != 0)
        return fail(request, "carrier is up or down");
    if (!lab_carrier(request->control->lab, link, up))
        return fail(request, "%s", strerror(errno));
    return true;
}

static bool do_stats(struct request *request)
{
    const char *separator = " late=";
    struct way *way = takes(request, 2) ? find_way(request) : NULL;
    if (!way)
        return false;
    lab_receive(request->control->lab);
    put_counters(request->answer, &way->direction);
    put_buckets(request->answer, &way->direction.lateness, &separator);
    return true;
}

static bool do_reset(struct request *request)
{
    struct lab *lab = request->control->lab;
    if (!takes(request, 0))
        return false;
    lab_receive(lab);
    for (uint32_t id = 0; id < lab->links_room; id++)
        for (unsigned i = 0; lab->links[id] && i < 2; i++)
            direction_reset_counters(&lab->links[id]->ways[i].direction);
    wire_count_overruns(&lab->wire);
    lab->wire.overruns = lab->wire.malformed = 0;
    return true;
}

static bool do_advance(struct request *request)
{
    uint64_t *advance = &request->control->lab->common.advance_ns, wanted;
    if (!takes(request, 1))
        return false;
    if (!parse_unsigned(request->words[1], DELAY_MAX_NS, &wanted))
        return fail(request, "advance is a number of nanoseconds");
    *advance = wanted;
    return true;
}

static bool do_anticipate(struct request *request)
{
    if (!takes(request, 1))
        return false;
    bool off = strcmp(request->words[1], "off") == 0;
    if (!off && strcmp(request->words[1], "on") != 0)
        return fail(request, "anticipate is on or off");
    request->control->lab->wake.off = off;
    return true;
}

static bool stage(struct control *control, uint32_t ms)
{
    if (control->staged.count == control->staged.room) {
        uint32_t room = control->staged.room ? control->staged.room * 2 : 1024;
        uint32_t *grown = room <= TRACE_MAX_ENTRIES ? realloc(control->staged.ms, room * sizeof *grown) : NULL;
        if (!grown)
            return false;
        control->staged.ms = grown;
        control->staged.room = room;
    }
    control->staged.ms[control->staged.count++] = ms;
    return true;
}

static void clear_staged(struct control *control)
{
    free(control->staged.ms);
    memset(&control->staged, 0, sizeof control->staged);
}

static bool stage_all(struct request *request)
{
    struct control *control = request->control;
    for (size_t i = 2; i < request->count; i++) {
        uint64_t ms, last = control->staged.count ? control->staged.ms[control->staged.count - 1] : 0;
        if (!parse_unsigned(request->words[i], TRACE_MAX_MS, &ms) || ms < last)
            return fail(request, "a trace is milliseconds that do not decrease");
        if (!stage(control, (uint32_t)ms))
            return fail(request, "the trace is too long");
    }
    return true;
}

static bool do_trace(struct request *request)
{
    if (request->count == 2 && strcmp(request->words[1], "clear") == 0) {
        clear_staged(request->control);
        return true;
    }
    if (request->count < 3 || strcmp(request->words[1], "add") != 0)
        return fail(request, "trace clear, or trace add MS...");
    return stage_all(request);
}

static bool do_quit(struct request *request)
{
    request->control->quit = takes(request, 0);
    return request->control->quit;
}

static const struct {
    const char *name;
    bool (*run)(struct request *request);
} commands[] = {
    {"ping", do_ping},   {"info", do_info},   {"add", do_add},         {"del", do_del},     {"set", do_set},
    {"get", do_get},     {"stats", do_stats}, {"carrier", do_carrier}, {"reset", do_reset}, {"advance", do_advance},
    {"trace", do_trace}, {"anticipate", do_anticipate}, {"quit", do_quit},
};

static bool split(struct request *request, char *line)
{
    for (char *word = strsep(&line, " "); word; word = strsep(&line, " ")) {
        if (request->count == WORDS_MAX)
            return fail(request, "more than %d words", WORDS_MAX);
        request->words[request->count++] = word;
    }
    return true;
}

static void handle_line(struct control *control, char *line, struct text *answer)
{
    static struct request request;
    request = (struct request){.control = control, .answer = answer, .begin = answer->length};
    put(answer, "ok");
    if (!split(&request, line))
        return;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(request.words[0], commands[i].name) == 0) {
            commands[i].run(&request);
            return;
        }
    fail(&request, "unknown command %s", request.words[0]);
}

static void handle_bytes(struct control *control, const char *line, size_t length, struct text *answer)
{
    static char copy[LINE_MAX_BYTES + 1];
    if (length > LINE_MAX_BYTES) {
        put(answer, "err a line has at most %d bytes", LINE_MAX_BYTES);
    } else if (memchr(line, 0, length)) {
        put(answer, "err a line holds no zero byte");
    } else {
        memcpy(copy, line, length);
        copy[length] = 0;
        handle_line(control, copy, answer);
    }
}

void control_handle(struct control *control, const char *message, size_t length, struct text *answer)
{
    const char *end = message + length;
    answer->length = 0;
    while (message < end) {
        const char *stop = memchr(message, '\n', (size_t)(end - message));
        if (!stop)
            stop = end;
        handle_bytes(control, message, (size_t)(stop - message), answer);
        put(answer, "\n");
        message = stop + 1;
    }
}

void control_close(struct control *control)
{
    clear_staged(control);
}
