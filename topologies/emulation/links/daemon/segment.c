#include "segment.h"

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

enum {
    MAC_BYTES = 14,
    TAG_BYTES = 4,
    IPV4_MIN = 20,
    IPV6_BYTES = 40,
    TCP_MIN = 20,
    UDP_BYTES = 8,
    SEGMENT_ROOM = 1 << 17,
    TCP_FLAGS = 13,
    TCP_FIN = 0x01,
    TCP_PSH = 0x08,
    TCP_CWR = 0x80,
    GSO_UDP_L4 = 5, /* VIRTIO_NET_HDR_GSO_UDP_L4, newer than some C libraries' headers */
};

/* Where the headers of an offload frame lie. */
struct layout {
    uint32_t network, transport, payload;
    uint32_t size; /* payload bytes of each segment but the last */
    bool ipv6, udp;
};

static uint16_t load16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void store16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t load32(const uint8_t *at)
{
    return (uint32_t)load16(at) << 16 | load16(at + 2);
}

static void store32(uint8_t *at, uint32_t value)
{
    store16(at, value >> 16);
    store16(at + 2, value & 0xffff);
}

static uint64_t sum_bytes(const uint8_t *data, uint32_t length)
{
    uint64_t sum = 0;
    uint32_t i = 0;
    for (; i + 1 < length; i += 2)
        sum += load16(data + i);
    if (i < length)
        sum += (uint32_t)data[i] << 8;
    return sum;
}

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* Offset of the network header, and its type through `type`; 0 if the frame is too short. */
static uint32_t network_offset(const struct frame *frame, uint16_t *type)
{
    uint32_t offset = MAC_BYTES;
    if (frame->length < offset)
        return 0;
    *type = load16(frame->data + offset - 2);
    while (*type == ETH_P_8021Q || *type == ETH_P_8021AD) {
        offset += TAG_BYTES;
        if (frame->length < offset)
            return 0;
        *type = load16(frame->data + offset - 2);
    }
    return offset;
}

uint32_t segment_network_bytes(const struct frame *frame)
{
    uint16_t type;
    uint32_t offset = network_offset(frame, &type);
    return offset ? frame->length - offset : frame->length;
}

static bool find_transport(const struct frame *frame, struct layout *layout)
{
    uint16_t type = 0;
    layout->network = network_offset(frame, &type);
    if (!layout->network)
        return false;
    const uint8_t *network = frame->data + layout->network;
    uint32_t left = frame->length - layout->network;
    layout->ipv6 = type == ETH_P_IPV6;
    if (type == ETH_P_IP && left >= IPV4_MIN)
        layout->transport = layout->network + (network[0] & 0x0fu) * 4u;
    else if (type == ETH_P_IPV6 && left >= IPV6_BYTES)
        layout->transport = layout->network + IPV6_BYTES;
    else
        return false;
    /* The sender says where the transport header starts (IPv6 extension headers lie before it). */
    if (frame->vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        layout->transport = frame->vnet.csum_start;
    return layout->transport >= layout->network + (layout->ipv6 ? IPV6_BYTES : IPV4_MIN);
}

static bool find_layout(const struct frame *frame, struct layout *layout)
{
    uint8_t type = frame->vnet.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
    layout->size = frame->vnet.gso_size;
    layout->udp = type == GSO_UDP_L4;
    if (type != VIRTIO_NET_HDR_GSO_TCPV4 && type != VIRTIO_NET_HDR_GSO_TCPV6 && !layout->udp)
        return false;
    if (!layout->size || !find_transport(frame, layout))
        return false;
    if (frame->length < layout->transport + (layout->udp ? UDP_BYTES : TCP_MIN))
        return false;
    uint32_t header = layout->udp ? UDP_BYTES : (frame->data[layout->transport + 12] >> 4) * 4u;
    layout->payload = layout->transport + header;
    return header >= UDP_BYTES && layout->payload < frame->length && layout->payload + layout->size <= SEGMENT_ROOM;
}

static uint32_t count_of(const struct frame *frame, const struct layout *layout)
{
    return (frame->length - layout->payload + layout->size - 1) / layout->size;
}

void segment_measure(struct frame *frame)
{
    struct layout layout;
    frame->segments = 1;
    if (frame->vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE && find_layout(frame, &layout))
        frame->segments = count_of(frame, &layout);
    frame->line_bytes = frame->length;
    if (frame->segments > 1)
        frame->line_bytes += (frame->segments - 1) * layout.payload;
}

static void fix_network(uint8_t *network, const struct layout *layout, uint32_t length, uint32_t index)
{
    if (layout->ipv6) {
        store16(network + 4, length - layout->network - IPV6_BYTES);
        return;
    }
    store16(network + 2, length - layout->network);
    store16(network + 4, load16(network + 4) + index);
    store16(network + 10, 0);
    store16(network + 10, (uint16_t)~fold(sum_bytes(network, (network[0] & 0x0fu) * 4u)));
}

static void fix_tcp(uint8_t *tcp, const struct layout *layout, uint32_t index, bool last)
{
    store32(tcp + 4, load32(tcp + 4) + index * layout->size);
    if (!last)
        tcp[TCP_FLAGS] &= (uint8_t)~(TCP_FIN | TCP_PSH);
    if (index > 0)
        tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
}

/* The sum over the pseudo header, not inverted: what a partial checksum starts from. */
static uint16_t pseudo_sum(const uint8_t *network, const struct layout *layout, uint32_t transport_bytes)
{
    const uint8_t *addresses = layout->ipv6 ? network + 8 : network + 12;
    uint64_t sum = sum_bytes(addresses, layout->ipv6 ? 32 : 8);
    return fold(sum + (layout->udp ? IPPROTO_UDP : IPPROTO_TCP) + transport_bytes);
}

static void fix_transport(uint8_t *data, const struct layout *layout, uint32_t length, uint32_t index, bool last)
{
    uint8_t *transport = data + layout->transport;
    uint32_t bytes = length - layout->transport;
    if (layout->udp)
        store16(transport + 4, bytes);
    else
        fix_tcp(transport, layout, index, last);
    store16(transport + (layout->udp ? 6 : 16), pseudo_sum(data + layout->network, layout, bytes));
}

static struct virtio_net_hdr partial_checksum(const struct layout *layout)
{
    return (struct virtio_net_hdr){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = VIRTIO_NET_HDR_GSO_NONE,
        .hdr_len = (uint16_t)layout->payload,
        .csum_start = (uint16_t)layout->transport,
        .csum_offset = layout->udp ? 6 : 16,
    };
}

void segment_each(const struct frame *frame, void (*emit)(void *context, const struct frame *segment), void *context)
{
    static uint8_t buffer[SEGMENT_ROOM];
    struct layout layout;
    if (frame->vnet.gso_type == VIRTIO_NET_HDR_GSO_NONE || !find_layout(frame, &layout)) {
        emit(context, frame);
        return;
    }
    uint32_t count = count_of(frame, &layout);
    struct frame segment = {
        .vnet = partial_checksum(&layout), .data = buffer, .segments = 1, .arrival_ns = frame->arrival_ns};
    for (uint32_t index = 0, at = layout.payload; index < count; index++, at += layout.size) {
        uint32_t chunk = frame->length - at < layout.size ? frame->length - at : layout.size;
        segment.length = segment.line_bytes = layout.payload + chunk;
        memcpy(buffer, frame->data, layout.payload);
        memcpy(buffer + layout.payload, frame->data + at, chunk);
        fix_network(buffer + layout.network, &layout, segment.length, index);
        fix_transport(buffer, &layout, segment.length, index, index + 1 == count);
        emit(context, &segment);
    }
}

void segment_complete_checksum(uint8_t *wire, uint32_t wire_bytes)
{
    struct virtio_net_hdr vnet;
    memcpy(&vnet, wire, VNET_BYTES);
    uint32_t start = vnet.csum_start, offset = vnet.csum_offset;
    uint32_t length = wire_bytes - VNET_BYTES;
    if (!(vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE ||
        start + offset + 2 > length)
        return;
    uint8_t *data = wire + VNET_BYTES;
    uint16_t sum = (uint16_t)~fold(sum_bytes(data + start, length - start));
    store16(data + start + offset, sum ? sum : 0xffff);
    vnet.flags &= (uint8_t)~VIRTIO_NET_HDR_F_NEEDS_CSUM;
    vnet.csum_start = vnet.csum_offset = 0;
    memcpy(wire, &vnet, VNET_BYTES);
}
