/* delayline: emulates every link of one lab. Frames read from one inner interface of a link leave by the other after
 * the delay of that direction. One thread, one epoll, one timer; ends when its controller's socket closes. */
#include "control.h"
#include "lab.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NS_PER_S 1000000000u

/* No due time: the timer has fired and must be set again, if only to be off. */
#define SPENT 0

enum { EVENTS_MAX = 4, LEAD_SLACK_NS = 4000, NICE = -10, MEMORY_DEFAULT = 256 << 20, MEMORY_LEAST = 1 << 20 };

struct options {
    int control;
    const char *netns;
    uint64_t advance_ns, memory_bytes;
};

struct daemon {
    struct lab lab;
    struct control control;
    int epoll, timer, signals, peer;
    uint64_t target_ns; /* the due time that the timer is for; NEVER if it is off */
    uint64_t armed_ns;  /* what it is set to: earlier by the usual lateness of waking */
    uint64_t slept_ns;  /* when the present sleep began */
    pid_t parent;
    struct text answer;
    bool drains;       /* the socket of the links is watched for room, too */
    bool answer_waits; /* the controller is slow to read: no new message until it has */
    bool stop;
};

static void die(const char *what)
{
    fprintf(stderr, "delayline: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static int check(int result, const char *what)
{
    if (result < 0)
        die(what);
    return result;
}

/* --- start --- */

static uint64_t number_of(const char *text, const char *option)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-') {
        fprintf(stderr, "delayline: %s needs a number, not %s\n", option, text);
        exit(2);
    }
    return value;
}

static struct options read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"control", required_argument, NULL, 'c'},
        {"netns", required_argument, NULL, 'n'},
        {"advance", required_argument, NULL, 'a'},
        {"memory", required_argument, NULL, 'm'},
        {0},
    };
    struct options options = {.control = -1, .memory_bytes = MEMORY_DEFAULT};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == 'c')
            options.control = (int)number_of(optarg, "--control");
        else if (option == 'n')
            options.netns = optarg;
        else if (option == 'a')
            options.advance_ns = number_of(optarg, "--advance");
        else if (option == 'm')
            options.memory_bytes = number_of(optarg, "--memory");
        else
            exit(2);
    }
    if (options.control < 0 || optind < argc || options.memory_bytes < MEMORY_LEAST) {
        fprintf(stderr, "usage: delayline --control FD [--netns PATH] [--advance NS] [--memory BYTES (1 MiB or more)]\n");
        exit(2);
    }
    return options;
}

static void enter(const char *netns)
{
    int fd = check(open(netns, O_RDONLY | O_CLOEXEC), netns);
    check(setns(fd, CLONE_NEWNET), netns);
    close(fd);
}

static void watch(const struct daemon *daemon, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    check(epoll_ctl(daemon->epoll, operation, fd, &event), "epoll_ctl");
}

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    check(sigprocmask(SIG_BLOCK, &set, NULL), "sigprocmask");
    return check(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
}

static void start(struct daemon *daemon, const struct options *options)
{
    daemon->parent = getppid();
    daemon->signals = open_signals();
    check(prctl(PR_SET_PDEATHSIG, SIGUSR1), "prctl");
    /* Ahead of the lab's own programs: where the processor is short they must wait, not packets on their links.
     * Without the right to it, the links are as late as the rest. */
    setpriority(PRIO_PROCESS, 0, NICE);
    if (options->netns)
        enter(options->netns);
    daemon->peer = options->control;
    daemon->epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    daemon->timer = check(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd_create");
    daemon->target_ns = NEVER;
    check(fcntl(daemon->peer, F_SETFL, fcntl(daemon->peer, F_GETFL) | O_NONBLOCK), "control socket");
    int room = 4 * CONTROL_ANSWER_BYTES;
    setsockopt(daemon->peer, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    daemon->answer = (struct text){.bytes = malloc(CONTROL_ANSWER_BYTES), .room = CONTROL_ANSWER_BYTES};
    if (!daemon->answer.bytes)
        die("memory");
    if (!lab_open(&daemon->lab, options->memory_bytes))
        die("packet socket");
    daemon->lab.common.advance_ns = options->advance_ns;
    daemon->control.lab = &daemon->lab;
    /* Edge-triggered: setting the timer again clears it, so that it need not be read. */
    watch(daemon, EPOLL_CTL_ADD, daemon->timer, EPOLLIN | EPOLLET);
    watch(daemon, EPOLL_CTL_ADD, daemon->signals, EPOLLIN);
    watch(daemon, EPOLL_CTL_ADD, daemon->peer, EPOLLIN);
    watch(daemon, EPOLL_CTL_ADD, daemon->lab.wire.fd, EPOLLIN);
}

/* --- control --- */

static void send_answer(struct daemon *daemon)
{
    ssize_t sent = send(daemon->peer, daemon->answer.bytes, daemon->answer.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    bool waits = sent < 0 && errno == EAGAIN;
    if (sent < 0 && errno == EMSGSIZE)
        send(daemon->peer, "err the answer is too long\n", 27, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (sent < 0 && !waits)
        daemon->stop = true;
    if (waits != daemon->answer_waits)
        watch(daemon, EPOLL_CTL_MOD, daemon->peer, waits ? EPOLLOUT : EPOLLIN);
    daemon->answer_waits = waits;
}

static void read_message(struct daemon *daemon)
{
    static char message[CONTROL_MESSAGE_BYTES];
    ssize_t length = recv(daemon->peer, message, sizeof message, MSG_DONTWAIT | MSG_TRUNC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        daemon->stop = true;
        return;
    }
    if ((size_t)length > sizeof message)
        daemon->answer.length = (size_t)sprintf(daemon->answer.bytes, "err a message has at most %zu bytes\n", sizeof message);
    else
        control_handle(&daemon->control, message, (size_t)length, &daemon->answer);
    send_answer(daemon);
    daemon->stop |= daemon->control.quit;
}

static void serve_peer(struct daemon *daemon, uint32_t events)
{
    if (daemon->answer_waits && (events & EPOLLOUT))
        send_answer(daemon);
    else if (events & EPOLLIN)
        read_message(daemon);
    else if (events & (EPOLLHUP | EPOLLERR))
        daemon->stop = true;
}

/* The parent-death signal also comes when only the thread that started us ends: then the parent is still the same. */
static void serve_signals(struct daemon *daemon)
{
    struct signalfd_siginfo info;
    while (read(daemon->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo != SIGUSR1 || getppid() != daemon->parent)
            daemon->stop = true;
}

/* --- the loop --- */

static void set_timer(struct daemon *daemon, uint64_t at_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)}};
    check(timerfd_settime(daemon->timer, TFD_TIMER_ABSTIME, &when, NULL), "timerfd_settime");
    daemon->armed_ns = at_ns;
}

/* Sets the timer for the next due time, or off. A sleep that goes on after an interruption is shorter than it was
 * reckoned, but the lead is worth a system call only if it differs by much. */
static void arm(struct daemon *daemon, uint64_t next_ns)
{
    bool moved = next_ns != daemon->target_ns;
    daemon->target_ns = next_ns;
    if (next_ns == NEVER) {
        if (moved)
            set_timer(daemon, 0);
        return;
    }
    uint64_t at = next_ns - wake_lead(&daemon->lab.wake, next_ns - daemon->slept_ns);
    uint64_t shift = at > daemon->armed_ns ? at - daemon->armed_ns : daemon->armed_ns - at;
    if (moved || shift > LEAD_SLACK_NS)
        set_timer(daemon, at);
}

/* What the timer was for goes out now, even if waking took less than usual. */
static void serve_timer(struct daemon *daemon)
{
    uint64_t now = monotonic_ns(), target = daemon->target_ns;
    if (now < daemon->armed_ns)
        return;
    /* Only a sleep that the timer ended tells how late we are woken. */
    if (daemon->slept_ns < daemon->armed_ns && now > daemon->armed_ns)
        wake_learn(&daemon->lab.wake, daemon->armed_ns - daemon->slept_ns, now - daemon->armed_ns);
    daemon->target_ns = SPENT;
    lab_release(&daemon->lab, target == NEVER ? 0 : target);
}

/* While the socket takes no more, its readiness to do so is awaited as well. */
static void watch_wire(struct daemon *daemon)
{
    bool busy = daemon->lab.busy;
    if (busy != daemon->drains)
        watch(daemon, EPOLL_CTL_MOD, daemon->lab.wire.fd, busy ? EPOLLIN | EPOLLOUT : EPOLLIN);
    daemon->drains = busy;
}

static void serve_wire(struct daemon *daemon, uint32_t events)
{
    if (events & EPOLLOUT)
        daemon->lab.busy = false;
    if (events & ~(uint32_t)EPOLLOUT)
        lab_receive(&daemon->lab);
    lab_release(&daemon->lab, 0);
}

static void serve(struct daemon *daemon, const struct epoll_event *event)
{
    if (event->data.fd == daemon->lab.wire.fd)
        serve_wire(daemon, event->events);
    else if (event->data.fd == daemon->timer)
        serve_timer(daemon);
    else if (event->data.fd == daemon->signals)
        serve_signals(daemon);
    else
        serve_peer(daemon, event->events);
}

/* Waits for anything. */
static void wait_for_all(struct daemon *daemon, bool due)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(daemon->epoll, events, EVENTS_MAX, due ? 0 : -1);
    if (count < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < count; i++)
        serve(daemon, &events[i]);
}

/* Waits for anything but the links' socket. */
static void wait_without_wire(struct daemon *daemon)
{
    struct pollfd wanted[] = {
        {.fd = daemon->timer, .events = POLLIN},
        {.fd = daemon->signals, .events = POLLIN},
        {.fd = daemon->peer, .events = daemon->answer_waits ? POLLOUT : POLLIN},
    };
    if (poll(wanted, sizeof wanted / sizeof wanted[0], -1) < 0 && errno != EINTR)
        die("poll");
    if (wanted[0].revents)
        serve_timer(daemon);
    if (wanted[1].revents)
        serve_signals(daemon);
    if (wanted[2].revents)
        serve_peer(daemon, (uint32_t)wanted[2].revents); /* the bits mean the same to epoll */
}

static void run(struct daemon *daemon)
{
    while (!daemon->stop) {
        uint64_t next = lab_release(&daemon->lab, 0), patient = lab_patient_until(&daemon->lab);
        watch_wire(daemon);
        daemon->slept_ns = monotonic_ns();
        bool due = next <= daemon->slept_ns, wait = patient > daemon->slept_ns;
        if (due && wait)
            continue;
        if (!due)
            arm(daemon, wait && patient < next ? patient : next);
        if (wait)
            wait_without_wire(daemon);
        else
            wait_for_all(daemon, due);
    }
}

int main(int argc, char **argv)
{
    static struct daemon daemon;
    struct options options = read_options(argc, argv);
    start(&daemon, &options);
    run(&daemon);
    lab_close(&daemon.lab);
    control_close(&daemon.control);
    free(daemon.answer.bytes);
    return EXIT_SUCCESS;
}
