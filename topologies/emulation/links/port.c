#include "port.h"

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
    SOCKET_BUFFER = 32 << 20,
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

bool port_raise(const struct port *port, bool up)
{
    struct ifreq request = {0};
    memcpy(request.ifr_name, port->name, sizeof request.ifr_name);
    if (ioctl(port->fd, SIOCGIFFLAGS, &request) != 0)
        return false;
    if (up)
        request.ifr_flags |= IFF_UP;
    else
        request.ifr_flags &= (short)~IFF_UP;
    return ioctl(port->fd, SIOCSIFFLAGS, &request) == 0;
}

static bool prepare_interface(const struct port *port)
{
    struct ifreq request = {.ifr_mtu = INNER_MTU};
    memcpy(request.ifr_name, port->name, sizeof request.ifr_name);
    silence_ipv6(port->name);
    return ioctl(port->fd, SIOCSIFMTU, &request) == 0 && port_raise(port, true);
}

static bool bind_to(const struct port *port)
{
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = (int)if_nametoindex(port->name),
    };
    return bind(port->fd, (struct sockaddr *)&address, sizeof address) == 0;
}

bool port_open(struct port *port, const char *name, char *error, size_t room)
{
    memset(port, 0, sizeof *port);
    strncpy(port->name, name, sizeof port->name - 1);
    port->fd = -1;
    port->drained_ns = monotonic_ns();
    if (!if_nametoindex(name)) {
        snprintf(error, room, "no interface %s in the daemon's network namespace", name);
        return false;
    }
    /* Protocol 0: nothing is received, from any interface, before bind. Promiscuous mode is not needed: a packet
     * socket for ETH_P_ALL on a veth sees frames to every address. */
    port->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (port->fd >= 0 && set_options(port->fd) && prepare_interface(port) && bind_to(port))
        return true;
    snprintf(error, room, "interface %s: %s", name, strerror(errno));
    port_close(port);
    return false;
}

void port_close(struct port *port)
{
    if (port->fd >= 0)
        close(port->fd);
    port->fd = -1;
}

/* --- receiving --- */

/* One batch for the whole process: what is kept is copied at its true size. */
static struct {
    struct mmsghdr messages[PORT_BATCH];
    struct iovec parts[PORT_BATCH][2];
    struct frame frames[PORT_BATCH];
    uint8_t control[PORT_BATCH][CONTROL_ROOM] __attribute__((aligned(8)));
    uint8_t room[PORT_BATCH][TAG_BYTES + FRAME_ROOM]; /* the tag is put back in front */
    int used;                                         /* entries that the last read filled */
    bool ready;
} batch;

static void prepare_batch(void)
{
    int count = batch.ready ? batch.used : PORT_BATCH;
    for (int i = 0; i < count; i++) {
        batch.parts[i][0] = (struct iovec){&batch.frames[i].vnet, VNET_BYTES};
        batch.parts[i][1] = (struct iovec){batch.room[i] + TAG_BYTES, FRAME_ROOM};
        batch.messages[i].msg_hdr = (struct msghdr){
            .msg_iov = batch.parts[i], .msg_iovlen = 2, .msg_control = batch.control[i], .msg_controllen = CONTROL_ROOM};
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
static uint64_t arrival_of(const struct port *port, const struct timespec *stamp, int64_t offset, uint64_t now)
{
    int64_t arrival = (int64_t)stamp->tv_sec * NS_PER_S + stamp->tv_nsec - offset;
    if (arrival > (int64_t)now)
        return now;
    if (arrival + STAMP_SLACK_NS < (int64_t)port->drained_ns)
        return port->drained_ns;
    return (uint64_t)arrival;
}

static void read_control(struct msghdr *header, const struct port *port, struct frame *frame, int64_t offset)
{
    uint64_t now = frame->arrival_ns;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item; item = CMSG_NXTHDR(header, item)) {
        if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(item), sizeof stamp);
            frame->arrival_ns = arrival_of(port, &stamp, offset, now);
        } else if (item->cmsg_level == SOL_PACKET && item->cmsg_type == PACKET_AUXDATA) {
            struct tpacket_auxdata aux;
            memcpy(&aux, CMSG_DATA(item), sizeof aux);
            restore_tag(frame, &aux);
        }
    }
}

static bool finish_frame(size_t index, const struct port *port, int64_t offset, uint64_t now)
{
    struct mmsghdr *message = &batch.messages[index];
    struct frame *frame = &batch.frames[index];
    if ((message->msg_hdr.msg_flags & MSG_TRUNC) || message->msg_len <= VNET_BYTES)
        return false;
    frame->data = batch.room[index] + TAG_BYTES;
    frame->length = message->msg_len - VNET_BYTES;
    frame->arrival_ns = now;
    read_control(&message->msg_hdr, port, frame, offset);
    segment_measure(frame);
    return true;
}

size_t port_receive(struct port *port, const struct frame **frames, uint64_t *malformed, bool *more)
{
    uint64_t started = monotonic_ns();
    prepare_batch();
    int count = recvmmsg(port->fd, batch.messages, PORT_BATCH, MSG_DONTWAIT, NULL);
    batch.used = count > 0 ? count : 0;
    /* An error other than "empty" stands for one frame or for an interface that went down: the next call goes on. */
    *more = count == PORT_BATCH || (count < 0 && errno != EAGAIN);
    *malformed = count < 0 && errno == EINVAL;
    int64_t offset = realtime_offset();
    uint64_t now = monotonic_ns();
    size_t kept = 0;
    for (int i = 0; i < count; i++) {
        if (!finish_frame((size_t)i, port, offset, now))
            ++*malformed;
        else if (kept++ != (size_t)i)
            batch.frames[kept - 1] = batch.frames[i];
    }
    if (count < PORT_BATCH)
        port->drained_ns = started;
    port->read_ns = now;
    *frames = batch.frames;
    return kept;
}

/* --- sending --- */

size_t port_send(const struct port *port, struct packet *const *packets, size_t count, enum port_result *result)
{
    struct mmsghdr messages[PORT_BATCH];
    struct iovec parts[PORT_BATCH];
    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){packets[i]->wire, packets[i]->wire_bytes};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    *result = PORT_SENT;
    int sent = sendmmsg(port->fd, messages, (unsigned)count, MSG_DONTWAIT);
    if (sent >= 0)
        return (size_t)sent;
    *result = errno == EAGAIN ? PORT_BUSY : PORT_REFUSED;
    return 0;
}

uint64_t port_overruns(const struct port *port)
{
    struct tpacket_stats statistics = {0};
    socklen_t size = sizeof statistics;
    if (getsockopt(port->fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) != 0)
        return 0;
    return statistics.tp_drops;
}
