/* limit.h: how often one address may do something: a bucket of tokens per address, shared by all loops. Thread-safe. */
#ifndef BOWLINE_API_LIMIT_H
#define BOWLINE_API_LIMIT_H

#include <netinet/in.h>
#include <stdint.h>

struct limit;
struct limit *limit_create(int64_t per_minute);
void limit_destroy(struct limit *l); /* accepts NULL */
/* Takes one. 0, or how many seconds to wait before the next one is there. IPv4 addresses are mapped ones; those of IPv6 count by their /64. */
unsigned limit_take(struct limit *l, const struct in6_addr *address, int64_t now_ms);
void limit_give_back(struct limit *l, const struct in6_addr *address);

#endif
