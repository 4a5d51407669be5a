/*
 * load.c: bowline-bench, the load generator. It measures a running server, checks every event that its watchers get, and exits with 1 if anything was not as the
 * feed's rules say: then the figures do not count.
 *
 *     bowline-bench MEASUREMENT --server ADDR:PORT --pid PID --key FILE [--peer ADDR:PORT --peer-pid PID] [--watchers N] [--seconds S] [--runs N]
 */
#include "client.h"
#include "measure.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LONGEST_S 90

static const struct measurement {
    const char *name;
    void (*run)(const struct plan *p);
} measurements[] = {
    {"life", measure_life},     {"latency", measure_latency},     {"idle", measure_idle},       {"idle-websocket", measure_idle},
    {"fanout", measure_fanout}, {"fanout-nchan", measure_fanout}, {"unicast", measure_unicast}, {"bulk", measure_bulk},
    {"storm", measure_storm},   {"sweep", measure_sweep},
};

static _Noreturn void usage(void) {
    fputs("bowline-bench MEASUREMENT --server ADDR:PORT --pid PID --key FILE [--peer ADDR:PORT --peer-pid PID] [--watchers N] [--seconds S] [--runs "
          "N]\n"
          "measurements: life latency idle idle-websocket fanout fanout-nchan unicast bulk storm sweep\n",
          stderr);
    exit(2);
}

static void read_address(struct target *t, const char *text) {
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t) (colon - text) : 0;
    if (!colon || len >= sizeof host || strlen(text) >= sizeof t->host) {
        die("\"%s\" is not ADDR:PORT", text);
    }
    memcpy(host, text, len);
    host[len] = 0;
    t->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(colon + 1))};
    if (inet_pton(AF_INET, host, &t->address.sin_addr) != 1) {
        die("\"%s\" is not an IPv4 address", host);
    }
    snprintf(t->host, sizeof t->host, "%s", text);
}

static void read_key(struct target *t, const char *path) {
    FILE *f = fopen(path, "r");
    if (!f || !fgets(t->key, sizeof t->key, f)) {
        die("%s cannot be read, or is empty", path);
    }
    fclose(f);
    t->key[strcspn(t->key, "\r\n")] = 0;
}

static unsigned read_count(const char *text, unsigned most) {
    long n = atol(text);
    if (n < 1 || n > (long) most) {
        die("\"%s\" is not a number from 1 to %u", text, most);
    }
    return (unsigned) n;
}

static void read_options(struct plan *p, int argc, char **argv) {
    static const struct option options[] = {
        {"server", required_argument, NULL, 's'},  {"pid", required_argument, NULL, 'p'},      {"key", required_argument, NULL, 'k'},
        {"peer", required_argument, NULL, 'e'},    {"peer-pid", required_argument, NULL, 'q'}, {"watchers", required_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 't'}, {"runs", required_argument, NULL, 'r'},     {NULL, 0, NULL, 0},
    };
    int o;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (o) {
        case 's': read_address(&p->server, optarg); break;
        case 'p': p->server.pid = atoi(optarg); break;
        case 'k': read_key(&p->server, optarg); break;
        case 'e': read_address(&p->peer, optarg); break;
        case 'q': p->peer.pid = atoi(optarg); break;
        case 'w': p->watchers = read_count(optarg, 1000000); break;
        case 't': p->seconds = read_count(optarg, 20); break;
        case 'r': p->runs = read_count(optarg, 9); break;
        default: usage();
        }
    }
    if (!p->server.host[0] || !p->server.pid || !p->server.key[0] || (p->peer.host[0] && !p->peer.pid) || optind != argc - 1) {
        for (int i = 0; i < argc; i++) {
            fprintf(stderr, "%s%s", i ? " " : "", argv[i]);
        }
        fputs(": an option is missing, or one argument too many\n", stderr);
        usage();
    }
    p->measurement = argv[optind];
}

int main(int argc, char **argv) {
    struct plan plan = {.runs = 3};
    read_options(&plan, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    alarm(LONGEST_S);
    for (size_t i = 0; i < sizeof measurements / sizeof *measurements; i++) {
        if (strcmp(measurements[i].name, plan.measurement) == 0) {
            poller_init();
            measurements[i].run(&plan);
            if (fault_count()) {
                fprintf(stderr, "bowline-bench: %s: %u faults, its figures do not count\n", plan.measurement, fault_count());
            }
            return fault_count() != 0;
        }
    }
    usage();
}
