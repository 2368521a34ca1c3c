#include "wire.h"

#include "segment.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000u

enum {
    SOCKET_BUFFER = 64 << 20,
    INNER_MTU = 65535, /* the outer interfaces' MTU decides; the inner ones must not be in the way */
    TAG_BYTES = 4,
    MAC_ADDRESSES = 12,
    FRAME_ROOM = 66 * 1024,
    CONTROL_ROOM = 256,
    OFFSET_TRIES = 8,
    OFFSET_WINDOW_NS = 500,
    STAMP_SLACK_NS = 10000000, /* how long the kernel may take from the stamp to the socket */
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* --- opening --- */

static bool set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

/* Beyond the system's limit if we may, up to it if not. */
static void set_buffer(int fd, int force, int plain)
{
    if (!set_option(fd, SOL_SOCKET, force, SOCKET_BUFFER))
        set_option(fd, SOL_SOCKET, plain, SOCKET_BUFFER);
}

static bool set_options(int fd)
{
    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
    return set_option(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1) && set_option(fd, SOL_PACKET, PACKET_VNET_HDR, 1) &&
           set_option(fd, SOL_PACKET, PACKET_AUXDATA, 1) && set_option(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
}

static bool bind_to_all(int fd)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    return bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

bool wire_open(struct wire *wire)
{
    *wire = (struct wire){.drained_ns = monotonic_ns()};
    /* Protocol 0: nothing is received before bind. Promiscuous mode is not needed: a packet socket for ETH_P_ALL
     * sees the frames to every address on a veth. */
    wire->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (wire->fd >= 0 && set_options(wire->fd) && bind_to_all(wire->fd))
        return true;
    wire_close(wire);
    return false;
}

void wire_close(struct wire *wire)
{
    int error = errno;
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
    errno = error;
}

/* --- interfaces --- */

/* The kernel would otherwise send router solicitations and multicast reports of its own over the link. */
static void silence_ipv6(const char *name)
{
    char path[80];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "1", 1) != 1) {
        /* then a few stray packets cross the link: no reason to refuse it */
    }
    close(fd);
}

static struct ifreq request_for(const struct port *port)
{
    struct ifreq request = {0};
    memcpy(request.ifr_name, port->name, sizeof request.ifr_name);
    return request;
}

bool port_raise(const struct wire *wire, const struct port *port, bool up)
{
    struct ifreq request = request_for(port);
    if (ioctl(wire->fd, SIOCGIFFLAGS, &request) != 0)
        return false;
    if (up)
        request.ifr_flags |= IFF_UP;
    else
        request.ifr_flags &= (short)~IFF_UP;
    return ioctl(wire->fd, SIOCSIFFLAGS, &request) == 0;
}

static bool widen(const struct wire *wire, const struct port *port)
{
    struct ifreq request = request_for(port);
    request.ifr_mtu = INNER_MTU;
    return ioctl(wire->fd, SIOCSIFMTU, &request) == 0;
}

bool port_open(const struct wire *wire, struct port *port, const char *name, char *error, size_t room)
{
    memset(port, 0, sizeof *port);
    strncpy(port->name, name, sizeof port->name - 1);
    struct ifreq request = request_for(port);
    if (ioctl(wire->fd, SIOCGIFINDEX, &request) != 0) {
        snprintf(error, room, "no interface %s in the daemon's network namespace", name);
        return false;
    }
    port->index = request.ifr_ifindex;
    silence_ipv6(port->name);
    if (widen(wire, port) && port_raise(wire, port, true))
        return true;
    snprintf(error, room, "interface %s: %s", name, strerror(errno));
    return false;
}

/* --- receiving --- */

/* One batch for the whole process: what is kept is copied at its true size. */
static struct {
    struct mmsghdr messages[WIRE_BATCH];
    struct iovec parts[WIRE_BATCH][2];
    struct sockaddr_ll senders[WIRE_BATCH];
    struct frame frames[WIRE_BATCH];
    struct frame *kept[WIRE_BATCH];
    uint8_t control[WIRE_BATCH][CONTROL_ROOM] __attribute__((aligned(8)));
    uint8_t room[WIRE_BATCH][TAG_BYTES + FRAME_ROOM]; /* the tag is put back in front */
    int used;                                         /* entries that the last read filled */
    bool ready;
} batch;

static void prepare_batch(void)
{
    int count = batch.ready ? batch.used : WIRE_BATCH;
    for (int i = 0; i < count; i++) {
        batch.parts[i][0] = (struct iovec){&batch.frames[i].vnet, VNET_BYTES};
        batch.parts[i][1] = (struct iovec){batch.room[i] + TAG_BYTES, FRAME_ROOM};
        batch.messages[i].msg_hdr = (struct msghdr){
            .msg_name = &batch.senders[i],
            .msg_namelen = sizeof batch.senders[i],
            .msg_iov = batch.parts[i],
            .msg_iovlen = 2,
            .msg_control = batch.control[i],
            .msg_controllen = CONTROL_ROOM,
        };
    }
    batch.ready = true;
}

/* CLOCK_REALTIME less CLOCK_MONOTONIC, sampled for every batch because it may be stepped or slewed. A preemption
 * between the readings would falsify it: of a few tries the narrowest counts. */
static int64_t realtime_offset(void)
{
    uint64_t narrowest = UINT64_MAX;
    int64_t offset = 0;
    for (int tries = 0; tries < OFFSET_TRIES && narrowest > OFFSET_WINDOW_NS; tries++) {
        uint64_t before = clock_ns(CLOCK_MONOTONIC), real = clock_ns(CLOCK_REALTIME), after = clock_ns(CLOCK_MONOTONIC);
        if (after - before < narrowest) {
            narrowest = after - before;
            offset = (int64_t)(real - before - narrowest / 2);
        }
    }
    return offset;
}

/* AF_PACKET strips the VLAN tag into auxiliary data: put it back behind the addresses. */
static void restore_tag(struct frame *frame, const struct tpacket_auxdata *aux)
{
    uint16_t type = aux->tp_status & TP_STATUS_VLAN_TPID_VALID ? aux->tp_vlan_tpid : ETH_P_8021Q;
    uint8_t *data = (uint8_t *)(uintptr_t)frame->data;
    if (!(aux->tp_status & TP_STATUS_VLAN_VALID) || frame->length < MAC_ADDRESSES)
        return;
    memmove(data - TAG_BYTES, data, MAC_ADDRESSES);
    data[MAC_ADDRESSES - TAG_BYTES] = (uint8_t)(type >> 8);
    data[MAC_ADDRESSES - TAG_BYTES + 1] = (uint8_t)type;
    data[MAC_ADDRESSES - TAG_BYTES + 2] = (uint8_t)(aux->tp_vlan_tci >> 8);
    data[MAC_ADDRESSES - TAG_BYTES + 3] = (uint8_t)aux->tp_vlan_tci;
    frame->data = data - TAG_BYTES;
    frame->length += TAG_BYTES;
    frame->vnet.hdr_len += frame->vnet.hdr_len ? TAG_BYTES : 0;
    if (frame->vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        frame->vnet.csum_start += TAG_BYTES;
}

/* The kernel's timestamp on our clock, kept within what is possible: a step of the wall clock between the stamp and
 * the sample of the offset must not bend a delay. */
static uint64_t arrival_of(const struct wire *wire, const struct timespec *stamp, int64_t offset, uint64_t now)
{
    int64_t arrival = (int64_t)stamp->tv_sec * NS_PER_S + stamp->tv_nsec - offset;
    if (arrival > (int64_t)now)
        return now;
    if (arrival + STAMP_SLACK_NS < (int64_t)wire->drained_ns)
        return wire->drained_ns;
    return (uint64_t)arrival;
}

static void read_control(struct msghdr *header, const struct wire *wire, struct frame *frame, int64_t offset)
{
    uint64_t now = frame->arrival_ns;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item; item = CMSG_NXTHDR(header, item)) {
        if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(item), sizeof stamp);
            frame->arrival_ns = arrival_of(wire, &stamp, offset, now);
        } else if (item->cmsg_level == SOL_PACKET && item->cmsg_type == PACKET_AUXDATA) {
            struct tpacket_auxdata aux;
            memcpy(&aux, CMSG_DATA(item), sizeof aux);
            restore_tag(frame, &aux);
        }
    }
}

static bool finish_frame(size_t index, const struct wire *wire, int64_t offset, uint64_t now)
{
    struct mmsghdr *message = &batch.messages[index];
    struct frame *frame = &batch.frames[index];
    if ((message->msg_hdr.msg_flags & MSG_TRUNC) || message->msg_len <= VNET_BYTES)
        return false;
    frame->data = batch.room[index] + TAG_BYTES;
    frame->length = message->msg_len - VNET_BYTES;
    frame->arrival_ns = now;
    frame->interface = batch.senders[index].sll_ifindex;
    read_control(&message->msg_hdr, wire, frame, offset);
    segment_measure(frame);
    return true;
}

size_t wire_receive(struct wire *wire, struct frame *const **frames, bool *more)
{
    uint64_t started = monotonic_ns();
    prepare_batch();
    int count = recvmmsg(wire->fd, batch.messages, WIRE_BATCH, MSG_DONTWAIT, NULL);
    batch.used = count > 0 ? count : 0;
    /* An error other than "empty" stands for one frame: the next call goes on. */
    *more = count == WIRE_BATCH || (count < 0 && errno != EAGAIN);
    wire->malformed += count < 0 && errno == EINVAL;
    int64_t offset = realtime_offset();
    wire->read_ns = monotonic_ns();
    size_t kept = 0;
    for (int i = 0; i < count; i++) {
        if (finish_frame((size_t)i, wire, offset, wire->read_ns))
            batch.kept[kept++] = &batch.frames[i];
        else
            wire->malformed++;
    }
    if (count < WIRE_BATCH)
        wire->drained_ns = started;
    *frames = batch.kept;
    return kept;
}

/* --- sending --- */

size_t wire_send(const struct wire *wire, const struct port *port, struct packet *const *packets, size_t count,
                 enum wire_result *result)
{
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = port->index};
    struct mmsghdr messages[WIRE_BATCH];
    struct iovec parts[WIRE_BATCH];
    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){packets[i]->wire, packets[i]->wire_bytes};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    *result = WIRE_SENT;
    int sent = sendmmsg(wire->fd, messages, (unsigned)count, MSG_DONTWAIT);
    if (sent >= 0)
        return (size_t)sent;
    *result = errno == EAGAIN ? WIRE_BUSY : WIRE_REFUSED;
    return 0;
}

void wire_count_overruns(struct wire *wire)
{
    struct tpacket_stats statistics = {0};
    socklen_t size = sizeof statistics;
    if (getsockopt(wire->fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) == 0)
        wire->overruns += statistics.tp_drops;
}
