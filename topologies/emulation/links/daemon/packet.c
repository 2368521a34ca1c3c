#include "packet.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* malloc's own header and rounding, so that the budget tracks resident memory rather than payload. */
enum { ALLOCATION_OVERHEAD = 32, TRIM_ABOVE_BYTES = 4 << 20 };

uint64_t packet_cost(uint32_t frame_bytes)
{
    return sizeof(struct packet) + VNET_BYTES + frame_bytes + ALLOCATION_OVERHEAD;
}

struct packet *packet_copy(const struct frame *frame, struct budget *budget)
{
    uint64_t cost = packet_cost(frame->length);
    if (budget->used_bytes + cost > budget->limit_bytes)
        return NULL;
    struct packet *packet = malloc(sizeof *packet + VNET_BYTES + frame->length);
    if (!packet)
        return NULL;
    budget->used_bytes += cost;
    if (budget->used_bytes > budget->peak_bytes)
        budget->peak_bytes = budget->used_bytes;
    packet->next = NULL;
    packet->wire_bytes = VNET_BYTES + frame->length;
    packet->segments = frame->segments;
    packet->line_bytes = frame->line_bytes;
    memcpy(packet->wire, &frame->vnet, VNET_BYTES);
    memcpy(packet->wire + VNET_BYTES, frame->data, frame->length);
    return packet;
}

void packet_free(struct packet *packet, struct budget *budget)
{
    budget->used_bytes -= packet_cost(packet->wire_bytes - VNET_BYTES);
    free(packet);
    /* After a burst has drained, give its memory back to the kernel. */
    if (budget->used_bytes == 0 && budget->peak_bytes > TRIM_ABOVE_BYTES) {
        malloc_trim(0);
        budget->peak_bytes = 0;
    }
}

void fifo_push(struct fifo *fifo, struct packet *packet)
{
    packet->next = NULL;
    if (fifo->tail)
        fifo->tail->next = packet;
    else
        fifo->head = packet;
    fifo->tail = packet;
}

struct packet *fifo_pop(struct fifo *fifo)
{
    struct packet *packet = fifo->head;
    if (!packet)
        return NULL;
    fifo->head = packet->next;
    if (!fifo->head)
        fifo->tail = NULL;
    packet->next = NULL;
    return packet;
}

static bool before(const struct packet *a, const struct packet *b)
{
    return a->release_ns != b->release_ns ? a->release_ns < b->release_ns : a->order < b->order;
}

static bool heap_grow(struct heap *heap)
{
    size_t room = heap->room ? heap->room * 2 : 64;
    struct packet **items = realloc(heap->items, room * sizeof *items);
    if (!items)
        return false;
    heap->items = items;
    heap->room = room;
    return true;
}

bool heap_push(struct heap *heap, struct packet *packet)
{
    if (heap->count == heap->room && !heap_grow(heap))
        return false;
    size_t at = heap->count++;
    while (at > 0 && before(packet, heap->items[(at - 1) / 2])) {
        heap->items[at] = heap->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->items[at] = packet;
    return true;
}

struct packet *heap_pop(struct heap *heap)
{
    if (!heap->count)
        return NULL;
    struct packet *top = heap->items[0];
    struct packet *last = heap->items[--heap->count];
    size_t at = 0;
    for (size_t child = 1; child < heap->count; child = 2 * at + 1) {
        if (child + 1 < heap->count && before(heap->items[child + 1], heap->items[child]))
            child++;
        if (!before(heap->items[child], last))
            break;
        heap->items[at] = heap->items[child];
        at = child;
    }
    if (heap->count)
        heap->items[at] = last;
    return top;
}

void heap_release_storage(struct heap *heap)
{
    free(heap->items);
    *heap = (struct heap){0};
}
